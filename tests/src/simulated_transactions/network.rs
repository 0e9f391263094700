//! The network between coordinators and storage nodes: connections whose bytes are late, stand still, or are lost with
//! the connection.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::protocol::StorageRequest;
use futures_util::future::{BoxFuture, FutureExt as _};
use polylite_client::peer::{ByteStream, serve};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex, split};
use tokio::time::{Instant, sleep, sleep_until};

use super::signal::Signal;
use super::storage::StorageService;
use crate::simulated_placement::world::{NODES, World, node_id};

/// Bytes that are on their way at once.
const UNDER_WAY: usize = 64 << 10;

/// All connections. Clones are the same network.
#[derive(Clone)]
pub(super) struct Network {
    world: World,
    services: Arc<Vec<Arc<StorageService>>>,
    links: Arc<Mutex<Links>>,
}

#[derive(Default)]
pub(super) struct Links {
    open: Vec<Link>,
    /// Between a coordinator and a node nothing arrives before that.
    held: Vec<(u64, usize, Instant)>,
    interferes: Option<Interferes>,
    /// Nobody reaches a storage node.
    silent: bool,
}

/// What becomes of a request, with the connection that it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interference {
    /// It is lost before it is carried out.
    Lost,
    /// It is carried out, and its answer is lost.
    Unanswered,
    /// It arrives when the partitions have given up waiting for it.
    Late,
    /// It is carried out, its answer is lost, and from then on nobody reaches a storage node.
    LastOfAll,
}

/// Picks requests.
pub(super) type Interferes = Box<dyn FnMut(&StorageRequest) -> Option<Interference> + Send>;

impl Links {
    /// Breaks connections.
    fn cut(&mut self, which: impl Fn(u64, usize) -> bool) {
        self.open.retain(|link| {
            let is_cut = which(link.coordinator, link.node);
            if is_cut {
                link.cut.give();
            }
            !is_cut
        });
    }

    /// What becomes of a request.
    pub(super) fn interference(&mut self, request: &StorageRequest) -> Option<Interference> {
        self.interferes.as_mut()?(request)
    }

    /// Carries out what becomes of a request to a node.
    pub(super) fn interfere(&mut self, interference: Interference, node: usize) {
        self.silent |= interference == Interference::LastOfAll;
        let all = self.silent;
        self.cut(|_, of| all || of == node);
    }
}

struct Link {
    coordinator: u64,
    node: usize,
    cut: Signal,
}

impl Network {
    pub(super) fn new(world: &World) -> Network {
        let links = Arc::<Mutex<Links>>::default();
        let services = (0..NODES).map(|node| Arc::new(StorageService::new(world, node, &links)));
        Network { world: world.clone(), services: Arc::new(services.collect()), links }
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().expect("a panic ends the run")
    }

    /// A coordinator's way to the storage nodes. It ends with the coordinator.
    pub(super) fn way_of(&self, coordinator: u64, dead: Signal) -> Way {
        Way { network: self.clone(), coordinator, dead }
    }

    /// The storage nodes.
    pub(super) fn services(&self) -> &[Arc<StorageService>] {
        &self.services
    }

    /// Breaks connections.
    pub(super) fn cut(&self, which: impl Fn(u64, usize) -> bool) {
        self.links().cut(which);
    }

    /// Has something become of requests from now on.
    pub(super) fn interfere(&self, interferes: Interferes) {
        self.links().interferes = Some(interferes);
    }

    /// Keeps everything back that is on its way between a coordinator and a node.
    pub(super) fn hold(&self, coordinator: u64, node: usize, time: Duration) {
        self.links().held.push((coordinator, node, Instant::now() + time));
    }

    /// What was kept back arrives.
    pub(super) fn heal(&self) {
        let mut links = self.links();
        links.held.clear();
        (links.interferes, links.silent) = (None, false);
    }

    fn held_until(&self, coordinator: u64, node: usize) -> Option<Instant> {
        let links = self.links();
        let of_link = links.held.iter().filter(|held| (held.0, held.1) == (coordinator, node));
        of_link.map(|held| held.2).max().filter(|until| *until > Instant::now())
    }

    /// Takes the time that bytes take.
    async fn travel(&self, coordinator: u64, node: usize) {
        let delay = self.world.state().delay();
        sleep(Duration::from_micros(delay)).await;
        while let Some(until) = self.held_until(coordinator, node) {
            // Looks again from time to time: all may be healed earlier.
            sleep_until(until.min(Instant::now() + Duration::from_millis(20))).await;
        }
    }

    async fn pump(
        &self,
        way: (u64, usize),
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) {
        let mut bytes = vec![0; UNDER_WAY];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            self.travel(way.0, way.1).await;
            if to.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
        // The other side has gone too, or learns of it now.
        let _ = to.shutdown().await;
    }

    /// Connects a coordinator with a node.
    async fn connect(
        self,
        coordinator: u64,
        address: String,
        dead: Signal,
    ) -> io::Result<Box<dyn ByteStream>> {
        let node = self.node_at(&address).ok_or(io::ErrorKind::HostUnreachable)?;
        self.travel(coordinator, node).await;
        let is_away = !self.world.state().running[node] || self.links().silent;
        if dead.is_given() || is_away {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, near) = duplex(UNDER_WAY);
        let (far, theirs) = duplex(UNDER_WAY);
        let cut = Signal::default();
        self.links().open.push(Link { coordinator, node, cut: cut.clone() });
        let service = self.services[node].clone();
        // However a connection ends, both sides notice it themselves.
        tokio::spawn(async move { drop(serve(theirs, service).await) });
        tokio::spawn(async move {
            let ((near_reader, near_writer), (far_reader, far_writer)) = (split(near), split(far));
            let way = (coordinator, node);
            let both = async {
                tokio::join!(
                    biased;
                    self.pump(way, near_reader, far_writer),
                    self.pump(way, far_reader, near_writer),
                );
            };
            tokio::select! {
                biased;
                () = cut.given() => {}
                () = both => {}
            }
        });
        Ok(Box::new(ours))
    }

    fn node_at(&self, address: &str) -> Option<usize> {
        let state = self.world.state();
        let is_at = |node: &usize| state.catalog.nodes[&node_id(*node)].address() == address;
        (0..NODES).find(is_at)
    }
}

/// A coordinator's way to the storage nodes.
pub(super) struct Way {
    network: Network,
    coordinator: u64,
    dead: Signal,
}

impl polylite_client::peer::Network for Way {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        self.network.clone().connect(self.coordinator, address.to_owned(), self.dead.clone()).boxed()
    }
}
