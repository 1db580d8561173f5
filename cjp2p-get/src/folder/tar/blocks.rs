//! Entries of a folder as blocks of a tar stream, in the form of GNU tar, which holds any name and any time.

use std::time::{SystemTime, UNIX_EPOCH};

use cjp2p_wire::folder::{Entry, Kind, Mtime};
use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// A stream ends with so many zeros.
pub(super) const END: usize = 1024;
/// What GNU tar calls an entry whose content is the name or target of the next.
const LONG_NAME: &[u8] = b"././@LongLink";

/// Zeros after content of this length.
pub(super) fn padding(length: u64) -> usize {
    (length.next_multiple_of(BLOCK) - length) as usize
}

/// Makes blocks.
pub(super) struct Blocks {
    /// What files get that have no time: the time at which the stream began, as files do that are made now.
    now: i64,
}

impl Blocks {
    pub(super) fn new() -> Blocks {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Blocks { now: i64::try_from(since.as_secs()).unwrap_or(0) }
    }

    /// The header of an entry, and its content if `bytes` has any, up to the next block. A file's content may also follow.
    pub(super) fn entry(&self, entry: &Entry, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 2 * BLOCK as usize);
        let mut path = entry.path.as_bytes().to_vec();
        let (kind, mode, size, target) = match &entry.kind {
            Kind::File { length, exec, .. } => {
                (EntryType::Regular, if *exec { 0o755 } else { 0o644 }, *length, &[][..])
            }
            Kind::Link { target } => (EntryType::Symlink, 0o777, 0, &target[..]),
            Kind::Folder { .. } => {
                path.push(b'/');
                (EntryType::Directory, 0o755, 0, &[][..])
            }
            Kind::Part(_) => return out,
        };
        if let Some(time) = entry.mtime.filter(|time| time.nanos() != 0) {
            let record = pax_record("mtime", &decimal(time));
            push(&mut out, header(b"pax", EntryType::XHeader, 0o644, record.len() as u64), record.as_bytes());
        }
        for (kind, text) in [(EntryType::GNULongLink, target), (EntryType::GNULongName, &path)] {
            if text.len() > 100 {
                let text = [text, b"\0"].concat();
                push(&mut out, header(LONG_NAME, kind, 0o644, text.len() as u64), &text);
            }
        }
        let mut header = header(&path, kind, mode, size);
        fill(&mut header.as_old_mut().linkname, target);
        set_time(&mut header, entry.mtime.map_or(self.now, Mtime::seconds));
        push(&mut out, header, bytes);
        out
    }
}

fn header(name: &[u8], kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    fill(&mut header.as_old_mut().name, name);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Puts the beginning of `text` there: where it is longer, all of it is in an entry of its own.
fn fill(field: &mut [u8; 100], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

fn push(out: &mut Vec<u8>, mut header: Header, bytes: &[u8]) {
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(bytes);
    out.resize(out.len() + padding(bytes.len() as u64), 0);
}

/// A record says how long it is, its length included.
fn pax_record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

/// Times before 1970 are binary, and those that are too long for digits.
fn set_time(header: &mut Header, seconds: i64) {
    match u64::try_from(seconds) {
        Ok(seconds) => header.set_mtime(seconds),
        Err(_) => {
            let field = &mut header.as_old_mut().mtime;
            field.fill(0xff);
            let at = field.len() - 8;
            field[at..].copy_from_slice(&seconds.to_be_bytes());
        }
    }
}

/// A time with its fraction.
fn decimal(time: Mtime) -> String {
    let nanos = time.nanos();
    match time.seconds() {
        // The fraction counts up from the second before.
        seconds if seconds < 0 => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos),
        seconds => format!("{seconds}.{nanos:09}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use cjp2p_wire::folder::FolderPath;
    use tar::Archive;

    use super::*;

    fn entry(path: &[u8], kind: Kind, mtime: Option<Mtime>) -> Entry {
        Entry { path: FolderPath::new(path).unwrap(), kind, mtime }
    }

    #[test]
    fn any_name_and_any_time_comes_back() {
        let long = [&b"\xff\n/"[..], &b"d/".repeat(100), b"\xff"].concat();
        let times = [(-1, 0), (-2, 500_000_000), (1 << 33, 0), (7, 1)];
        for (seconds, nanos) in times {
            let mtime = Mtime::new(seconds, nanos);
            let file = entry(&long, Kind::File { length: 3, root: [0; 32], exec: true }, mtime);
            let link = entry(b"l", Kind::Link { target: b"x".repeat(300) }, mtime);
            let mut text = Blocks::new().entry(&file, b"abc");
            text.extend(Blocks::new().entry(&link, b""));
            assert!(text.len().is_multiple_of(512));
            text.extend([0; END]);
            let mut archive = Archive::new(&text[..]);
            let mut entries = archive.entries().unwrap();
            let mut read = entries.next().unwrap().unwrap();
            assert_eq!(&*read.path_bytes(), &long[..]);
            assert_eq!(read.header().mode().unwrap(), 0o755);
            let mut bytes = String::new();
            io::Read::read_to_string(&mut read, &mut bytes).unwrap();
            assert_eq!(bytes, "abc");
            if nanos != 0 {
                let pax = read.pax_extensions().unwrap().unwrap().next().unwrap().unwrap();
                let value: f64 = pax.value().unwrap().parse().unwrap();
                assert!((value - (seconds as f64 + f64::from(nanos) / 1e9)).abs() < 1e-6, "{value}");
            } else {
                let field = read.header().as_old().mtime;
                let binary = i64::from_be_bytes(field[4..].try_into().unwrap());
                assert!(binary == seconds || read.header().mtime().unwrap() as i64 == seconds);
            }
            let read = entries.next().unwrap().unwrap();
            assert_eq!(read.link_name_bytes().unwrap().len(), 300);
        }
    }
}
