//! Checking files against lists. The words are sha256sum's, so that what reads those reads these.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use cjp2p_cli::list::{self, Expected, Line, Lines, Listed};
use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names;
use cjp2p_io::walk::Rules;
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::folder::{Entry, folder_id};

use crate::cli::{Algorithm, Args};
use crate::digest::digest;
use crate::files::{self, Trouble, reason};
use crate::folder::{Listener, hash_folder};
use crate::hashers::{Digests, Failed, Wanted};
use crate::output::{Output, complain};

/// What became of the lines of one list.
#[derive(Default)]
pub(crate) struct Counts {
    understood: u64,
    malformed: u64,
    pub(crate) right: u64,
    pub(crate) wrong: u64,
    pub(crate) unreadable: u64,
}

/// Checks the files of all lists in `args`.
pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Exit, ToolError> {
    let standard_input = [OsStr::new("-").to_owned()];
    let lists = if args.files.is_empty() { &standard_input[..] } else { &args.files };
    let mut all_right = true;
    for list in lists {
        all_right &= check_list(list, args, output)?;
    }
    Ok(if all_right { Exit::Done } else { Exit::Failure })
}

fn check_list(list: &OsStr, args: &Args, output: &mut Output) -> Result<bool, ToolError> {
    let shown = if list == "-" { "standard input".into() } else { names::shown(list) };
    let mut counts = Counts::default();
    if let Err(error) = check_lines(list, &shown, args, output, &mut counts) {
        match error {
            Stopped::Reading(error) => complain(format_args!("{shown}: {}", reason(&error))),
            Stopped::Output(error) => return Err(error),
        }
        return Ok(false);
    }
    if counts.understood == 0 {
        complain(format_args!("{shown}: no properly formatted checksum lines found"));
        return Ok(false);
    }
    if !args.status {
        counts.complain();
    }
    if args.ignore_missing && counts.right + counts.wrong + counts.unreadable == 0 {
        complain(format_args!("{shown}: no file was verified"));
        return Ok(false);
    }
    Ok(counts.wrong == 0 && counts.unreadable == 0 && !(args.strict && counts.malformed > 0))
}

/// Why the rest of a list is not read.
enum Stopped {
    Reading(io::Error),
    Output(ToolError),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Stopped {
        Stopped::Reading(error)
    }
}

/// What a line is about.
enum Named {
    File(Listed),
    Folder(Listed),
}

fn check_lines(
    list: &OsStr,
    shown: &str,
    args: &Args,
    output: &mut Output,
    counts: &mut Counts,
) -> Result<(), Stopped> {
    let mut lines = Lines::new(files::open_list(list)?, args.null);
    let mut number = 0u64;
    while let Some(line) = lines.next_line()? {
        number += 1;
        let parsed = match line {
            Line::Whole(line) if number == 1 && list::is_utf16(line) => {
                return Err(
                    io::Error::new(io::ErrorKind::InvalidData, "is UTF-16, and lists are UTF-8").into()
                );
            }
            Line::Whole(line) => match list::content_of(line, args.null) {
                Some(line) => list::parse(line, !args.null)
                    .map(Named::File)
                    .or_else(|| list::parse_folder(line, !args.null).map(Named::Folder)),
                None => continue,
            },
            Line::TooLong => None,
        };
        match parsed {
            Some(named) => {
                counts.understood += 1;
                let checked = match named {
                    Named::File(listed) => check_file(&listed, list, args, output, counts),
                    Named::Folder(listed) => check_folder(&listed, args, output, counts),
                };
                checked.map_err(Stopped::Output)?;
            }
            None => {
                counts.malformed += 1;
                if args.warn && !args.status {
                    complain(format_args!("{shown}: {number}: improperly formatted line"));
                }
            }
        }
    }
    Ok(())
}

fn check_file(
    listed: &Listed,
    list: &OsStr,
    args: &Args,
    output: &mut Output,
    counts: &mut Counts,
) -> Result<(), ToolError> {
    let name = files::name_of(&listed.name);
    let expected = match (listed.expected, args.algorithm) {
        (Expected::Either(hash), Some(Algorithm::Blake3)) => Expected::Blake3(hash),
        (Expected::Either(hash), Some(Algorithm::Sha256)) => Expected::Sha256(hash),
        (expected, _) => expected,
    };
    let (id, result) = match digests_for(expected, name, list, output) {
        Ok(digests) => match matching(expected, &digests) {
            Some(id) => (id, CheckResult::Right),
            None => (expected.id(), CheckResult::Wrong),
        },
        Err(error) if args.ignore_missing && error.kind() == io::ErrorKind::NotFound => {
            return Ok(());
        }
        Err(error) => {
            let missing = error.kind() == io::ErrorKind::NotFound;
            complain(Trouble::new(name, error));
            (expected.id(), if missing { CheckResult::Missing } else { CheckResult::Unreadable })
        }
    };
    tell(name, &id.to_string(), result, args, output, counts)
}

/// Whether a folder has this id, be it with times or without.
fn check_folder(
    listed: &Listed,
    args: &Args,
    output: &mut Output,
    counts: &mut Counts,
) -> Result<(), ToolError> {
    let name = files::name_of(&listed.name);
    let Expected::Blake3(root) = listed.expected else { return Ok(()) };
    let rules = Rules { hidden: args.hidden, follow: false };
    let result = match hash_folder(Path::new(name), rules, &mut Complainer { output })? {
        Ok(Some(lists)) if lists.has(&root) => CheckResult::Right,
        Ok(Some(_)) => CheckResult::Wrong,
        Ok(None) => CheckResult::Unreadable,
        Err(error) if args.ignore_missing && error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let missing = error.kind() == io::ErrorKind::NotFound;
            complain(Trouble::new(name, error));
            if missing { CheckResult::Missing } else { CheckResult::Unreadable }
        }
    };
    tell(name, &folder_id(&root), result, args, output, counts)
}

/// Hears of what cannot be read while a folder is checked.
struct Complainer<'a> {
    output: &'a mut Output,
}

impl Listener for Complainer<'_> {
    fn entry(&mut self, _: &Entry) -> Result<(), ToolError> {
        Ok(())
    }

    fn trouble(&mut self, trouble: Trouble) {
        complain(trouble);
    }

    fn advance(&mut self, length: u64) {
        self.output.advance(length);
    }
}

/// Counts and prints the result of one line.
pub(crate) fn tell(
    name: &OsStr,
    id: &str,
    result: CheckResult,
    args: &Args,
    output: &mut Output,
    counts: &mut Counts,
) -> Result<(), ToolError> {
    *match result {
        CheckResult::Right => &mut counts.right,
        CheckResult::Wrong => &mut counts.wrong,
        CheckResult::Missing | CheckResult::Unreadable => &mut counts.unreadable,
    } += 1;
    if args.status || (args.quiet && result == CheckResult::Right) {
        return Ok(());
    }
    match args.json {
        true => output.check_json(name, id, result.in_json()),
        false => output.check_line(name, result.in_words()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckResult {
    Right,
    Wrong,
    Missing,
    Unreadable,
}

impl CheckResult {
    fn in_words(self) -> &'static str {
        match self {
            CheckResult::Right => "OK",
            CheckResult::Wrong => "FAILED",
            CheckResult::Missing | CheckResult::Unreadable => "FAILED open or read",
        }
    }

    fn in_json(self) -> &'static str {
        match self {
            CheckResult::Right => "ok",
            CheckResult::Wrong => "failed",
            CheckResult::Missing => "missing",
            CheckResult::Unreadable => "unreadable",
        }
    }
}

fn digests_for(expected: Expected, name: &OsStr, list: &OsStr, output: &mut Output) -> io::Result<Digests> {
    if name == "-" && list == "-" {
        return Err(io::Error::other("standard input is the list itself"));
    }
    let wanted = Wanted {
        blake3: !matches!(expected, Expected::Sha256(_)),
        sha256: !matches!(expected, Expected::Blake3(_)),
        leaves: None,
    };
    let digests = digest(files::open(name)?, wanted, &mut |length| output.advance(length));
    digests.map_err(|(Failed::Reading(error) | Failed::Leaves(error))| error)
}

/// The id that the file has, if it is one of those expected.
fn matching(expected: Expected, digests: &Digests) -> Option<ContentId> {
    let blake3 = digests.tree.as_ref().map(|tree| *tree.root());
    let is_blake3 = |hash: Hash| (blake3 == Some(hash)).then_some(ContentId::Blake3(hash));
    let is_sha256 = |hash: Hash| (digests.sha256 == Some(hash)).then_some(ContentId::Sha256(hash));
    match expected {
        Expected::Blake3(hash) => is_blake3(hash),
        Expected::Sha256(hash) => is_sha256(hash),
        Expected::Either(hash) => is_sha256(hash).or_else(|| is_blake3(hash)),
    }
}

impl Counts {
    pub(crate) fn complain(&self) {
        let warn = |count: u64, one: &str, many: &str| {
            if count > 0 {
                complain(format_args!("WARNING: {count} {}", if count == 1 { one } else { many }));
            }
        };
        warn(self.malformed, "line is improperly formatted", "lines are improperly formatted");
        warn(self.unreadable, "listed file could not be read", "listed files could not be read");
        warn(self.wrong, "computed checksum did NOT match", "computed checksums did NOT match");
    }
}
