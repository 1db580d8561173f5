//! The newest pointer of each name that somebody here asked for or published, in the state folder: a file for each, the text of the
//! signed message. So nobody can be told an older one for new, a publisher goes on where it stopped, and a server passes them on.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::SystemTime;

use cjp2p_wire::signed::{PointerId, SignedPointer};

use crate::state_dir::{StateDir, atomic_replace};

/// The folder of these files, below the state folder.
const FOLDER: &str = "names";
/// At most this many are read.
const MAX_READ: usize = 1024;
/// A longer file, in bytes, is none.
const MAX_LEN: u64 = 64 << 10;

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct PointerFiles {
    /// `None`: nothing is remembered.
    folder: Option<PathBuf>,
}

impl PointerFiles {
    /// Those below this state folder.
    pub fn new(state: Option<&StateDir>) -> PointerFiles {
        PointerFiles { folder: state.map(|state| state.file(FOLDER)) }
    }

    fn path(&self, id: &PointerId) -> Option<PathBuf> {
        let name = blake3::hash(id.to_string().as_bytes()).to_hex();
        self.folder.as_ref().map(|folder| folder.join(format!("{}.json", &name[..32])))
    }

    /// The newest that is known of this name. A file that is damaged counts as none: it was signed, so that shows.
    pub fn get(&self, id: &PointerId) -> Option<SignedPointer> {
        read(self.path(id)?).filter(|pointer| pointer.pointer().id == *id)
    }

    /// Keeps this one, unless a newer one is kept.
    ///
    /// # Errors
    ///
    /// Where it cannot be written. The message names the file.
    pub fn put(&self, pointer: &SignedPointer) -> io::Result<()> {
        let id = &pointer.pointer().id;
        let (Some(folder), Some(path)) = (&self.folder, self.path(id)) else { return Ok(()) };
        if self.get(id).is_some_and(|kept| !pointer.is_newer_than(&kept)) {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        atomic_replace(&path, (pointer.to_json() + "\n").as_bytes())
    }

    /// When one of them was last written, or a file beside them; `None` where there are none.
    pub fn modified(&self) -> Option<SystemTime> {
        fs::metadata(self.folder.as_ref()?).ok()?.modified().ok()
    }

    /// All of them, up to a limit: to be answered from. Each is verified, which takes a while.
    pub fn all(&self) -> Vec<SignedPointer> {
        let Some(entries) = self.folder.as_ref().and_then(|folder| fs::read_dir(folder).ok()) else {
            return Vec::new();
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let files = paths.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
        files.take(MAX_READ).filter_map(read).collect()
    }
}

fn read(path: PathBuf) -> Option<SignedPointer> {
    let found = fs::symlink_metadata(&path).ok()?;
    if !found.is_file() || found.len() > MAX_LEN {
        return None;
    }
    SignedPointer::read(fs::read_to_string(path).ok()?.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::signed::{Pointer, PointsTo, SigningKey};

    fn pointer(name: &str, seq: u64) -> SignedPointer {
        let key = SigningKey::from_seed(&[2; 32]);
        let id = PointerId::parse(&format!("latest/{}/{name}", key.public())).unwrap();
        let kind = PointsTo::File;
        SignedPointer::sign(&key, Pointer { id, sha256: [1; 32], seq, blake3: None, length: None, kind })
    }

    #[test]
    fn the_newest_is_kept_and_a_damaged_file_is_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let files = PointerFiles::new(Some(&StateDir::open(Some(folder.path())).unwrap()));
        let id = pointer("a", 0).pointer().id.clone();
        assert_eq!(files.get(&id), None);
        for seq in [7, 9, 8] {
            files.put(&pointer("a", seq)).unwrap();
        }
        files.put(&pointer("b", 1)).unwrap();
        assert_eq!(files.get(&id), Some(pointer("a", 9)));
        let mut all = files.all();
        all.sort_by_key(|pointer| pointer.pointer().seq);
        assert_eq!(all, [pointer("b", 1), pointer("a", 9)]);
        // Another name's, in the place of this one, and one that was changed.
        fs::write(files.path(&id).unwrap(), pointer("b", 10).to_json()).unwrap();
        assert_eq!(files.get(&id), None);
        fs::write(files.path(&id).unwrap(), pointer("a", 9).to_json().replace(":9", ":10")).unwrap();
        assert_eq!(files.get(&id), None);
        files.put(&pointer("a", 3)).unwrap();
        assert_eq!(files.get(&id), Some(pointer("a", 3)));
        assert_eq!(PointerFiles::new(None).get(&id), None);
        PointerFiles::new(None).put(&pointer("a", 3)).unwrap();
    }
}
