//! What is to be fetched: ids from the command line and from standard input, each once.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::io::event_loop::Waker;
use cjp2p_wire::tool::ToolError;

/// Ids read from standard input before they are needed.
const AHEAD: usize = 256;
/// A longer line has no id in it.
const MAX_LINE: u64 = 8192;

/// What there is to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Fetch this.
    Id(ContentId),
    /// This line is no id.
    Wrong(ToolError),
    /// Standard input has nothing yet.
    Wait,
    /// That was all.
    End,
}

/// The ids, in the order in which they were given.
pub(crate) struct Ids {
    arguments: VecDeque<Argument>,
    unverified: bool,
    input: Option<Receiver<Result<ContentId, ToolError>>>,
    seen: BTreeSet<ContentId>,
}

enum Argument {
    Id(ContentId),
    Stdin,
}

impl Ids {
    /// Checks the arguments.
    ///
    /// # Errors
    ///
    /// Where one of them cannot be fetched.
    pub(crate) fn new(arguments: &[String], unverified: bool) -> Result<Ids, ToolError> {
        let read = |text: &String| match text.as_str() {
            "-" => Ok(Argument::Stdin),
            text => parse(text, unverified).map(Argument::Id),
        };
        let arguments: VecDeque<Argument> = arguments.iter().map(read).collect::<Result<_, _>>()?;
        if arguments.iter().filter(|argument| matches!(argument, Argument::Stdin)).count() > 1 {
            return Err(ToolError::usage("- can be given only once"));
        }
        Ok(Ids { arguments, unverified, input: None, seen: BTreeSet::new() })
    }

    /// What to do next. `waker` is woken when more came from standard input.
    pub(crate) fn next(&mut self, waker: &Waker) -> Next {
        loop {
            let id = match &self.input {
                Some(input) => match input.try_recv() {
                    Ok(Ok(id)) => id,
                    Ok(Err(error)) => return Next::Wrong(error),
                    Err(TryRecvError::Empty) => return Next::Wait,
                    Err(TryRecvError::Disconnected) => {
                        self.input = None;
                        continue;
                    }
                },
                None => match self.arguments.pop_front() {
                    Some(Argument::Id(id)) => id,
                    Some(Argument::Stdin) => {
                        self.input = Some(read_stdin(self.unverified, waker.clone()));
                        continue;
                    }
                    None => return Next::End,
                },
            };
            if self.seen.insert(id.clone()) {
                return Next::Id(id);
            }
        }
    }
}

/// Reads an id that can be fetched.
fn parse(text: &str, unverified: bool) -> Result<ContentId, ToolError> {
    let shown: String = text.chars().take(100).collect();
    let id = ContentId::parse(text).map_err(|error| ToolError::usage(format!("{shown:?}: {error}")))?;
    match &id {
        ContentId::Name(_) if !unverified => {
            let message = format!(
                "{shown:?} is a plain name, and nobody can tell whether what comes is right; \
                 --unverified fetches it all the same"
            );
            Err(ToolError::usage(message))
        }
        ContentId::Tree(_) => {
            let content = text.replacen("blake3_tree_v2", "blake3", 1);
            let message =
                format!("{shown:?} is the hash tree of {content}; cjp2p-hash --tree makes it from that");
            Err(ToolError::usage(message))
        }
        _ => Ok(id),
    }
}

/// What a line asks for: an id, or an id and after a blank whatever lists of ids have there. `None` for an empty line.
fn parse_line(line: &[u8], unverified: bool) -> Option<Result<ContentId, ToolError>> {
    let Ok(text) = str::from_utf8(line) else {
        return Some(Err(ToolError::usage("not UTF-8")));
    };
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    // A list's line begins with a backslash where the name after the id is escaped.
    let first = text.split_whitespace().next().unwrap_or(text);
    match ContentId::parse(first.trim_start_matches('\\')) {
        Ok(id @ (ContentId::Blake3(_) | ContentId::Sha256(_))) => Some(Ok(id)),
        _ => Some(parse(text, unverified)),
    }
}

fn read_stdin(unverified: bool, waker: Waker) -> Receiver<Result<ContentId, ToolError>> {
    let (sender, receiver) = mpsc::sync_channel(AHEAD);
    // It ends with the process, or with the input.
    thread::spawn(move || {
        send_lines(io::stdin().lock(), unverified, &sender, &waker);
        // Woken once more, or the end would not be noticed.
        drop(sender);
        waker.wake();
    });
    receiver
}

fn send_lines(
    input: impl Read,
    unverified: bool,
    sender: &SyncSender<Result<ContentId, ToolError>>,
    waker: &Waker,
) {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let found = match (&mut input).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => {
                if line.len() as u64 == MAX_LINE && line.last() != Some(&b'\n') {
                    let _ = input.skip_until(b'\n');
                    Some(Err(ToolError::usage("too long for an id")))
                } else {
                    parse_line(&line, unverified)
                }
            }
            Err(error) => {
                let _ = sender.send(Err(ToolError::failure(format!("standard input: {error}"))));
                return;
            }
        };
        let Some(found) = found else { continue };
        let found = found.map_err(|error| {
            ToolError::new(error.exit, format!("standard input: line {number}: {}", error.message))
        });
        if sender.send(found).is_err() {
            return;
        }
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::tool::Exit;

    const HEX: &str = "85052e9aab1b67b6622d94a08441b09fd5b7aca61ee360416d70de5da67d86ca";

    #[test]
    fn names_are_fetched_only_where_that_was_asked_for_and_trees_never() {
        assert!(parse("film.mkv", true).is_ok());
        let error = parse("film.mkv", false).unwrap_err();
        assert!(error.message.contains("--unverified"), "{error}");
        let error = parse(&format!("blake3_tree_v2/{HEX}"), true).unwrap_err();
        assert!(error.message.contains(&format!("blake3/{HEX};")), "{error}");
        assert_eq!(parse("a/b", true).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn lines_of_lists_are_understood() {
        let blake3 = ContentId::parse(&format!("blake3/{HEX}")).unwrap();
        let sha256 = ContentId::parse(HEX).unwrap();
        let line = |text: &str, unverified| parse_line(text.as_bytes(), unverified);
        assert_eq!(line(&format!("  blake3/{HEX}  a b\n"), false).unwrap().unwrap(), blake3);
        assert_eq!(line(&format!("\\{HEX}  a\\nb\r\n"), false).unwrap().unwrap(), sha256);
        assert_eq!(line("a b\n", true).unwrap().unwrap(), ContentId::parse("a b").unwrap());
        assert!(line("a b\n", false).unwrap().is_err());
        assert!(line(" \n", true).is_none());
        assert!(parse_line(b"\xff\n", true).unwrap().is_err());
    }
}
