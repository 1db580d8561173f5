//! The files of the cache: two for each content, in one folder that no other process uses at the same time.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use cjp2p_io::partial::kept::Kept;
use cjp2p_io::partial::{reading, resume};
use cjp2p_io::partial_name::{PART_SUFFIX, RESUME_SUFFIX};
use cjp2p_io::state_dir::{about, in_the_place};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::store::PROOF_LEN;
use rustix::fs::OFlags;

use super::entry::Entry;

/// What is on the disk of some content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OnDisk {
    /// Room that it takes.
    pub(crate) bytes: u64,
    /// The higher, the later it was used.
    pub(crate) used: u64,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Nothing has a name in it: what is written is gone with the process.
    is_nameless: bool,
}

impl Folder {
    /// This folder, which is there.
    pub(crate) fn new(path: PathBuf, is_nameless: bool) -> Folder {
        Folder { path, is_nameless }
    }

    fn paths(&self, id: &ContentId) -> (PathBuf, PathBuf) {
        let name = id.to_string().replace('/', "-");
        (self.path.join(format!("{name}{PART_SUFFIX}")), self.path.join(format!("{name}{RESUME_SUFFIX}")))
    }

    /// What is there, the oldest first. Of what is no affair of ours nothing is told.
    pub(super) fn scan(&self) -> BTreeMap<ContentId, OnDisk> {
        let Ok(found) = fs::read_dir(&self.path) else { return BTreeMap::new() };
        let mut there = Vec::new();
        for file in found.filter_map(Result::ok) {
            let name = file.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(PART_SUFFIX));
            let id = id.and_then(|text| ContentId::parse(&text.replacen("blake3-", "blake3/", 1)).ok());
            let Some(id @ (ContentId::Blake3(_) | ContentId::Sha256(_))) = id else { continue };
            if let Ok(metadata) = fs::symlink_metadata(file.path())
                && metadata.is_file()
            {
                let time = (metadata.mtime(), metadata.mtime_nsec());
                there.push((time, id, metadata.blocks().saturating_mul(512)));
            }
        }
        there.sort_by_key(|(time, ..)| *time);
        let numbered = there.into_iter().enumerate();
        numbered.map(|(used, (_, id, bytes))| (id, OnDisk { bytes, used: used as u64 })).collect()
    }

    /// Opens what there is of some content, or begins it. Reads the end of it: for another thread than that of the network.
    ///
    /// # Errors
    ///
    /// The file cannot be made or read.
    pub(crate) fn open(&self, id: &ContentId) -> io::Result<Entry> {
        if self.is_nameless {
            let file = Arc::new(tempfile::tempfile_in(&self.path).map_err(|error| about(&self.path, error))?);
            let kept = Kept::new(id, file, None, Default::default());
            return Ok(Entry::new(id.clone(), kept, None));
        }
        let (path, record) = self.paths(id);
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags)
            .open(&path);
        let file = Arc::new(opened.map_err(|error| about(&path, in_the_place(error)))?);
        let loaded = resume::load(&file, &record, id).map_err(|error| about(&record, error))?;
        let mut kept = Kept::new(id, file.clone(), Some(record.clone()), loaded.sources);
        if let Some(resume) = &loaded.resume {
            kept.take_up(resume);
            kept.begin_record().map_err(|error| about(&record, error))?;
            return Ok(Entry::new(id.clone(), kept, loaded.recheck));
        }
        // Of what is short there is no record.
        let length = file.metadata()?.len();
        if length > 0 && length <= PROOF_LEN && reading::judge(id, &file, length).unwrap_or(false) {
            kept.take_up_whole(length);
            return Ok(Entry::new(id.clone(), kept, None));
        }
        file.set_len(0).map_err(|error| about(&path, error))?;
        let _ = fs::remove_file(&record);
        Ok(Entry::new(id.clone(), kept, None))
    }

    /// Removes what there is of some content.
    pub(super) fn remove(&self, id: &ContentId) {
        if self.is_nameless {
            return;
        }
        let (path, record) = self.paths(id);
        for path in [path, record] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    log::warn!("{}: cannot be removed: {error}", cjp2p_io::names::shown(&path));
                }
                _ => {}
            }
        }
    }
}

/// Whether the name of this file is still its own: somebody may have removed the folder meanwhile.
pub(crate) fn has_name(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.nlink() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_cache_are_found_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let digits = "00ff".repeat(16);
        for (name, bytes) in [
            (format!("blake3-{digits}.cjp2p-part"), 5000),
            (format!("{digits}.cjp2p-part"), 1),
            (format!("blake3-{digits}.cjp2p-resume"), 9),
            ("other.cjp2p-part".into(), 9),
            ("blake3-00.cjp2p-part".into(), 9),
        ] {
            fs::write(folder.path().join(name), vec![1; bytes]).unwrap();
        }
        let cache = Folder::new(folder.path().into(), false);
        let found = cache.scan();
        let hash = [0, 255].repeat(16).try_into().unwrap();
        assert_eq!(
            found.keys().cloned().collect::<Vec<_>>(),
            [ContentId::Blake3(hash), ContentId::Sha256(hash)]
        );
        assert!(
            found.values().map(|there| there.used).eq([0, 1])
                || found.values().map(|there| there.used).eq([1, 0])
        );
        cache.remove(&ContentId::Blake3(hash));
        assert_eq!(cache.scan().len(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn short_content_is_found_again_only_if_it_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Folder::new(folder.path().into(), false);
        let id = ContentId::Blake3(*blake3::hash(b"right").as_bytes());
        assert_eq!(cache.open(&id).unwrap().length(), None);
        let path = cache.paths(&id).0;
        fs::write(&path, "right").unwrap();
        let entry = cache.open(&id).unwrap();
        assert_eq!((entry.length(), entry.available(0..5)), (Some(5), 5));
        fs::write(&path, "wrong").unwrap();
        assert_eq!(cache.open(&id).unwrap().length(), None);
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(cache.open(&id).is_err(), "no link is followed");
    }
}
