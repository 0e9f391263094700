//! A program on a pseudo-terminal, as a person would use it: keys are sent, and the screen is read.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const PATIENCE: Duration = Duration::from_secs(30);

/// What the program has written, and whether it has gone.
#[derive(Default)]
struct Screen {
    text: String,
    /// Up to here the text was looked at by [`Terminal::expect`].
    seen: usize,
    closed: bool,
}

/// A running program and its terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<(Mutex<Screen>, Condvar)>,
}

impl Terminal {
    /// Starts a program on a terminal of 120 columns.
    #[must_use]
    pub fn start(mut command: Command) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("the terminal may be used");
        unlockpt(&master).expect("the terminal may be opened");
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("the terminal has a size");
        let name = ptsname(&master, Vec::new()).expect("the terminal has a name");
        let name = name.into_string().expect("the name is ASCII");
        let open = || File::options().read(true).write(true).open(&name).expect("the terminal opens");
        let child = command
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()))
            .spawn()
            .expect("the program runs");
        // The command holds the terminal open, too.
        drop(command);
        let keyboard = File::from(master);
        let screen = Arc::new((Mutex::new(Screen::default()), Condvar::new()));
        let reader = keyboard.try_clone().expect("the terminal can be read and written");
        std::thread::spawn({
            let screen = Arc::clone(&screen);
            move || watch(reader, &screen)
        });
        Terminal { child, keyboard, screen }
    }

    /// Types a text.
    pub fn type_text(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the terminal takes keys");
    }

    /// Types a line.
    pub fn enter(&mut self, line: &str) {
        self.type_text(line);
        self.type_text("\r");
    }

    /// Waits until `text` appears after what was expected before, and gives what came before it.
    pub fn expect(&self, text: &str) -> String {
        let (lock, changed) = &*self.screen;
        let deadline = Instant::now() + PATIENCE;
        let mut screen = lock.lock().expect("the reader lives");
        loop {
            let unseen = &screen.text[screen.seen..];
            if let Some(found) = unseen.find(text) {
                let before = unseen[..found].to_owned();
                screen.seen += found + text.len();
                return before;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!screen.closed && !left.is_zero(), "no {text:?} in {unseen:?}");
            screen = changed.wait_timeout(screen, left).expect("the reader lives").0;
        }
    }

    /// Waits for the program's end and gives its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let (lock, changed) = &*self.screen;
        let screen = lock.lock().expect("the reader lives");
        let (screen, waited) =
            changed.wait_timeout_while(screen, PATIENCE, |screen| !screen.closed).expect("the reader lives");
        assert!(!waited.timed_out(), "still running: {:?}", screen.text);
        self.child.wait().expect("the program is ours").code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already; either way nothing of it is left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the screen until the program closes it, which the kernel reports as an error.
fn watch(mut reader: File, screen: &(Mutex<Screen>, Condvar)) {
    let mut block = [0; 4096];
    let mut pending = Vec::new();
    loop {
        let read = reader.read(&mut block).unwrap_or(0);
        let mut state = screen.0.lock().expect("nobody panics with the lock");
        if read == 0 {
            state.closed = true;
            screen.1.notify_all();
            return;
        }
        pending.extend_from_slice(&block[..read]);
        state.text.push_str(&take_text(&mut pending));
        screen.1.notify_all();
    }
}

/// The complete characters of `pending`; a character cut in two waits for its rest.
fn take_text(pending: &mut Vec<u8>) -> String {
    let complete = match std::str::from_utf8(pending) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => pending.len(),
    };
    let rest = pending.split_off(complete);
    String::from_utf8_lossy(&std::mem::replace(pending, rest)).into_owned()
}
