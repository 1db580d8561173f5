//! A file that a client sends: written beside, hashed as it comes, and named only when it is whole. Nothing that is there is replaced.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;

use cjp2p_io::event_loop::Waker;
use cjp2p_io::state_dir::{sync_file, sync_folder};
use cjp2p_wire::content_id::{ContentId, PlainName};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::TempPath;

/// Pieces that wait to be written; each is at most what a connection keeps.
const WAITING: usize = 2;
/// What a file is called before it is whole: hidden, so that nobody shares it.
const PREFIX: &str = ".cjp2p-upload-";

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Uploaded {
    /// What it is called.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its id.
    pub id: String,
    /// Its SHA-256 hash.
    pub sha256: String,
    /// The path by which it can be read, once it is shared.
    pub path: String,
}

/// Why there is none: a status, and a line for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status to answer with.
    pub status: u16,
    /// What is wrong.
    pub why: String,
}

impl Refused {
    fn of(error: &io::Error) -> Refused {
        let status = match error.kind() {
            io::ErrorKind::AlreadyExists => 409,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => 507,
            _ => 500,
        };
        let why = match status {
            409 => "a file of this name is there already".to_owned(),
            _ => format!("it cannot be kept: {error}"),
        };
        Refused { status, why }
    }
}

enum Part {
    Bytes(Vec<u8>),
    End,
}

/// A file that is being received. Dropped before its end, nothing of it stays.
pub struct Upload {
    parts: SyncSender<Part>,
    /// Did not fit yet.
    pending: Option<Vec<u8>>,
    received: u64,
    most: u64,
    is_ended: bool,
}

impl Upload {
    /// Begins a file of this name in a folder, of at most `most` bytes. `done` is called on another thread when all is there, or cannot be;
    /// `waker` is woken whenever there is room for more.
    ///
    /// # Errors
    ///
    /// Where the name can be none of a file that is shared, one is there already, or the system has no thread left.
    pub fn start(
        folder: &Path,
        name: &str,
        most: u64,
        waker: Waker,
        done: impl FnOnce(Result<Uploaded, Refused>) + Send + 'static,
    ) -> Result<Upload, Refused> {
        let refused = |status, why: &str| Refused { status, why: why.to_owned() };
        if name.starts_with('.') || PlainName::new(name).is_err() {
            return Err(refused(400, "a file cannot be called so"));
        }
        let target = folder.join(name);
        if target.symlink_metadata().is_ok() {
            return Err(refused(409, "a file of this name is there already"));
        }
        let (folder, name) = (folder.to_owned(), name.to_owned());
        let (parts, receiver) = mpsc::sync_channel(WAITING);
        let work = move || {
            let written = write(&folder, &target, &receiver, &waker);
            if let Some(result) = written.transpose() {
                let result = result.map_err(|error| Refused::of(&error));
                done(result.map(|(length, blake3, sha256)| describe(name, length, blake3, sha256)));
            }
        };
        thread::Builder::new().name("upload".into()).spawn(work).map_err(|error| Refused::of(&error))?;
        Ok(Upload { parts, pending: None, received: 0, most, is_ended: false })
    }

    /// Whether it can be given more.
    pub fn has_room(&self) -> bool {
        self.pending.is_none()
    }

    /// Takes what came; `is_over`: it is the last. Also to be called without anything when there may be room again.
    ///
    /// # Errors
    ///
    /// Where there is more than there may be.
    pub fn take(&mut self, bytes: Vec<u8>, is_over: bool) -> Result<(), Refused> {
        self.received += bytes.len() as u64;
        if self.received > self.most {
            return Err(Refused { status: 413, why: "it is longer than --max-upload".into() });
        }
        debug_assert!(self.pending.is_none() || bytes.is_empty());
        if !bytes.is_empty() {
            self.pending = Some(bytes);
        }
        if let Some(bytes) = self.pending.take()
            && let Err(TrySendError::Full(Part::Bytes(bytes))) = self.parts.try_send(Part::Bytes(bytes))
        {
            self.pending = Some(bytes);
        }
        if is_over && self.pending.is_none() && !self.is_ended {
            // Where it is full, this is called again. Where the thread is gone, it has said why.
            self.is_ended = !matches!(self.parts.try_send(Part::End), Err(TrySendError::Full(_)));
        }
        Ok(())
    }
}

type Written = (u64, blake3::Hash, [u8; 32]);

/// Writes all parts. `None` where they end before the end.
fn write(folder: &Path, target: &Path, parts: &Receiver<Part>, waker: &Waker) -> io::Result<Option<Written>> {
    let temporary = tempfile::Builder::new().prefix(PREFIX).tempfile_in(folder)?;
    let (mut file, path) = temporary.into_parts();
    let (mut blake3, mut sha256) = (blake3::Hasher::new(), Sha256::new());
    let mut length = 0;
    for part in parts {
        match part {
            Part::Bytes(bytes) => {
                file.write_all(&bytes)?;
                blake3.update(&bytes);
                sha256.update(&bytes);
                length += bytes.len() as u64;
                waker.wake();
            }
            Part::End => {
                publish(&file, path, folder, target)?;
                return Ok(Some((length, blake3.finalize(), sha256.finalize().into())));
            }
        }
    }
    Ok(None)
}

/// Gives the file its name, unless something has it.
fn publish(file: &File, path: TempPath, folder: &Path, target: &Path) -> io::Result<()> {
    sync_file(file)?;
    renameat_with(CWD, &*path, CWD, target, RenameFlags::NOREPLACE)?;
    // It has no other name any more.
    let _ = path.keep();
    sync_folder(folder)
}

fn describe(name: String, length: u64, blake3: blake3::Hash, sha256: [u8; 32]) -> Uploaded {
    let id = ContentId::Blake3(*blake3.as_bytes()).to_string();
    let path = format!("/{id}/{}", crate::folder::page::encode_path(&[name.as_bytes().to_vec()]));
    Uploaded { name, length, id, sha256: ContentId::Sha256(sha256).to_string(), path }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use cjp2p_io::event_loop::EventLoop;
    use cjp2p_io::udp::UdpPort;

    use super::*;

    fn waker() -> Waker {
        EventLoop::new(UdpPort::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap(), None).unwrap().waker()
    }

    fn start(
        folder: &Path,
        name: &str,
        most: u64,
    ) -> Result<(Upload, Receiver<Result<Uploaded, Refused>>), u16> {
        let (sender, receiver) = channel();
        let upload = Upload::start(folder, name, most, waker(), move |done| _ = sender.send(done));
        upload.map(|upload| (upload, receiver)).map_err(|refused| refused.status)
    }

    /// Gives it all, bit by bit.
    fn give(upload: &mut Upload, bytes: &[u8]) -> Result<(), u16> {
        let mut pieces = bytes.chunks(1000).peekable();
        while !upload.is_ended {
            let piece =
                if upload.has_room() { pieces.next().unwrap_or_default().to_vec() } else { Vec::new() };
            upload.take(piece, pieces.peek().is_none()).map_err(|refused| refused.status)?;
            thread::yield_now();
        }
        Ok(())
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (mut upload, done) = start(folder.path(), "a b.txt", 50_000).unwrap();
        give(&mut upload, &[7; 40_000]).unwrap();
        let uploaded = done.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
        let id = ContentId::Blake3(*blake3::hash(&[7; 40_000]).as_bytes()).to_string();
        assert_eq!(
            (uploaded.length, &uploaded.id, &uploaded.path),
            (40_000, &id, &format!("/{id}/a%20b.txt"))
        );
        assert!(fs::read(folder.path().join("a b.txt")).unwrap() == [7; 40_000]);
        assert_eq!(start(folder.path(), "a b.txt", 9).err(), Some(409));
        // Another comes first.
        let (mut upload, done) = start(folder.path(), "b", 9).unwrap();
        fs::write(folder.path().join("b"), "theirs").unwrap();
        give(&mut upload, b"ours").unwrap();
        assert_eq!(done.recv_timeout(Duration::from_secs(60)).unwrap().unwrap_err().status, 409);
        assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else stays");
    }

    #[test]
    fn what_is_too_long_or_ends_before_its_end_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (mut upload, done) = start(folder.path(), "long", 5000).unwrap();
        assert_eq!(give(&mut upload, &[1; 5001]), Err(413));
        drop(upload);
        assert!(done.recv_timeout(Duration::from_secs(60)).is_err(), "nobody is told");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        for name in ["", ".", "..", ".hidden", "a/b", "a\\b", "a\nb", &"x".repeat(256), &"0f".repeat(32)] {
            assert_eq!(start(folder.path(), name, 9).err(), Some(400), "{name:?}");
        }
        assert_eq!(
            start(&folder.path().join("none"), "a", 9).map(|(_, done)| done
                .recv()
                .unwrap()
                .unwrap_err()
                .status),
            Ok(500)
        );
    }
}
