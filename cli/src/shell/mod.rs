//! The SQL shell on a terminal: lines are edited, completed and remembered, a statement runs when its
//! semicolon is typed.

mod completion;
mod control;
mod dot_commands;
mod dump;
mod keywords;
mod script;
mod session;

use std::borrow::Cow;
use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

pub use session::Session;

use crate::data_directory;
use crate::failure::Failure;
use crate::statements;
use completion::NameCompleter;
use dot_commands::Next;

/// Runs the shell until its end is typed.
pub async fn run(mut session: Session) -> Result<(), Failure> {
    session.refresh_names().await?;
    let mut editor = editor(&session)?;
    let history = history_file();
    if let Some(path) = history.as_ref().filter(|path| path.exists()) {
        tell(editor.load_history(path).map_err(|error| terminal_failure(&error)));
    }
    println!("polylite {} — .help for help, .quit to leave", env!("CARGO_PKG_VERSION"));
    let done = read_and_run(&mut session, &mut editor).await;
    if let Some(path) = &history {
        tell(editor.save_history(path).map_err(|error| terminal_failure(&error)));
    }
    done
}

async fn read_and_run(
    session: &mut Session,
    editor: &mut Editor<NameCompleter, FileHistory>,
) -> Result<(), Failure> {
    let mut text = String::new();
    loop {
        let prompt = prompt(session.collection().or(session.database()), !text.is_empty());
        // The thread waits for a key: nothing else is to be done meanwhile.
        match tokio::task::block_in_place(|| editor.readline(&*prompt)) {
            Ok(line) => text.push_str(&line),
            Err(ReadlineError::Interrupted) => {
                text.clear();
                continue;
            }
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(terminal_failure(&error)),
        }
        if text.trim().is_empty() {
            text.clear();
            continue;
        }
        let is_command = text.starts_with('.');
        // A line of the document mode needs no semicolon.
        let is_complete = is_command || session.collection().is_some() || statements::is_complete(&text);
        if !is_complete {
            text.push('\n');
            continue;
        }
        let entered = std::mem::take(&mut text);
        tell(
            editor
                .add_history_entry(entered.trim_end())
                .map(|_| ())
                .map_err(|error| terminal_failure(&error)),
        );
        match run_interruptibly(session, &entered, is_command).await {
            Ok(Next::Quit) => return Ok(()),
            Ok(Next::Continue) => {}
            Err(failure) => eprintln!("{}", failure.text()),
        }
        if let Some(completer) = editor.helper_mut() {
            completer.names = session.names();
        }
    }
}

/// Runs one entry; Ctrl-C stops waiting for it.
async fn run_interruptibly(session: &mut Session, entered: &str, is_command: bool) -> Result<Next, Failure> {
    let work = async {
        if is_command {
            return dot_commands::run(session, entered).await;
        }
        session.run_statements(entered).await.map(|()| Next::Continue)
    };
    tokio::select! {
        done = work => done,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Err(Failure::refused("interrupted").with_hint("a write may have been applied nevertheless"))
        }
    }
}

fn editor(session: &Session) -> Result<Editor<NameCompleter, FileHistory>, Failure> {
    let config = Config::builder().history_ignore_space(true).completion_type(CompletionType::List).build();
    let mut editor = Editor::with_default(config).map_err(|error| terminal_failure(&error))?;
    editor.set_helper(Some(NameCompleter { names: session.names() }));
    Ok(editor)
}

fn prompt(database: Option<&str>, continues: bool) -> Cow<'_, str> {
    let name = database.unwrap_or("polylite");
    if continues {
        Cow::Owned(format!("{:>1$}> ", "...", name.len().max(3)))
    } else {
        Cow::Owned(format!("{name}> "))
    }
}

/// The file that remembers what was typed; `None` if there is no place for it.
fn history_file() -> Option<PathBuf> {
    let folder = data_directory::user_folder().ok()?;
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

fn terminal_failure(error: &ReadlineError) -> Failure {
    Failure::refused(format!("terminal or history file: {error}"))
}

/// A failure that the shell goes on after.
fn tell(done: Result<(), Failure>) {
    if let Err(failure) = done {
        eprintln!("{}", failure.text());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_line_up() {
        assert_eq!(prompt(Some("shop"), false), "shop> ");
        assert_eq!(prompt(Some("shop"), true), " ...> ");
        assert_eq!(prompt(None, false), "polylite> ");
    }
}
