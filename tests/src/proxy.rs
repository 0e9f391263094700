//! A way by which a process is reached, and that can be cut: what is sent there arrives late or not at all, while nobody
//! sees a connection end, as when a cable is pulled.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

/// Bytes handed on at a time.
const PIECE: usize = 64 << 10;

/// The way. It ends, with all connections, when this is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct State {
    /// The port of the process; unknown at first.
    target: Option<u16>,
    cut: bool,
    ended: bool,
    /// Both ends of every connection.
    open: Vec<TcpStream>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Proxy {
    /// A way that is passable once it is known where it leads.
    #[must_use]
    pub fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        thread::spawn(move || {
            for incoming in listener.incoming() {
                let shared = accepting.clone();
                if shared.state().ended {
                    return;
                }
                // A connection that breaks is what this is for.
                if let Ok(incoming) = incoming {
                    thread::spawn(move || drop(shared.connect(incoming)));
                }
            }
        });
        Proxy { port, shared }
    }

    /// The port by which others reach the process.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process listens here.
    pub fn lead_to(&self, port: u16) {
        self.shared.change(|state| state.target = Some(port));
    }

    /// Nothing comes through, in either direction.
    pub fn cut(&self) {
        self.shared.change(|state| state.cut = true);
    }

    /// What was on its way arrives now, late.
    pub fn mend(&self) {
        self.shared.change(|state| state.cut = false);
    }

    /// What was on its way is lost with its connections.
    pub fn mend_anew(&self) {
        self.shared.change(|state| {
            state.close_all();
            state.cut = false;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.ended = true;
            state.close_all();
        });
        // Wakes the thread that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl State {
    fn close_all(&mut self) {
        for socket in self.open.drain(..) {
            // It may have ended by itself.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits until the way is passable; `None` if it has ended.
    fn passable(&self) -> Option<u16> {
        let blocked = |state: &mut State| !state.ended && (state.cut || state.target.is_none());
        let state = self.changed.wait_while(self.state(), blocked).expect("nobody panics with it");
        state.target.filter(|_| !state.ended)
    }

    fn connect(self: Arc<Shared>, incoming: TcpStream) -> std::io::Result<()> {
        let Some(target) = self.passable() else { return Ok(()) };
        let outgoing = TcpStream::connect(("127.0.0.1", target))?;
        incoming.set_nodelay(true)?;
        outgoing.set_nodelay(true)?;
        let ends = [incoming.try_clone()?, outgoing.try_clone()?];
        self.change(|state| state.open.extend(ends));
        let (back, forth) = ((outgoing.try_clone()?, incoming.try_clone()?), (incoming, outgoing));
        let shared = self.clone();
        thread::spawn(move || shared.hand_on(back.0, back.1));
        self.hand_on(forth.0, forth.1);
        Ok(())
    }

    /// Hands on what comes in at one end until either end is closed, and closes both.
    fn hand_on(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = vec![0; PIECE];
        while let Ok(read) = from.read(&mut piece) {
            if read == 0 || self.passable().is_none() || to.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        // The end of a connection does not get through a cut way either.
        self.passable();
        for socket in [from, to] {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
