//! What the tool does.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::process;

use cjp2p_cli::progress::{Progress, clear_at_once};
use cjp2p_cli::{Exit, ToolError, logging};
use cjp2p_io::names;
use cjp2p_io::walk::Rules;
use cjp2p_wire::content_id::ContentId;

use crate::check;
use crate::cli::{Algorithm, Args};
use crate::digest::digest;
use crate::files::{self, NameList, Trouble, reason};
use crate::hashers::{Failed, Wanted};
use crate::output::{Output, Total, complain};
use crate::tree_file::TreeDir;

const TOOL: &str = "cjp2p-hash";

/// Hashes or checks, as `args` say.
pub(crate) fn run(mut args: Args) -> Result<Exit, ToolError> {
    logging::start(TOOL, args.verbose, 0);
    let files = if args.check { Vec::new() } else { std::mem::take(&mut args.files) };
    let known = !args.check && !args.recursive && args.files_from.is_none();
    let total = if known { Total::Of(files.clone()) } else { Total::Known(None) };
    let progress = Progress::new(TOOL, args.progress, args.status);
    take_the_bar_off_on_interrupt();
    let mut output = Output::new(args.null, progress, total);
    let exit =
        if args.check { check::run(&args, &mut output)? } else { hash_all(files, &args, &mut output)? };
    output.finish();
    Ok(exit)
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
    let mut all_right = true;
    let mut each = |name: Result<OsString, Trouble>| -> Result<(), ToolError> {
        let hashed = match name {
            Ok(name) => {
                hash_one(&name, trees.as_ref(), args, output)?.map_err(|error| Trouble::new(name, error))
            }
            Err(trouble) => Err(trouble),
        };
        if let Err(trouble) = hashed {
            complain(trouble);
            all_right = false;
        }
        Ok(())
    };
    match &args.files_from {
        Some(list) => {
            let wrong = |error| ToolError::failure(Trouble::new(list.as_os_str(), error).to_string());
            for name in NameList::open(list.as_os_str(), args.null).map_err(wrong)? {
                files::expand(name.map_err(wrong)?, rules, &mut each)?;
            }
        }
        None if files.is_empty() => {
            let here = if args.recursive { "." } else { "-" };
            files::expand(here.into(), rules, &mut each)?;
        }
        None => files.into_iter().try_for_each(|name| files::expand(name, rules, &mut each))?,
    }
    Ok(if all_right { Exit::Done } else { Exit::Failure })
}

/// Hashes a file and prints its ids. The inner error is about this file alone.
fn hash_one(
    name: &OsStr,
    trees: Option<&TreeDir>,
    args: &Args,
    output: &mut Output,
) -> Result<io::Result<()>, ToolError> {
    let algorithm = args.algorithm.unwrap_or(Algorithm::Blake3);
    if name == "-" && args.files_from.as_ref().is_some_and(|list| list.as_os_str() == "-") {
        return Ok(Err(io::Error::other("standard input is the list itself")));
    }
    let input = match files::open(name) {
        Ok(input) => input,
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            return Ok(Err(io::Error::new(error.kind(), "is a folder; -r hashes the files in it")));
        }
        Err(error) => return Ok(Err(error)),
    };
    let spool = trees.map(TreeDir::spool).transpose();
    let spool = spool.map_err(|error| cannot_write(tree_dir_name(args), &error))?;
    let wanted = Wanted {
        blake3: algorithm != Algorithm::Sha256,
        sha256: matches!(algorithm, Algorithm::Sha256 | Algorithm::All),
        leaves: spool.as_ref(),
    };
    let digests = match digest(input, wanted, &mut |length| output.advance(length)) {
        Ok(digests) => digests,
        Err(Failed::Reading(error)) => return Ok(Err(error)),
        Err(Failed::Leaves(error)) => return Err(cannot_write(tree_dir_name(args), &error)),
    };
    let tree_path = match (trees, &spool, &digests.tree) {
        (Some(trees), Some(spool), Some(tree)) => {
            let path = trees.write(tree, spool);
            Some(path.map_err(|error| cannot_write(tree_dir_name(args), &error))?)
        }
        _ => None,
    };
    let blake3 = digests.tree.filter(|_| wanted.blake3).map(|tree| ContentId::Blake3(*tree.root()));
    let sha256 = digests.sha256.map(ContentId::Sha256);
    let ids: Vec<ContentId> = [blake3, sha256].into_iter().flatten().collect();
    if args.json {
        output.file_json(name, digests.length, &ids, tree_path.as_deref())?;
        return Ok(Ok(()));
    }
    for id in &ids {
        let text = if algorithm == Algorithm::Cid { id.cid() } else { None };
        output.id_line(&text.unwrap_or_else(|| id.to_string()), name)?;
    }
    Ok(Ok(()))
}

fn tree_dir_name(args: &Args) -> &OsStr {
    args.tree.as_ref().map_or(OsStr::new(""), |path| path.as_os_str())
}

fn cannot_write(name: &OsStr, error: &io::Error) -> ToolError {
    ToolError::new(Exit::Destination, format!("{}: {}", names::shown(name), reason(error)))
}
