//! What the command line asks for where the id is that of a folder.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use cjp2p_cli::args::LockMode;
use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::event_loop::Waker;
use cjp2p_io::names;
use cjp2p_io::sandbox::Sandbox;
use cjp2p_io::state_dir::StateDir;
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::folder::{FOLDER_PREFIX, FolderPath};

use super::known_lists::KnownLists;
use super::listing::Listing;
use super::local::{Local, Options};
use super::select::Select;
use super::spool::Spool;
use super::tar::Tar;
use super::text::hex;
use super::tree::Tree;
use super::{Aim, Folder};
use crate::cli::Cli;
use crate::sinks::stream::Output;

/// How often a folder that another process writes is tried.
const TRY_LOCK_EVERY: Duration = Duration::from_millis(250);

/// See the [module](self).
pub(crate) struct Command {
    name: String,
    root: Hash,
    /// A folder in it, of which alone all is wanted.
    below: Option<FolderPath>,
    select: Select,
    goal: Goal,
}

enum Goal {
    List {
        json: bool,
    },
    Tar {
        output: Output,
        any_links: bool,
    },
    /// A folder on this disk, which is not open yet: see [`Command::open`].
    Tree {
        destination: PathBuf,
        options: Options,
    },
    Opened {
        destination: PathBuf,
        is_dry: bool,
        known: KnownLists,
        to: Box<(Local, Spool)>,
    },
}

impl Command {
    /// What is asked for, if that is a folder.
    ///
    /// # Errors
    ///
    /// Where that makes no sense, or its output cannot be opened.
    pub(crate) fn of(cli: &Cli) -> Result<Option<Command>, ToolError> {
        let usage = |message: &str| Err(ToolError::usage(message));
        let Some(name) = cli.ids.iter().find(|id| is_folder(id)) else {
            return match cli.folder.first_given() {
                Some(option) => Err(ToolError::usage(format!("{option} is for folders: folder/HEX"))),
                None => Ok(None),
            };
        };
        if cli.ids.len() > 1 {
            return usage("a folder is fetched alone: give one id");
        }
        if !cli.ranges.is_empty() {
            return usage("--range is for a single content, and not for a folder");
        }
        let (name, root, below) = parse(name)?;
        let select = match &cli.folder.look_up {
            Some(path) => Select::only(path.clone()),
            None => Select::new(&cli.folder.files)?,
        };
        let goal = Goal::of(cli)?;
        Ok(Some(Command { name, root, below, select, goal }))
    }

    /// Opens the folder that is written, before the process is confined. `None` where another process writes it and `lock` says to
    /// leave it to that.
    ///
    /// # Errors
    ///
    /// Where it cannot be opened, or another process writes it.
    pub(crate) fn open(
        self,
        lock: LockMode,
        temp_dir: &Path,
        state: Option<&StateDir>,
    ) -> Result<Option<Command>, ToolError> {
        let Goal::Tree { destination, options } = self.goal else { return Ok(Some(self)) };
        let local = loop {
            if let Some(local) = Local::open(&destination, state, options.clone())? {
                break local;
            }
            match lock {
                LockMode::Wait => thread::sleep(TRY_LOCK_EVERY),
                LockMode::Skip => return Ok(None),
                LockMode::Fail => {
                    let message =
                        format!("{}: another process writes this folder", names::shown(&destination));
                    return Err(ToolError::new(Exit::Busy, message));
                }
            }
        };
        let spool = Spool::new(temp_dir, self.select.clone())?;
        let is_dry = options.dry_run;
        let known = local.lists_file().map(|path| KnownLists::open(&path, is_dry)).unwrap_or_default();
        Ok(Some(Command {
            goal: Goal::Opened { destination, is_dry, known, to: Box::new((local, spool)) },
            ..self
        }))
    }

    /// Adds to what a process needs once it is confined.
    pub(crate) fn sandbox(&self, sandbox: Sandbox) -> Sandbox {
        match &self.goal {
            Goal::Opened { to, .. } => to.0.sandbox(sandbox),
            Goal::List { .. } | Goal::Tar { .. } | Goal::Tree { .. } => sandbox,
        }
    }

    /// Another copy of the output, where long files go as they come.
    ///
    /// # Errors
    ///
    /// Where the system has no descriptor left.
    pub(crate) fn output(&self) -> io::Result<Option<Output>> {
        match &self.goal {
            Goal::Tar { output, .. } => output.try_clone().map(Some),
            Goal::List { .. } | Goal::Tree { .. } | Goal::Opened { .. } => Ok(None),
        }
    }

    /// Ready to fetch. `waker` is woken when it can go on.
    ///
    /// # Errors
    ///
    /// Where the system has no thread left.
    pub(crate) fn start(self, waker: Waker) -> Result<Folder, ToolError> {
        let Command { name, root, below, select, goal } = self;
        let mut known_lists = KnownLists::default();
        let aim: Box<dyn Aim> = match goal {
            Goal::List { json } => Box::new(Listing::new(select, json, io::stdout().is_terminal())),
            Goal::Tar { output, any_links } => Box::new(Tar::new(select, any_links, &output, waker)?),
            Goal::Opened { destination, is_dry, known, to } => {
                known_lists = known;
                Box::new(Tree::new(name.clone(), destination, is_dry, to, waker))
            }
            Goal::Tree { .. } => return Err(ToolError::failure("the folder is not open")),
        };
        Ok(Folder::new(name, root, below, known_lists, aim))
    }

    /// Whether standard output is for what is told.
    pub(crate) fn tells(&self) -> bool {
        matches!(self.goal, Goal::List { .. } | Goal::Opened { .. })
    }
}

impl Goal {
    fn of(cli: &Cli) -> Result<Goal, ToolError> {
        let usage = |message: &str| Err(ToolError::usage(message));
        let options = &cli.folder;
        let output = cli.output.as_deref();
        let to_folder = output.filter(|output| *output != Path::new("-"));
        if cli.into.is_some() {
            return usage("--into is for contents by their ids; a folder goes to -o DIR");
        }
        if let Some(option) = options.first_for_disk().filter(|_| to_folder.is_none() || options.list) {
            return Err(ToolError::usage(format!("{option} is for a folder on this disk: -o DIR")));
        }
        if options.list {
            if output.is_some() {
                return usage("--list prints what is in the folder, and fetches nothing: -o has no meaning");
            }
            return Ok(Goal::List { json: cli.json });
        }
        if let Some(destination) = to_folder {
            let options = Options {
                delete: options.delete,
                backup: options.backup.clone(),
                force: cli.force,
                dry_run: options.dry_run,
                checksum: options.checksum,
                any_links: options.links.is_some(),
            };
            return Ok(Goal::Tree { destination: destination.to_owned(), options });
        }
        if cli.json {
            return usage("--json needs -o DIR or --list: standard output is for the tar stream");
        }
        if output.is_none() && io::stdout().is_terminal() {
            let message =
                "a folder goes to -o DIR, or as a tar stream into a pipe; --list prints what is in it";
            return usage(message);
        }
        Ok(Goal::Tar { output: Output::stdout()?, any_links: options.links.is_some() })
    }
}

/// Whether this is meant as the id of a folder.
pub(crate) fn is_folder(id: &str) -> bool {
    id.get(..FOLDER_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(FOLDER_PREFIX))
}

/// The id as it is shown, the hash in it, and the path of a folder in that one.
///
/// # Errors
///
/// Where it is no such id.
pub(crate) fn parse(text: &str) -> Result<(String, Hash, Option<FolderPath>), ToolError> {
    let rest = &text[FOLDER_PREFIX.len()..];
    let (digits, path) = match rest.split_once('/') {
        Some((digits, path)) => (digits, Some(path.strip_suffix('/').unwrap_or(path))),
        None => (rest, None),
    };
    let Ok(ContentId::Blake3(root)) = ContentId::parse_any_spelling(&format!("blake3/{digits}")) else {
        return Err(ToolError::usage(format!("{text:?}: a folder's id is folder/ and 64 hex digits")));
    };
    let name = format!("{FOLDER_PREFIX}{}", hex(&root));
    match path.filter(|path| !path.is_empty()) {
        None => Ok((name, root, None)),
        Some(path) => {
            let wrong = |error| ToolError::usage(format!("{text:?}: {error}"));
            let below = FolderPath::new(path.as_bytes()).map_err(wrong)?;
            Ok((format!("{name}/{path}"), root, Some(below)))
        }
    }
}

/// Whether this is meant as a path in a folder.
pub(crate) fn is_path_in_folder(id: &str) -> bool {
    is_folder(id) && id[FOLDER_PREFIX.len()..].split_once('/').is_some_and(|(_, path)| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_folders_are_read_in_either_case_and_nothing_else_is_one() {
        let hex = "aB".repeat(32);
        let lower = format!("folder/{}", hex.to_lowercase());
        for (text, shown, below) in [
            (format!("FOLDER/{hex}"), lower.clone(), None),
            (format!("folder/{hex}/"), lower.clone(), None),
            (format!("folder/{hex}/a/ b/"), format!("{lower}/a/ b"), Some("a/ b")),
        ] {
            let below = below.map(|path| FolderPath::new(path.as_bytes()).unwrap());
            assert_eq!(parse(&text).unwrap(), (shown, [0xab; 32], below.clone()));
            assert_eq!(is_path_in_folder(&text), below.is_some());
        }
        let wrong = ["/a/../b", "/a//b", "//a", "0/a"].map(|end| format!("folder/{hex}{end}"));
        for text in ["folder/", "folder/ab", "folder/../../etc", "folder/ab/c", &format!("folder/{hex}0")] {
            assert!(is_folder(text) && parse(text).is_err(), "{text}");
        }
        for text in wrong {
            assert!(is_folder(&text) && parse(&text).is_err(), "{text}");
        }
        assert!(!is_folder("fold") && !is_folder(&hex));
    }
}
