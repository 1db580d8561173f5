//! What is to be fetched: ids from the command line and from standard input, each once.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, BufRead, BufReader};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread;

use cjp2p_cli::list::{self, Expected, Line, Lines};
use cjp2p_cli::{ToolError, stdin};
use cjp2p_io::event_loop::Waker;
use cjp2p_wire::content_id::ContentId;

/// Ids read from standard input before they are needed.
const AHEAD: usize = 256;

/// What there is to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Fetch this.
    Id(Given),
    /// Nothing: this id was given before.
    Again,
    /// This line is no id.
    Wrong(ToolError),
    /// Standard input has nothing yet.
    Wait,
    /// That was all.
    End,
}

/// An id, and how it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) id: ContentId,
    /// As 64 digits and no more: they are taken for SHA-256, and may be meant as BLAKE3.
    pub(crate) is_bare: bool,
}

/// Which kinds of ids can be fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accept {
    /// Plain names, though nobody can tell whether what comes is right.
    pub(crate) names: bool,
    /// The user named peers, from which alone plain names are fetched.
    pub(crate) has_peers: bool,
    /// All of the content is asked for. Only of `blake3/` ids a part can be verified.
    pub(crate) whole_only: bool,
}

/// The ids, in the order in which they were given.
pub(crate) struct Ids {
    arguments: VecDeque<Argument>,
    accept: Accept,
    /// That there is no id on standard input is no error.
    allow_empty: bool,
    input: Option<Input>,
    seen: BTreeSet<ContentId>,
}

enum Argument {
    Id(Given),
    Stdin,
}

/// Standard input while it is read.
struct Input {
    lines: Receiver<Result<Given, ToolError>>,
    /// Nothing but comments and empty lines came so far.
    is_empty: bool,
}

impl Ids {
    /// Checks the arguments.
    ///
    /// # Errors
    ///
    /// Where one of them cannot be fetched.
    pub(crate) fn new(arguments: &[String], accept: Accept, allow_empty: bool) -> Result<Ids, ToolError> {
        let read = |text: &String| match text.as_str() {
            "-" => Ok(Argument::Stdin),
            text => parse(text, accept).map(Argument::Id),
        };
        let arguments: VecDeque<Argument> = arguments.iter().map(read).collect::<Result<_, _>>()?;
        if arguments.iter().filter(|argument| matches!(argument, Argument::Stdin)).count() > 1 {
            return Err(ToolError::usage("- can be given only once"));
        }
        Ok(Ids { arguments, accept, allow_empty, input: None, seen: BTreeSet::new() })
    }

    /// None at all.
    pub(crate) fn none() -> Ids {
        let accept = Accept { names: false, has_peers: false, whole_only: false };
        Ids { arguments: VecDeque::new(), accept, allow_empty: true, input: None, seen: BTreeSet::new() }
    }

    /// Whether the first is one that can be verified only as a whole.
    pub(crate) fn first_is_whole(&self) -> bool {
        let Some(Argument::Id(given)) = self.arguments.front() else { return false };
        matches!(given.id, ContentId::Sha256(_) | ContentId::Name(_))
    }

    /// What to do next. `waker` is woken when more came from standard input.
    pub(crate) fn next(&mut self, waker: &Waker) -> Next {
        loop {
            let given = match &mut self.input {
                Some(input) => match input.lines.try_recv() {
                    Ok(line) => {
                        input.is_empty = false;
                        match line {
                            Ok(given) => given,
                            Err(error) => return Next::Wrong(error),
                        }
                    }
                    Err(TryRecvError::Empty) => return Next::Wait,
                    Err(TryRecvError::Disconnected) => {
                        let was_empty = input.is_empty;
                        self.input = None;
                        if was_empty && !self.allow_empty {
                            return Next::Wrong(nothing_came());
                        }
                        continue;
                    }
                },
                None => match self.arguments.pop_front() {
                    Some(Argument::Id(given)) => given,
                    Some(Argument::Stdin) => {
                        let lines = read_stdin(self.accept, waker.clone());
                        self.input = Some(Input { lines, is_empty: true });
                        continue;
                    }
                    None => return Next::End,
                },
            };
            let is_new = self.seen.insert(given.id.clone());
            return if is_new { Next::Id(given) } else { Next::Again };
        }
    }
}

/// What a pipe from a command that failed brings.
fn nothing_came() -> ToolError {
    ToolError::usage("standard input: not a single id; where that is fine, say --allow-empty")
}

/// Reads an id that can be fetched.
fn parse(text: &str, accept: Accept) -> Result<Given, ToolError> {
    let id = ContentId::parse_any_spelling(text)
        .map_err(|error| ToolError::usage(format!("{:?}: {error}", shown(text))))?;
    let is_bare = text.len() == 64 && matches!(id, ContentId::Sha256(_));
    accepted(Given { id, is_bare }, text, accept)
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The id, if it can be fetched. `text` is how it was written.
fn accepted(given: Given, text: &str, accept: Accept) -> Result<Given, ToolError> {
    let shown = shown(text);
    match &given.id {
        ContentId::Name(_) if !accept.names => {
            let message = format!(
                "{shown:?} is a plain name, and nobody can tell whether what comes is right; \
                 --unverified fetches it all the same"
            );
            Err(ToolError::usage(message))
        }
        ContentId::Name(_) if !accept.has_peers => {
            let message = format!(
                "{shown:?} is a plain name, which others may use for something else; it is fetched only from peers that you \
                 name, by --peer or --only-peer"
            );
            Err(ToolError::usage(message))
        }
        ContentId::Tree(root) => {
            let content = ContentId::Blake3(*root);
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
        _ => Ok(given),
    }
}

/// What a line asks for: an id, and after it whatever lists of ids have there; or a plain name, which is all of the line. `None`
/// for a line that is for people.
fn parse_line(line: &[u8], accept: Accept) -> Option<Result<Given, ToolError>> {
    let line = list::content_of(line, false)?.trim_ascii_end();
    if let Some(expected) = list::id_of(line) {
        let given = Given { id: expected.id(), is_bare: matches!(expected, Expected::Either(_)) };
        let text = given.id.to_string();
        return Some(accepted(given, &text, accept));
    }
    Some(match str::from_utf8(line) {
        Ok(text) => parse(text, accept),
        Err(_) => Err(ToolError::usage("no id, and not UTF-8")),
    })
}

fn read_stdin(accept: Accept, waker: Waker) -> Receiver<Result<Given, ToolError>> {
    let (sender, receiver) = mpsc::sync_channel(AHEAD);
    let lines = sender.clone();
    // It ends with the process, or with the input.
    let started = thread::Builder::new().spawn(move || {
        match stdin::open() {
            Ok(input) => send_lines(BufReader::new(input), accept, &lines, &waker),
            Err(error) => drop(lines.send(Err(unreadable(&error)))),
        }
        // Woken once more, or the end would not be noticed.
        drop(lines);
        waker.wake();
    });
    if let Err(error) = started {
        let message = format!("standard input: no thread can be started to read it: {error}");
        // The first in the queue, so there is room.
        let _ = sender.try_send(Err(ToolError::failure(message)));
    }
    receiver
}

fn unreadable(error: &io::Error) -> ToolError {
    ToolError::failure(format!("standard input: {error}"))
}

fn send_lines(
    input: impl BufRead,
    accept: Accept,
    sender: &SyncSender<Result<Given, ToolError>>,
    waker: &Waker,
) {
    let mut lines = Lines::new(input, false);
    for number in 1u64.. {
        let found = match lines.next_line() {
            Ok(None) => return,
            Ok(Some(Line::Whole(line))) if number == 1 && list::is_utf16(line) => {
                let _ = sender.send(Err(ToolError::usage("standard input: UTF-16, and lists are UTF-8")));
                return;
            }
            Ok(Some(Line::Whole(line))) => parse_line(line, accept),
            Ok(Some(Line::TooLong)) => Some(Err(ToolError::usage("too long for an id"))),
            Err(error) => {
                let _ = sender.send(Err(unreadable(&error)));
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
    use cjp2p_cli::Exit;

    const HEX: &str = "85052e9aab1b67b6622d94a08441b09fd5b7aca61ee360416d70de5da67d86ca";

    const HASHES: Accept = Accept { names: false, has_peers: true, whole_only: true };
    const ALL: Accept = Accept { names: true, has_peers: true, whole_only: true };
    const IN_PART: Accept = Accept { names: true, has_peers: true, whole_only: false };

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
        let line =
            |text: &str, accept| parse_line(text.as_bytes(), accept).map(|read| read.map(|given| given.id));
        assert_eq!(line(&format!("  blake3/{HEX}  a b\n"), HASHES).unwrap().unwrap(), blake3);
        assert_eq!(line(&format!("\\{HEX}  a\\nb\r\n"), HASHES).unwrap().unwrap(), sha256);
        assert_eq!(line("a b\n", ALL).unwrap().unwrap(), ContentId::parse("a b").unwrap());
        assert!(line("a b\n", HASHES).unwrap().is_err());
        assert!(line(" \n", ALL).is_none());
        assert!(parse_line(b"\xff\n", ALL).unwrap().is_err());
        assert!(line("  # a comment", ALL).is_none());
        assert_eq!(line(&format!("\u{feff}BLAKE3/{HEX}  a\r\n"), HASHES).unwrap().unwrap(), blake3);
        assert_eq!(line(&format!("blake3:{HEX}"), HASHES).unwrap().unwrap(), blake3);
        assert_eq!(line(&format!("SHA256 (a b) = {HEX}"), HASHES).unwrap().unwrap(), sha256);
        let latin1 = [format!("\\blake3/{HEX}  a\\n").as_bytes(), b"\xe9"].concat();
        assert_eq!(parse_line(&latin1, HASHES).unwrap().unwrap().id, blake3);
    }

    #[test]
    fn digits_alone_are_known_to_be_no_more_than_that() {
        for (text, bare) in [
            (HEX.to_owned(), true),
            (format!("{HEX}  a"), true),
            (format!("blake3/{HEX}"), false),
            (format!("sha256:{HEX}"), false),
            (format!("SHA256 (a) = {HEX}"), false),
        ] {
            assert_eq!(parse_line(text.as_bytes(), HASHES).unwrap().unwrap().is_bare, bare, "{text}");
            if !text.contains(' ') {
                assert_eq!(parse(&text, HASHES).unwrap().is_bare, bare, "{text}");
            }
        }
    }
}
