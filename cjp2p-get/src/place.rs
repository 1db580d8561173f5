//! Where content goes: standard output, a device, or a file, and what the files on the way there are called.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names;
use cjp2p_io::partial_name::{self, PART_SUFFIX, RESUME_SUFFIX};
use cjp2p_wire::content_id::ContentId;

use crate::cli::Cli;
use crate::links::{Leads, follow};

/// Where all that is fetched goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    /// The one content goes to standard output.
    Stdout,
    /// It is written to this device, pipe, or descriptor of ours.
    Device(PathBuf),
    /// It becomes this file, which is where the links lead that were named.
    File(PathBuf),
    /// Each content becomes a file in `folder`, named by its id; what is unfinished is below `unfinished`.
    Folder { folder: PathBuf, unfinished: PathBuf },
}

/// The files of one download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    /// What it will be.
    pub(crate) target: PathBuf,
    /// What it is until it is complete and right.
    pub(crate) partial: PathBuf,
    /// What is known of the partial.
    pub(crate) record: PathBuf,
    /// Whether to make the folders that they are in.
    pub(crate) make_folders: bool,
}

impl Places {
    /// What the command line asks for.
    ///
    /// # Errors
    ///
    /// Where that makes no sense.
    pub(crate) fn of(cli: &Cli) -> Result<Places, ToolError> {
        let several = cli.ids.len() > 1 || cli.ids.iter().any(|id| id == "-");
        let places = Places::choose(cli, several)?;
        if cli.json && matches!(places, Places::Stdout) {
            return Err(ToolError::usage("--json needs -o or --into: standard output is for the content"));
        }
        Ok(places)
    }

    fn choose(cli: &Cli, several: bool) -> Result<Places, ToolError> {
        if let Some(folder) = &cli.into {
            return Ok(Places::Folder { folder: folder.clone(), unfinished: folder.join("incomplete") });
        }
        let Some(output) = cli.output.as_ref().filter(|output| *output != Path::new("-")) else {
            if several {
                return Err(ToolError::usage("several ids need a folder to go to: -o DIR or --into DIR"));
            }
            if cli.output.is_none() && io::stdout().is_terminal() {
                let message = "the content may be binary, and standard output is a terminal: \
                               use -o FILE, a pipe, or -o - if you mean it";
                return Err(ToolError::usage(message));
            }
            return Ok(Places::Stdout);
        };
        let found = fs::metadata(output).ok();
        let is_folder = found.as_ref().is_some_and(fs::Metadata::is_dir);
        let named_as_folder = output.as_os_str().as_encoded_bytes().ends_with(b"/");
        if several || is_folder || named_as_folder {
            if found.is_some() && !is_folder {
                let message = format!("-o {}: is not a folder, which several ids need", names::shown(output));
                return Err(ToolError::usage(message));
            }
            return Ok(Places::Folder { folder: output.clone(), unfinished: output.clone() });
        }
        let refused =
            |why: &str| Err(ToolError::new(Exit::Destination, format!("{}: {why}", names::shown(output))));
        let is_file = found.is_none_or(|found| found.is_file());
        match follow(output) {
            Ok(Leads::Own(1)) => Ok(Places::Stdout),
            Ok(Leads::Own(_)) => Ok(Places::Device(output.clone())),
            // To be replaced it has to have a name, and to be written to in place it may be somebody's who reads it.
            Ok(Leads::Foreign) if is_file => {
                refused("is a file that another process has open; name the file")
            }
            Ok(Leads::To(target)) if is_file => Ok(Places::File(target)),
            Ok(_) => Ok(Places::Device(output.clone())),
            Err(error) => refused(&error.to_string()),
        }
    }

    /// The files of the content `id`; `None` where there are none.
    pub(crate) fn paths(&self, id: &ContentId) -> Option<Paths> {
        match self {
            Places::Stdout | Places::Device(_) => None,
            Places::File(target) => Some(Paths::new(target.clone(), target, false)),
            // No id is a path out of the folder: those of hashes have one slash at the most, names have none.
            Places::Folder { folder, unfinished } => {
                let name = id.to_string();
                Some(Paths::new(folder.join(&name), &unfinished.join(&name), true))
            }
        }
    }
}

impl Paths {
    /// Those of a file of which nothing is seen before it is whole, since nobody looks for it where it is.
    pub(crate) fn of_file(target: PathBuf) -> Paths {
        let unfinished = target.clone();
        Paths::new(target, &unfinished, false)
    }

    fn new(target: PathBuf, unfinished: &Path, make_folders: bool) -> Paths {
        let unfinished = partial_name::unfinished(unfinished);
        let with = |suffix: &str| {
            let mut name = OsString::from(&unfinished);
            name.push(suffix);
            PathBuf::from(name)
        };
        Paths { target, partial: with(PART_SUFFIX), record: with(RESUME_SUFFIX), make_folders }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn places(arguments: &[&str]) -> Result<Places, ToolError> {
        let line = std::iter::once("cjp2p-get").chain(arguments.iter().copied());
        Places::of(&Cli::try_parse_from(line).unwrap())
    }

    #[test]
    fn one_id_goes_to_a_file_and_several_to_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_str().unwrap();
        let in_folder = |folder: &str, unfinished: &str| Places::Folder {
            folder: folder.into(),
            unfinished: unfinished.into(),
        };
        assert_eq!(places(&["a", "-o", "new"]).unwrap(), Places::File("new".into()));
        assert_eq!(places(&["a", "-o", "-"]).unwrap(), Places::Stdout);
        assert_eq!(places(&["a", "-o", "new/"]).unwrap(), in_folder("new/", "new/"));
        assert_eq!(places(&["a", "-o", dir]).unwrap(), in_folder(dir, dir));
        assert_eq!(places(&["a", "b", "-o", "new"]).unwrap(), in_folder("new", "new"));
        assert_eq!(places(&["-", "-o", "new"]).unwrap(), in_folder("new", "new"));
        assert_eq!(places(&["a", "--into", "new"]).unwrap(), in_folder("new", "new/incomplete"));
        assert_eq!(places(&["a", "-o", "/dev/null"]).unwrap(), Places::Device("/dev/null".into()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for arguments in [
            &["a", "b"][..],
            &["-"],
            &["a", "b", "-o", "-"],
            &["a", "b", "-o", file.to_str().unwrap()],
            &["a", "-o", "-", "--json"],
        ] {
            let error = places(arguments).unwrap_err();
            assert_eq!(error.exit, cjp2p_cli::Exit::Usage, "{arguments:?}: {error}");
        }
    }

    #[test]
    fn files_are_named_by_the_id_below_the_folder() {
        let hex = "ab".repeat(32);
        let id = ContentId::parse(&format!("blake3/{hex}")).unwrap();
        let places = places(&["a", "--into", "dir"]).unwrap();
        let paths = places.paths(&id).unwrap();
        assert_eq!(paths.target, Path::new(&format!("dir/blake3/{hex}")));
        assert_eq!(paths.partial, Path::new(&format!("dir/incomplete/blake3/{hex}.cjp2p-part")));
        assert_eq!(paths.record, Path::new(&format!("dir/incomplete/blake3/{hex}.cjp2p-resume")));
    }
}
