//! Folders of files, links and folders: written to be shared, and found on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cjp2p_wire::folder::{Builder, Entry, FolderPath, Kind, ListRef, reference_of};
use data_encoding::HEXLOWER;

use crate::lab::Error;

/// Where files wait until all is there.
pub(super) const STAGING: &str = ".cjp2p-partial";

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    File(Vec<u8>, bool),
    Link(PathBuf),
    Folder,
}

pub(super) type Things = BTreeMap<PathBuf, Thing>;

/// What is in a folder, but for what is unfinished.
pub(super) fn found(folder: &Path) -> Result<Things, Error> {
    let mut things = Things::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            if at == folder && entry.file_name() == STAGING {
                continue;
            }
            let (path, kind) = (entry.path(), entry.metadata()?);
            let thing = if kind.is_symlink() {
                Thing::Link(fs::read_link(&path)?)
            } else if kind.is_dir() {
                folders.push(path.clone());
                Thing::Folder
            } else {
                Thing::File(fs::read(&path)?, kind.permissions().mode() & 0o100 != 0)
            };
            things.insert(path.strip_prefix(folder)?.into(), thing);
        }
    }
    Ok(things)
}

/// Writes what is in these to files of any name, their lists too. Gives the id of the folder.
pub(super) fn share(things: &Things, share: &Path) -> Result<String, Error> {
    let put = |bytes: &[u8]| fs::write(share.join(blake3::hash(bytes).to_hex().as_str()), bytes);
    let mut entries = Vec::new();
    for (path, thing) in things {
        let kind = match thing {
            Thing::Folder => Kind::Folder { list: None },
            Thing::Link(target) => Kind::Link { target: target.as_os_str().as_bytes().to_vec() },
            Thing::File(bytes, exec) => {
                put(bytes)?;
                Kind::File { length: bytes.len() as u64, root: *blake3::hash(bytes).as_bytes(), exec: *exec }
            }
        };
        let path = FolderPath::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        entries.push(Entry { path, kind, mtime: None });
    }
    entries.sort_by(|one, other| one.path.cmp_tree(&other.path));
    let mut builder = Builder::new(|text: &[u8]| put(text).map(|()| reference_of(text)));
    for entry in &entries {
        builder.push(entry).map_err(|error| error.to_string())?;
    }
    let list: ListRef = builder.finish().map_err(|error| error.to_string())?;
    Ok(format!("folder/{}", HEXLOWER.encode(&list.root)))
}

/// A small folder with this content in it.
fn small(content: &[u8]) -> Things {
    let file = |bytes: &[u8]| Thing::File(bytes.to_vec(), false);
    Things::from([
        ("a".into(), file(content)),
        ("b".into(), file(&content[..2000])),
        ("c".into(), Thing::Folder),
        ("c/d".into(), Thing::File(content[..2000].to_vec(), true)),
        ("c/e".into(), file(b"")),
        ("empty".into(), Thing::Folder),
        ("link".into(), Thing::Link("c/d".into())),
    ])
}

/// Shares a small folder with this content in it. Gives its id.
pub(super) fn share_small(content: &[u8], folder: &Path) -> Result<String, Error> {
    share(&small(content), folder)
}

/// What is wrong about this folder, which is to be that small one, or a part of it if it is not done.
pub(super) fn check_small(content: &[u8], folder: &Path, is_done: bool) -> Result<(), String> {
    let expected = small(content);
    let there =
        if folder.exists() { found(folder).map_err(|error| error.to_string())? } else { Things::new() };
    if let Some((path, _)) = there.iter().find(|(path, thing)| expected.get(*path) != Some(*thing)) {
        return Err(format!("{} is wrong", path.display()));
    }
    if is_done && (there != expected || folder.join(STAGING).exists()) {
        return Err(format!("done, and only {} of {} are there", there.len(), expected.len()));
    }
    Ok(())
}
