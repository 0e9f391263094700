//! Joining another cluster while the coordinator runs: its catalog is closed and opened anew as a member of the
//! other cluster, and all that stands on it is made anew. The listener stays.

use std::sync::Arc;
use std::time::Duration;

use common::{Error, ErrorCode, Result};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::catalog::{CatalogOptions, CatalogStore};
use crate::gateway::Bookmark;
use crate::http::Face;
use crate::serving::{Serving, Surroundings};

/// How long a coordinator that has joined is given to learn what its cluster knows before it says so.
const CATCH_UP_TIME: Duration = Duration::from_secs(10);

/// A wish to join the cluster of a coordinator.
struct Wish {
    /// `host:port` of that coordinator.
    target: String,
    answer: oneshot::Sender<Result<Bookmark>>,
}

/// Takes wishes to join another cluster, which are carried out one after the other. Clones share it.
#[derive(Clone)]
pub(crate) struct JoinDesk {
    wishes: mpsc::Sender<Wish>,
}

/// The wishes that wait.
pub(crate) struct Wishes(mpsc::Receiver<Wish>);

impl JoinDesk {
    /// A desk, and the wishes that come in there.
    pub(crate) fn new() -> (JoinDesk, Wishes) {
        let (wishes, waiting) = mpsc::channel(8);
        (JoinDesk { wishes }, Wishes(waiting))
    }

    /// Joins the cluster of the coordinator at `host:port`. Answers the other cluster's state as known then.
    pub(crate) async fn join(&self, target: String) -> Result<Bookmark> {
        let (answer, answered) = oneshot::channel();
        let stopping = || Error::new(ErrorCode::Unavailable, "the coordinator is stopping");
        self.wishes.send(Wish { target, answer }).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }
}

/// Keeps a coordinator at work, in whatever cluster, until it is stopped.
pub(crate) struct Keeper {
    pub(crate) serving: Serving,
    pub(crate) surroundings: Surroundings,
    pub(crate) options: CatalogOptions,
    pub(crate) face: Arc<Face>,
    /// Tells which catalog is in use.
    pub(crate) catalog: watch::Sender<CatalogStore>,
}

impl Keeper {
    /// Runs until `stop` is cancelled; answers the work that remains to be ended.
    pub(crate) async fn keep(mut self, mut wishes: Wishes, stop: CancellationToken) -> Serving {
        while let Some(Some(wish)) = stop.run_until_cancelled(wishes.0.recv()).await {
            let joined = self.join(&wish.target).await;
            if let Err(error) = &joined {
                tracing::warn!(%error, target = wish.target, "this coordinator has not joined another cluster");
            }
            // Whoever asked may be gone.
            drop(wish.answer.send(joined));
        }
        self.serving
    }

    async fn join(&mut self, target: &str) -> Result<Bookmark> {
        let known = self.serving.catalog.coordinator_addresses();
        if target == self.serving.catalog.address() {
            return Err(Error::bad_request("a coordinator cannot join itself")
                .with_hint("name a coordinator of the cluster that this one is to join"));
        }
        // A request whose answer was lost is sent again.
        if !known.values().any(|address| address == target) {
            self.serving.catalog.leave_for(target).await?;
            self.start_over().await;
        }
        let catalog = &self.serving.catalog;
        let own = catalog.replica();
        catalog.wait_until(CATCH_UP_TIME, |view| view.coordinators.get(&own).map(drop)).await;
        Ok(Bookmark::of_catalog(catalog.view().version))
    }

    /// Works for the cluster that the data directory now belongs to.
    async fn start_over(&mut self) {
        self.serving.end().await;
        let home = self.serving.catalog.close().await.expect("nobody else closes a catalog in use");
        let peers = self.surroundings.peers.clone();
        let catalog = CatalogStore::reopen(home, self.options.clone(), peers).await.unwrap_or_else(|error| {
            // Neither cluster's catalog can be used: only a new start can tell what is wrong.
            eprintln!("polylite: the catalog cannot be opened in the cluster that was joined: {error}");
            std::process::abort()
        });
        tracing::info!(cluster = catalog.cluster(), "this coordinator has joined another cluster");
        self.serving = Serving::begin(catalog.clone(), self.surroundings.clone());
        self.face.switch_to(self.serving.router.clone());
        self.catalog.send_replace(catalog);
    }
}
