//! Following a name: a process asks peers what it stands for, and each time that is something else, another one fetches it.

use std::env;
use std::ffi::OsString;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use cjp2p_cli::{Exit, ToolError};

use super::in_folder;
use super::resolved::Resolved;
use super::run::{Asking, Done, exit_of, this_program};
use crate::cli::Cli;

/// A run that failed because no peer had it, or another process was at it, is tried again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Follows the name on the command line until a signal ends this process. What it started ends with it.
///
/// # Errors
///
/// Where at first no peer knows it.
pub(crate) fn run(cli: &Cli, original: &str) -> Result<Exit, ToolError> {
    let done = Done::of(cli);
    let mut asking = Asking::start()?;
    let (sender, found) = mpsc::channel();
    // Reading waits; this goes on where the process that asks has ended.
    let reader = move || {
        while let Some(resolved) = asking.next() {
            if sender.send(resolved).is_err() {
                break;
            }
        }
        asking.end()
    };
    let reader = thread::Builder::new()
        .spawn(reader)
        .map_err(|error| ToolError::failure(format!("threads: {error}")))?;
    let mut tried_again = None;
    while let Some(resolved) = next(&found, tried_again.take()) {
        let (exit, id) = match in_folder::find(cli, &resolved) {
            Ok(there) => (fetch(original, &there, done.is_unchanged())?, there.id),
            Err(error) => {
                if !error.message.is_empty() {
                    log::warn!("{error}");
                }
                (error.exit, resolved.id.clone())
            }
        };
        match exit {
            Exit::Done => done.note(&id),
            exit if exit.is_worth_another_try() => tried_again = Some(resolved),
            exit => {
                log::warn!("{id}: not fetched (exit code {}); waiting for the next version", exit as u8);
            }
        }
    }
    Err(reader.join().unwrap_or_else(|_| ToolError::failure("asking for a name: a thread ended")))
}

/// What to fetch next: the newest that was found; or where there is none for a while, what is to be tried `again`. `None` where there
/// will be nothing more.
fn next(found: &Receiver<Resolved>, again: Option<Resolved>) -> Option<Resolved> {
    let first = match again {
        None => found.recv().ok()?,
        Some(again) => match found.recv_timeout(AGAIN_AFTER) {
            Ok(resolved) => resolved,
            Err(RecvTimeoutError::Timeout) => again,
            Err(RecvTimeoutError::Disconnected) => return None,
        },
    };
    Some(found.try_iter().last().unwrap_or(first))
}

/// Runs this program once more, for what the name stands for now.
fn fetch(original: &str, resolved: &Resolved, replaces: bool) -> Result<Exit, ToolError> {
    let words = words_for(env::args_os().skip(1), original, resolved, replaces);
    let status = this_program().args(words).status();
    status.map(exit_of).map_err(|error| ToolError::failure(format!("fetching {}: {error}", resolved.id)))
}

/// The command line that fetches what a name stands for.
fn words_for(
    words: impl Iterator<Item = OsString>,
    original: &str,
    resolved: &Resolved,
    replaces: bool,
) -> Vec<OsString> {
    let peers = resolved.peers.iter().map(|peer| OsString::from(format!("--known-peer={peer}")));
    let force = replaces.then(|| OsString::from("--force"));
    let first = ["--end-with-parent".into()].into_iter().chain(force).chain(peers);
    let is_for_watching =
        |word: &OsString| word == "--watch" || word == "--if-newer" || (replaces && word == "--force");
    let rest = words.filter(|word| !is_for_watching(word));
    first.chain(rest.map(|word| if word == original { OsString::from(&resolved.id) } else { word })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(id: &str) -> Resolved {
        Resolved { id: id.into(), seq: 7, peers: vec!["192.0.2.1:5".parse().unwrap()] }
    }

    #[test]
    fn what_is_found_takes_the_place_of_the_name_in_the_same_command() {
        let words =
            ["--watch", "-o", "x", "--if-newer", "--json", "--", "latest/K/n#peer=a"].map(OsString::from);
        let words = words_for(words.into_iter(), "latest/K/n#peer=a", &resolved("folder/00"), true);
        let expected = [
            "--end-with-parent",
            "--force",
            "--known-peer=192.0.2.1:5",
            "-o",
            "x",
            "--json",
            "--",
            "folder/00",
        ];
        assert_eq!(words, expected.map(OsString::from));
    }

    #[test]
    fn of_several_versions_the_last_is_fetched_and_a_failed_one_only_where_there_is_no_newer() {
        let (sender, found) = mpsc::channel();
        for id in ["a", "b", "c"] {
            sender.send(resolved(id)).unwrap();
        }
        assert_eq!(next(&found, None), Some(resolved("c")));
        sender.send(resolved("d")).unwrap();
        assert_eq!(next(&found, Some(resolved("c"))), Some(resolved("d")));
        drop(sender);
        assert_eq!(next(&found, Some(resolved("d"))), None);
    }
}
