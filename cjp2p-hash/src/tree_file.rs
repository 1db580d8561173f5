//! Writing whole tree files.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cjp2p_io::state_dir::sync_file;
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::tree::{ENTRY_LEN, GroupIndex, Tree, TreeSource, read_tree};

/// Bytes written at once.
const PIECE_LEN: u64 = 1 << 20;

/// A folder that tree files are written to.
pub(crate) struct TreeDir {
    path: PathBuf,
}

impl TreeDir {
    /// Takes the folder at `path`, and makes it where it is missing.
    pub(crate) fn open(path: &Path) -> io::Result<TreeDir> {
        fs::create_dir_all(path)?;
        Ok(TreeDir { path: path.into() })
    }

    /// A file without a name for the values of the leaves while they are computed. Their place in the tree file is
    /// known only with the content's length.
    pub(crate) fn spool(&self) -> io::Result<File> {
        tempfile::tempfile_in(&self.path)
    }

    /// Writes the file of `tree`, whose leaves are in `spool`, and gives its path: the hex digits of its id. It has this
    /// name only once it is complete; one that was there is replaced.
    pub(crate) fn write(&self, tree: &Tree, spool: &File) -> io::Result<PathBuf> {
        let id = ContentId::Blake3(*tree.root()).to_string();
        let name = id.trim_start_matches("blake3/");
        let mut file = tempfile::Builder::new()
            .prefix(".")
            .suffix(".part")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&self.path)?;
        let geometry = tree.geometry();
        let mut source = Spooled { tree, spool, leaves: Vec::new() };
        let mut piece = Vec::new();
        for start in (0..geometry.tree_length()).step_by(PIECE_LEN as usize) {
            piece.clear();
            read_tree(&geometry, start..start + PIECE_LEN, &mut source, &mut piece)?;
            file.write_all(&piece)?;
        }
        sync_file(file.as_file())?;
        let path = self.path.join(name);
        file.persist(&path)?;
        Ok(path)
    }
}

struct Spooled<'a> {
    tree: &'a Tree,
    spool: &'a File,
    leaves: Vec<Hash>,
}

impl TreeSource for Spooled<'_> {
    type Error = io::Error;

    fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> io::Result<()> {
        let part = self.tree.prefix().get(range.start as usize..range.end as usize);
        out.extend_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn leaves(&mut self, group: GroupIndex) -> io::Result<&[Hash]> {
        let leaves = self.tree.geometry().group_leaves(group);
        self.leaves.resize((leaves.end.0 - leaves.start.0) as usize, Hash::default());
        self.spool.read_exact_at(self.leaves.as_flattened_mut(), leaves.start.0 * ENTRY_LEN)?;
        Ok(&self.leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::digest;
    use crate::hashers::Wanted;
    use crate::input::Input;
    use cjp2p_wire::tree::{self, TreeVerifier};

    #[test]
    fn the_file_written_proves_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("trees");
        let trees = TreeDir::open(&path).unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        for length in [0usize, 4096, 4097, 524_289, 3_000_000] {
            let content: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let spool = trees.spool().unwrap();
            let wanted = Wanted { leaves: Some(&spool), ..Wanted::default() };
            let input = Input::Stream(Box::new(io::Cursor::new(content.clone())));
            let tree = digest(input, wanted, &mut |_| {}).unwrap().tree.unwrap();
            let written = trees.write(&tree, &spool).unwrap();
            assert_eq!(written, path.join(blake3::hash(&content).to_hex().as_str()));
            let file = fs::read(&written).unwrap();
            assert_eq!(file.len() as u64, tree.geometry().tree_length());
            assert_eq!(file[..64], tree::header(tree.root()));
            assert_eq!(
                fs::metadata(&written).unwrap().permissions(),
                fs::metadata(&plain).unwrap().permissions()
            );

            let mut verifier = TreeVerifier::new(*tree.root(), tree.geometry());
            for leaf in (0..tree.geometry().leaves()).map(tree::LeafIndex) {
                while let Some(run) = verifier.missing_run_for(leaf) {
                    let bytes = tree.geometry().run_bytes(run);
                    verifier.insert_run(run, &file[bytes.start as usize..bytes.end as usize]).unwrap();
                }
            }
            verifier.verify(0, &content).unwrap();
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), 5, "nothing temporary is left");
    }
}
