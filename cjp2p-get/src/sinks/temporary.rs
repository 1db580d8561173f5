//! Content that can be verified only as a whole on its way to standard output: it waits in a file without a name.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names;
use cjp2p_wire::store::Read;

use super::destination::{Destination, Publication};
use super::stream::Output;
use cjp2p_io::partial::group::Group;
use cjp2p_io::partial::reading::{BUFFER, read_exact_at};
use cjp2p_io::partial::sparse::Sparse;

/// See the [module](self).
pub(crate) struct Temporary {
    file: Arc<File>,
    sparse: Sparse,
    folder: PathBuf,
    output: Output,
    /// Of the content, once all of it is here and right.
    length: Option<u64>,
}

impl Temporary {
    /// A file in `folder`, whose content will go to `output`.
    pub(crate) fn new(folder: &Path, output: Output) -> Result<Temporary, ToolError> {
        let file = tempfile::tempfile_in(folder).map_err(|error| failure(folder, &error))?;
        let file = Arc::new(file);
        let sparse = Sparse::new(file.clone());
        Ok(Temporary { file, sparse, folder: folder.to_owned(), output, length: None })
    }
}

fn failure(folder: &Path, error: &io::Error) -> ToolError {
    let message = format!("temporary file in {}: {error}", names::shown(folder));
    ToolError::new(Exit::Destination, message)
}

impl Destination for Temporary {
    fn stage(&mut self, offset: u64, bytes: &[u8]) -> io::Result<Vec<Range<u64>>> {
        self.sparse.write_all_at(bytes, offset)?;
        let range = offset..offset + bytes.len() as u64;
        Ok(vec![range])
    }

    fn restage(&mut self) -> io::Result<()> {
        self.sparse.empty()
    }

    fn staged(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    fn read(&mut self, offset: u64, length: usize, may_wait: bool, out: &mut Vec<u8>) -> Read {
        let Some(total) = self.length else { return Read::Absent };
        let start = offset.min(total);
        let mut bytes = vec![0; length.min(usize::try_from(total - start).unwrap_or(usize::MAX))];
        match read_exact_at(&self.file, &mut bytes, start, may_wait) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Later,
            Err(_) => return Read::Absent,
            Ok(()) => out.extend_from_slice(&bytes),
        }
        Read::Found { eof: Some(total) }
    }

    fn window(&self, window: u64) -> Option<Group> {
        Some(Group::of_window(&self.file, window, self.length?))
    }

    fn publish(&mut self, length: u64) -> Publication {
        self.length = Some(length);
        let (file, output, folder) = (self.file.try_clone(), self.output.try_clone(), self.folder.clone());
        Box::new(move || {
            let ready = file.and_then(|file| Ok((file, output?)));
            let (file, output) = ready.map_err(|error| failure(&folder, &error))?;
            let mut buffer = vec![0; BUFFER.min(length) as usize];
            let mut offset = 0;
            while offset < length {
                let part = &mut buffer[..BUFFER.min(length - offset) as usize];
                file.read_exact_at(part, offset).map_err(|error| failure(&folder, &error))?;
                output.write(part).map_err(|error| output.failure(error))?;
                offset += part.len() as u64;
            }
            Ok(())
        })
    }

    fn failure(&self, error: io::Error) -> ToolError {
        failure(&self.folder, &error)
    }
}
