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

/// Which kinds of ids can be fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accept {
    /// Plain names, though nobody can tell whether what comes is right.
    pub(crate) names: bool,
    /// All of the content is asked for. Only of `blake3/` ids a part can be verified.
    pub(crate) whole_only: bool,
}

/// The ids, in the order in which they were given.
pub(crate) struct Ids {
    arguments: VecDeque<Argument>,
    accept: Accept,
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
    pub(crate) fn new(arguments: &[String], accept: Accept) -> Result<Ids, ToolError> {
        let read = |text: &String| match text.as_str() {
            "-" => Ok(Argument::Stdin),
            text => parse(text, accept).map(Argument::Id),
        };
        let arguments: VecDeque<Argument> = arguments.iter().map(read).collect::<Result<_, _>>()?;
        if arguments.iter().filter(|argument| matches!(argument, Argument::Stdin)).count() > 1 {
            return Err(ToolError::usage("- can be given only once"));
        }
        Ok(Ids { arguments, accept, input: None, seen: BTreeSet::new() })
    }

    /// Whether the first is one that can be verified only as a whole.
    pub(crate) fn first_is_whole(&self) -> bool {
        matches!(self.arguments.front(), Some(Argument::Id(ContentId::Sha256(_) | ContentId::Name(_))))
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
                        self.input = Some(read_stdin(self.accept, waker.clone()));
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
fn parse(text: &str, accept: Accept) -> Result<ContentId, ToolError> {
    let shown: String = text.chars().take(100).collect();
    let id = ContentId::parse(text).map_err(|error| ToolError::usage(format!("{shown:?}: {error}")))?;
    match &id {
        ContentId::Name(_) if !accept.names => {
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
        ContentId::Sha256(_) | ContentId::Name(_) if !accept.whole_only => {
            let message = format!(
                "{shown:?}: --range needs a blake3/ id; of any other nothing can be verified before all of it is here"
            );
            Err(ToolError::usage(message))
        }
        _ => Ok(id),
    }
}

/// What a line asks for: an id, or an id and after a blank whatever lists of ids have there. `None` for an empty line.
fn parse_line(line: &[u8], accept: Accept) -> Option<Result<ContentId, ToolError>> {
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
        Ok(ContentId::Blake3(_) | ContentId::Sha256(_)) => {
            Some(parse(first.trim_start_matches('\\'), accept))
        }
        _ => Some(parse(text, accept)),
    }
}

fn read_stdin(accept: Accept, waker: Waker) -> Receiver<Result<ContentId, ToolError>> {
    let (sender, receiver) = mpsc::sync_channel(AHEAD);
    // It ends with the process, or with the input.
    thread::spawn(move || {
        send_lines(io::stdin().lock(), accept, &sender, &waker);
        // Woken once more, or the end would not be noticed.
        drop(sender);
        waker.wake();
    });
    receiver
}

fn send_lines(
    input: impl Read,
    accept: Accept,
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
                    parse_line(&line, accept)
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

    const HASHES: Accept = Accept { names: false, whole_only: true };
    const ALL: Accept = Accept { names: true, whole_only: true };
    const IN_PART: Accept = Accept { names: true, whole_only: false };

    #[test]
    fn names_are_fetched_only_where_that_was_asked_for_and_trees_never() {
        assert!(parse("film.mkv", ALL).is_ok());
        let error = parse("film.mkv", HASHES).unwrap_err();
        assert!(error.message.contains("--unverified"), "{error}");
        let error = parse(&format!("blake3_tree_v2/{HEX}"), ALL).unwrap_err();
        assert!(error.message.contains(&format!("blake3/{HEX};")), "{error}");
        assert_eq!(parse("a/b", ALL).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn parts_are_fetched_only_of_what_can_be_verified_in_part() {
        assert!(parse(&format!("blake3/{HEX}"), IN_PART).is_ok());
        for text in [HEX, "film.mkv"] {
            let message = parse(text, IN_PART).unwrap_err().message;
            assert!(message.contains("--range needs a blake3/ id"), "{message}");
            assert!(parse_line(text.as_bytes(), IN_PART).unwrap().is_err());
        }
    }

    #[test]
    fn lines_of_lists_are_understood() {
        let blake3 = ContentId::parse(&format!("blake3/{HEX}")).unwrap();
        let sha256 = ContentId::parse(HEX).unwrap();
        let line = |text: &str, accept| parse_line(text.as_bytes(), accept);
        assert_eq!(line(&format!("  blake3/{HEX}  a b\n"), HASHES).unwrap().unwrap(), blake3);
        assert_eq!(line(&format!("\\{HEX}  a\\nb\r\n"), HASHES).unwrap().unwrap(), sha256);
        assert_eq!(line("a b\n", ALL).unwrap().unwrap(), ContentId::parse("a b").unwrap());
        assert!(line("a b\n", HASHES).unwrap().is_err());
        assert!(line(" \n", ALL).is_none());
        assert!(parse_line(b"\xff\n", ALL).unwrap().is_err());
    }
}
