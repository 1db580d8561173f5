//! What an origin remembers of its stream, so that after any end of the process it goes on without signing another block where it signed
//! one: how far offsets are reserved, and which parts there are.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use cjp2p_wire::stream::{BLOCK_LEN, Join, StreamId};
use serde::{Deserialize, Serialize};

use crate::state_dir::{about, atomic_replace};

/// A longer file, in bytes, is none.
const MAX_LEN: u64 = 64 << 10;
/// Parts and places to join that are remembered, of each.
const MAX_KEPT: usize = 64;
/// No offset is greater: 2^52.
const MAX_OFFSET: u64 = 1 << 52;

/// Where in a file a part begins, for an origin that follows a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file system that it lies in.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// The byte of the file with which the last part begins.
    pub at: u64,
}

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Blocks before this offset may have been signed; none from there on.
    // Invariant: a multiple of the length of a block.
    pub reserved: u64,
    /// Which bytes there are, in order. The last part may go on beyond what this says, but not beyond `reserved`.
    pub parts: Vec<Range<u64>>,
    /// Where the part began that was the last to begin, though nothing may have come of it.
    pub begun: Option<u64>,
    /// Whether the stream ended, so that the last part does not go on.
    pub ended: bool,
    /// The time of the last statement.
    pub time: u64,
    /// The newest places to join.
    pub joins: Vec<Join>,
    /// Where the last part comes from.
    pub source: Option<Source>,
}

/// As it is in the file.
#[derive(Serialize, Deserialize)]
struct Fields {
    id: String,
    reserved: u64,
    parts: Vec<(u64, u64)>,
    #[serde(default)]
    begun: Option<u64>,
    ended: bool,
    time: u64,
    joins: Vec<(u64, u64)>,
    #[serde(default)]
    source: Option<Source>,
}

impl Record {
    /// Reads the record of this stream; an empty one where there is none yet.
    ///
    /// # Errors
    ///
    /// Where there is one that cannot be read, or is damaged: nothing may be signed then. The message names it.
    pub fn read(path: &Path, id: &StreamId) -> io::Result<Record> {
        let wrong = |what: &str| about(path, io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
            Err(error) => return Err(about(path, error)),
            Ok(found) if !found.is_file() || found.len() > MAX_LEN => {
                return Err(wrong("is no record of a stream"));
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(path).map_err(|error| about(path, error))?;
        let fields: Fields = serde_json::from_str(&text)
            .map_err(|error| wrong(&format!("is no record of a stream: {error}")))?;
        if fields.id != id.to_string() {
            return Err(wrong("is the record of another stream"));
        }
        let parts: Vec<Range<u64>> = fields.parts.into_iter().map(|(start, end)| start..end).collect();
        let is_sound = fields.reserved <= MAX_OFFSET
            && parts.iter().all(|part| part.start < part.end && part.end <= fields.reserved)
            && parts.windows(2).all(|pair| pair[0].end < pair[1].start);
        if !is_sound {
            return Err(wrong("is a record of a stream that is out of order"));
        }
        Ok(Record {
            reserved: fields.reserved.next_multiple_of(BLOCK_LEN as u64),
            parts,
            begun: fields.begun.filter(|begun| *begun < fields.reserved),
            ended: fields.ended,
            time: fields.time,
            joins: fields.joins.into_iter().map(|(offset, time)| Join { offset, time }).collect(),
            source: fields.source,
        })
    }

    /// Writes it, and brings it to the disk.
    ///
    /// # Errors
    ///
    /// Where it cannot be written: then it is as it was before.
    pub fn write(&self, path: &Path, id: &StreamId) -> io::Result<()> {
        let newest = |length: usize| length.saturating_sub(MAX_KEPT);
        let fields = Fields {
            id: id.to_string(),
            reserved: self.reserved,
            parts: self.parts[newest(self.parts.len())..].iter().map(|part| (part.start, part.end)).collect(),
            begun: self.begun,
            ended: self.ended,
            time: self.time,
            joins: self.joins[newest(self.joins.len())..]
                .iter()
                .map(|join| (join.offset, join.time))
                .collect(),
            source: self.source,
        };
        let mut text = serde_json::to_vec(&fields).map_err(io::Error::other)?;
        text.push(b'\n');
        atomic_replace(path, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::signed::PublicKey;

    #[test]
    fn a_record_reads_back_and_a_damaged_one_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        let id = StreamId::new(PublicKey::from_bytes([7; 32]), "a\"b").unwrap();
        assert_eq!(Record::read(&path, &id).unwrap(), Record::default());
        let record = Record {
            reserved: 1 << 20,
            parts: vec![0..10, 4096..5000],
            begun: Some(4096),
            ended: true,
            time: 1_700_000_000_000,
            joins: vec![Join { offset: 3, time: 4 }],
            source: Some(Source { device: 1, inode: 2, at: 3 }),
        };
        record.write(&path, &id).unwrap();
        assert_eq!(Record::read(&path, &id).unwrap(), record);
        let other = StreamId::new(PublicKey::from_bytes([8; 32]), "a\"b").unwrap();
        assert!(Record::read(&path, &other).unwrap_err().to_string().contains("another stream"));
        let good = fs::read_to_string(&path).unwrap();
        for (from, to) in [
            ("1048576", "4000"),
            ("[0,10]", "[10,10]"),
            ("[0,10]", "[0,4096]"),
            ("\"ended\"", "\"end\""),
            ("1048576", "99999999999999999"),
        ] {
            fs::write(&path, good.replace(from, to)).unwrap();
            assert!(Record::read(&path, &id).is_err(), "{from} {to}");
        }
        fs::write(&path, "").unwrap();
        assert!(Record::read(&path, &id).unwrap_err().to_string().contains("record.json"));
    }

    #[test]
    fn of_many_parts_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        let id = StreamId::new(PublicKey::from_bytes([7; 32]), "a").unwrap();
        let parts: Vec<_> = (0..1000u64).map(|n| n * 4096..n * 4096 + 1).collect();
        Record { reserved: 4096 * 1000, parts: parts.clone(), ..Record::default() }
            .write(&path, &id)
            .unwrap();
        assert_eq!(Record::read(&path, &id).unwrap().parts, parts[1000 - MAX_KEPT..]);
    }
}
