//! What the tool does.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process;

use cjp2p_cli::progress::{Progress, clear_at_once};
use cjp2p_cli::{Exit, ToolError, logging};
use cjp2p_io::names;
use cjp2p_io::walk::Rules;
use cjp2p_wire::content_id::ContentId;

use crate::ahead::{Ahead, Hashed, Way};
use crate::check;
use crate::cli::{Algorithm, Args};
use crate::digest::digest;
use crate::files::{self, NameList, Trouble, reason};
use crate::folders;
use crate::hashers::{Failed, Wanted};
use crate::input::Input;
use crate::output::{Output, Total, complain};
use crate::torrent;
use crate::tree_file::TreeDir;

const TOOL: &str = "cjp2p-hash";

/// Hashes or checks, as `args` say.
pub(crate) fn run(mut args: Args) -> Result<Exit, ToolError> {
    logging::start(TOOL, args.verbose, 0);
    let files = if args.check { Vec::new() } else { std::mem::take(&mut args.files) };
    let known = !args.torrents.magnet
        && args.torrents.write_torrent.is_none()
        && !args.check
        && !args.recursive
        && !args.folder
        && args.files_from.is_none();
    let total = if known { Total::Of(files.clone()) } else { Total::Known(None) };
    let progress = Progress::new(TOOL, args.progress, args.status);
    take_the_bar_off_on_interrupt();
    let mut output = Output::new(args.null, progress, total);
    let exit = if let Some(target) = args.torrents.write_torrent.clone() {
        torrent::make::write(Path::new(one(&files, "to make a torrent of")?), &target, &args, &mut output)?
    } else if args.torrents.magnet {
        torrent::print_magnets(files, args.json, &mut output)?
    } else if let Some(metainfo) = args.torrents.torrent.clone() {
        let folder =
            if args.files.is_empty() { OsStr::new(".") } else { one(&args.files, "that has the torrent")? };
        torrent::check::run(&metainfo, folder, &args, &mut output)?
    } else if args.check {
        check::run(&args, &mut output)?
    } else if args.folder {
        folders::hash_folders(files, &args, &mut output)?
    } else {
        hash_all(files, &args, &mut output)?
    };
    output.finish();
    Ok(exit)
}

/// The only one of these.
fn one<'a>(files: &'a [OsString], what: &str) -> Result<&'a OsStr, ToolError> {
    match files {
        [file] if file != "-" => Ok(file),
        _ => Err(ToolError::usage(format!("name one file or folder {what}"))),
    }
}

/// Without a terminal there is no bar, and the signal ends the tool by itself.
fn take_the_bar_off_on_interrupt() {
    // Whoever has the terminal locked may wait for its reader.
    let end = || {
        clear_at_once();
        process::exit(i32::from(Exit::Interrupted as u8));
    };
    if io::stderr().is_terminal()
        && let Err(error) = ctrlc::set_handler(end)
    {
        log::info!("an interrupt will leave the bar: {error}");
    }
}

fn hash_all(files: Vec<OsString>, args: &Args, output: &mut Output) -> Result<Exit, ToolError> {
    let trees = match &args.tree {
        Some(path) => Some(TreeDir::open(path).map_err(|error| cannot_write(path.as_os_str(), &error))?),
        None => None,
    };
    let rules = args.recursive.then_some(Rules { hidden: args.hidden, follow: false });
    let mut work = Work { args, trees, output, ahead: Ahead::new(), waits_for_names: false, all_right: true };
    match &args.files_from {
        Some(list) => {
            let wrong = |error| ToolError::failure(Trouble::new(list.as_os_str(), error).to_string());
            let names = NameList::open(list.as_os_str(), args.null).map_err(wrong)?;
            work.waits_for_names = !is_regular(list.as_os_str());
            for name in names {
                let name = name.map_err(wrong);
                let taken = name.and_then(|name| files::expand(name, rules, &mut |name| work.take(name)));
                if let Err(error) = taken {
                    work.finish()?;
                    return Err(error);
                }
            }
        }
        None if files.is_empty() => {
            let here = if args.recursive { "." } else { "-" };
            files::expand(here.into(), rules, &mut |name| work.take(name))?;
        }
        None => {
            for name in files {
                files::expand(name, rules, &mut |name| work.take(name))?;
            }
        }
    }
    work.finish()?;
    Ok(if work.all_right { Exit::Done } else { Exit::Failure })
}

fn is_regular(name: &OsStr) -> bool {
    name != "-" && fs::metadata(name).is_ok_and(|found| found.is_file())
}

/// Hashing files one after another, several ahead of the one whose ids are printed.
struct Work<'a> {
    args: &'a Args,
    trees: Option<TreeDir>,
    output: &'a mut Output,
    ahead: Ahead,
    /// Whether somebody may want to see the ids of a file before naming the next.
    waits_for_names: bool,
    all_right: bool,
}

impl Work<'_> {
    fn take(&mut self, name: Result<OsString, Trouble>) -> Result<(), ToolError> {
        match name {
            Ok(name) => self.hash(name),
            Err(trouble) => {
                self.finish()?;
                self.complain(trouble);
                Ok(())
            }
        }
    }

    fn complain(&mut self, trouble: Trouble) {
        complain(trouble);
        self.all_right = false;
    }

    fn hash(&mut self, name: OsString) -> Result<(), ToolError> {
        // To open anything else may take until somebody has seen the ids of those before it.
        if !self.ahead.is_empty() && !is_regular(&name) {
            self.finish()?;
        }
        let mut opened = self.open(&name);
        if opened.is_err() && !self.ahead.is_empty() {
            // Those before it may hold the descriptors that it lacked.
            self.finish()?;
            opened = self.open(&name);
        }
        let wanted = self.wanted();
        let input = match opened {
            Ok(input) => input,
            Err(error) => {
                self.complain(Trouble::new(name, error));
                return Ok(());
            }
        };
        // Standard input goes on from where the file before it ended.
        let way = match &input {
            Input::File(file) if self.trees.is_none() && name != "-" => Way::of(file, wanted),
            _ => Way::Alone,
        };
        match (way, input) {
            (Way::Beside, Input::File(file)) => self.ahead.give(name, file, wanted),
            (Way::AtOnce, input) => {
                let hashed = digest(input, wanted, &mut |length| self.output.advance(length));
                self.ahead.add(name, hashed);
            }
            (_, input) => {
                self.finish()?;
                return self.hash_alone(&name, input);
            }
        }
        self.print_ahead(self.waits_for_names)?;
        while self.ahead.is_full() {
            self.print_next(true)?;
        }
        Ok(())
    }

    fn open(&self, name: &OsStr) -> io::Result<Input> {
        if name == "-" && self.args.files_from.as_ref().is_some_and(|list| list.as_os_str() == "-") {
            return Err(io::Error::other("standard input is the list itself"));
        }
        files::open(name).map_err(|error| match error.kind() {
            io::ErrorKind::IsADirectory => {
                io::Error::new(error.kind(), "is a folder; -r hashes the files in it, --folder all of it")
            }
            _ => error,
        })
    }

    /// Without the leaves.
    fn wanted(&self) -> Wanted<'static> {
        let algorithm = self.algorithm();
        Wanted {
            blake3: algorithm != Algorithm::Sha256,
            sha256: matches!(algorithm, Algorithm::Sha256 | Algorithm::All),
            leaves: None,
        }
    }

    fn algorithm(&self) -> Algorithm {
        self.args.algorithm.unwrap_or(Algorithm::Blake3)
    }

    /// Prints all that is to come.
    fn finish(&mut self) -> Result<(), ToolError> {
        self.print_ahead(true)
    }

    /// Prints what is there, or if it `may_wait` all that is to come.
    fn print_ahead(&mut self, may_wait: bool) -> Result<(), ToolError> {
        while self.print_next(may_wait)? {}
        Ok(())
    }

    fn print_next(&mut self, may_wait: bool) -> Result<bool, ToolError> {
        let Some((name, hashed)) = self.ahead.take(may_wait, &mut |length| self.output.advance(length))
        else {
            return Ok(false);
        };
        self.print(&name, hashed, None)?;
        Ok(true)
    }

    fn hash_alone(&mut self, name: &OsStr, input: Input) -> Result<(), ToolError> {
        let spool = self.trees.as_ref().map(TreeDir::spool).transpose();
        let spool = spool.map_err(|error| cannot_write(tree_dir_name(self.args), &error))?;
        let wanted = Wanted { leaves: spool.as_ref(), ..self.wanted() };
        let hashed = digest(input, wanted, &mut |length| self.output.advance(length));
        self.print(name, hashed, spool.as_ref())
    }

    /// Prints the ids of a file, and writes its tree where its leaves are in `spool`.
    fn print(&mut self, name: &OsStr, hashed: Hashed, spool: Option<&File>) -> Result<(), ToolError> {
        let digests = match hashed {
            Ok(digests) => digests,
            Err(Failed::Reading(error)) => {
                self.complain(Trouble::new(name, error));
                return Ok(());
            }
            Err(Failed::Leaves(error)) => return Err(cannot_write(tree_dir_name(self.args), &error)),
        };
        let tree_path = match (&self.trees, spool, &digests.tree) {
            (Some(trees), Some(spool), Some(tree)) => {
                let path = trees.write(tree, spool);
                Some(path.map_err(|error| cannot_write(tree_dir_name(self.args), &error))?)
            }
            _ => None,
        };
        let wanted = self.wanted();
        let blake3 = digests.tree.filter(|_| wanted.blake3).map(|tree| ContentId::Blake3(*tree.root()));
        let sha256 = digests.sha256.map(ContentId::Sha256);
        let ids: Vec<ContentId> = [blake3, sha256].into_iter().flatten().collect();
        if self.args.json {
            return self.output.file_json(name, digests.length, &ids, tree_path.as_deref());
        }
        for id in &ids {
            let text = if self.algorithm() == Algorithm::Cid { id.cid() } else { None };
            self.output.id_line(&text.unwrap_or_else(|| id.to_string()), name)?;
        }
        Ok(())
    }
}

fn tree_dir_name(args: &Args) -> &OsStr {
    args.tree.as_ref().map_or(OsStr::new(""), |path| path.as_os_str())
}

fn cannot_write(name: &OsStr, error: &io::Error) -> ToolError {
    ToolError::new(Exit::Destination, format!("{}: {}", names::shown(name), reason(error)))
}
