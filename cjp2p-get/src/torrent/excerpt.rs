//! `--range` with `-o`: a file that holds parts of one file of a torrent.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names::shown;
use cjp2p_io::partial_name::RESUME_SUFFIX;
use cjp2p_io::torrent::files::Files;
use cjp2p_torrent::layout::Layout;
use cjp2p_wire::range_set::RangeSet;

use super::target::ExcerptPlace;
use crate::place::Paths;
use crate::sinks::publish::{Excerpt, LastStep, SOMETHING_ELSE};

/// What is to become of the parts once they are here.
pub(crate) struct ExcerptPlan {
    /// What they become.
    pub(crate) target: PathBuf,
    /// Of the file.
    pub(crate) ranges: RangeSet,
    /// Which file.
    index: usize,
    length: u64,
    unfinished: PathBuf,
    force: bool,
    /// An interrupted fetch had more than is asked for now.
    pub(crate) keeps_rest: bool,
}

impl ExcerptPlan {
    /// Parts of the file `index`.
    ///
    /// # Errors
    ///
    /// What is at its place now cannot be what they will be, and is not to be replaced.
    pub(crate) fn new(place: &ExcerptPlace, layout: &Layout, index: usize) -> Result<ExcerptPlan, ToolError> {
        let file = &layout.files()[index];
        let target = match place.is_folder {
            true => place.path.join(OsStr::from_bytes(layout.path(index).name())),
            false => place.path.clone(),
        };
        let ranges = place.ranges.set(file.len());
        let plan = ExcerptPlan {
            target,
            ranges,
            index,
            length: file.len(),
            unfinished: place.unfinished.clone(),
            force: place.force,
            keeps_rest: false,
        };
        plan.look()?;
        Ok(plan)
    }

    fn look(&self) -> Result<(), ToolError> {
        let refused =
            |why: String| Err(ToolError::new(Exit::Destination, format!("{}: {why}", shown(&self.target))));
        match fs::symlink_metadata(&self.target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => refused(error.to_string()),
            Ok(found) if !found.is_file() => refused("is there already and no regular file".into()),
            // Whether it is the same is known only once they are here.
            Ok(found) if self.force || found.len() == self.ranges.total() => Ok(()),
            Ok(_) => refused(format!("{SOMETHING_ELSE}; --force replaces it")),
        }
    }

    /// Makes the file of what is in the staging folder, and removes that folder.
    ///
    /// # Errors
    ///
    /// The disk fails, or something else is there. What was fetched stays.
    pub(crate) fn finish(self, files: &Files) -> Result<(), ToolError> {
        let Some(staging) = files.staging() else { return Ok(()) };
        let folder = self.unfinished.join(staging.name());
        let failed =
            |error: io::Error| ToolError::new(Exit::Destination, format!("{}: {error}", shown(&folder)));
        let file = Arc::new(staging.fetched(self.index).map_err(failed)?);
        let name = staging.name_of_file(self.index);
        // There is no record of it.
        let (partial, record) = (folder.join(&name), folder.join(name + RESUME_SUFFIX));
        let paths = Paths { target: self.target, partial, record, make_folders: false };
        let excerpt = Excerpt { ranges: self.ranges, keeps_partial: self.keeps_rest };
        let (length, force) = (self.length, self.force);
        LastStep { file, paths, length, force, excerpt: Some(excerpt) }.run()?;
        if !self.keeps_rest {
            staging.remove(files.info().layout()).map_err(failed)?;
        }
        Ok(())
    }
}
