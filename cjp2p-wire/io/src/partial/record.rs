//! The resume record: a file beside a partial that says what an interrupted fetch had.
//!
//! Lines of JSON. The first says which content it is and how long: `{"id":"blake3/..","length":N}`. After it
//! `{"run":[LEVEL,INDEX],"base64":".."}` are runs of the tree, and `{"done":[START,END]}` bytes of content that are in
//! the partial. `{"peers":{"ADDRESS":TIME}}` are those that sent some of it lately; the last such line counts. Lines that
//! cannot be read are passed over: nothing in a record is believed, all of it is checked.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::partial_name::RESUME_SUFFIX;
use crate::state_dir::{about, in_the_place};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::tree::{ENTRY_LEN, Level, RUN_ENTRIES, Run};
use data_encoding::BASE64;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::sources::Sources;

/// Content that may have come since it was last written down. What is not is fetched again.
const FLUSH_EVERY: u64 = 256 << 10;
/// A record that has grown by so much more than it began with is written anew.
const GROWTH: u64 = 1 << 20;
/// No line of a record is longer.
const MAX_LINE: u64 = 16 << 10;

#[derive(Serialize, Deserialize)]
struct Header {
    id: ContentId,
    length: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Run { run: (u8, u64), base64: String },
    Done { done: (u64, u64) },
    Peers { peers: BTreeMap<String, u64> },
}

/// What a record says. All of it may be wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The length of the content in bytes.
    pub length: u64,
    /// Sorted with the highest level first, so that each comes after those that prove it.
    pub runs: Vec<(Run, Vec<u8>)>,
    /// Bytes of content that are in the partial.
    pub done: RangeSet,
    /// Who sent some of it lately.
    pub sources: Sources,
}

/// Reads the record at `path`; `None` where there is none of the content `id`.
///
/// # Errors
///
/// It is there and cannot be read. A damaged one can.
pub fn read(path: &Path, id: &ContentId) -> io::Result<Option<Found>> {
    // Somebody else may have put a link or a pipe there.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(in_the_place(error)),
    };
    let mut input = BufReader::new(file);
    let mut line = Vec::new();
    if !read_line(&mut input, &mut line)? {
        return Ok(None);
    }
    let length = match serde_json::from_slice::<Header>(&line) {
        Ok(header) if header.id == *id => header.length,
        _ => return Ok(None),
    };
    let mut runs = BTreeMap::new();
    let mut done = RangeSet::new();
    let mut sources = Sources::default();
    while read_line(&mut input, &mut line)? {
        match serde_json::from_slice(&line) {
            Ok(Line::Run { run: (level, index), base64 }) => {
                if let Ok(bytes) = BASE64.decode(base64.as_bytes()) {
                    runs.insert(Run { level: Level(level), index }, bytes);
                }
            }
            Ok(Line::Done { done: (start, end) }) => {
                done.insert(start..end);
            }
            Ok(Line::Peers { peers }) => sources = Sources::read(&peers),
            Err(_) => {}
        }
    }
    Ok(Some(Found { length, runs: runs.into_iter().rev().collect(), done, sources }))
}

/// Reads the next line, or as much of it as may be of use. Returns whether there was one.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let count = input.take(MAX_LINE).read_until(b'\n', line)?;
    if count as u64 == MAX_LINE && line.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
    }
    Ok(count > 0)
}

/// Writes a record. Nothing is written before [`Record::begin`].
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    file: Option<File>,
    /// Lines not written yet, but for `done`.
    pending: Vec<u8>,
    done: RangeSet,
    /// Bytes of the file, and what they were when it was last written anew.
    length: u64,
    first_length: u64,
}

impl Record {
    /// The record at `path`, left as it is for now.
    pub fn new(path: PathBuf) -> Record {
        let (pending, done) = (Vec::new(), RangeSet::new());
        Record { path, file: None, pending, done, length: 0, first_length: 0 }
    }

    /// Whether it was begun.
    pub fn is_begun(&self) -> bool {
        self.file.is_some()
    }

    /// Writes it from the start, replacing what is there: a kill in between leaves the one or the other.
    ///
    /// # Errors
    ///
    /// It could not be written in full. What was there is then left as it was.
    pub fn begin<'a>(
        &mut self,
        id: &ContentId,
        length: u64,
        runs: impl Iterator<Item = (Run, &'a [u8])>,
        done: &RangeSet,
        sources: &Sources,
    ) -> io::Result<()> {
        self.pending.clear();
        self.done = done.clone();
        push_line(&mut self.pending, &Header { id: id.clone(), length });
        self.sources(sources);
        for (run, bytes) in runs {
            self.run(run, bytes);
        }
        let mut temporary = OsString::from(&self.path);
        temporary.push(RESUME_SUFFIX);
        let temporary = PathBuf::from(temporary);
        let _ = fs::remove_file(&temporary);
        let file = File::create_new(&temporary).map_err(|error| about(&temporary, error))?;
        (self.file, self.length) = (Some(file), 0);
        let written = self.flush().and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            self.file = None;
            let _ = fs::remove_file(&temporary);
        }
        self.first_length = self.length;
        written
    }

    /// Notes a run of the tree.
    pub fn run(&mut self, run: Run, bytes: &[u8]) {
        push_line(
            &mut self.pending,
            &Line::Run { run: (run.level.0, run.index), base64: BASE64.encode(bytes) },
        );
    }

    /// Notes who sends, to be written down with the next content: without that it is of no use.
    pub fn sources(&mut self, sources: &Sources) {
        if !sources.is_empty() {
            push_line(&mut self.pending, &Line::Peers { peers: sources.spelled() });
        }
    }

    /// Notes content that was written to the partial, and now and then writes all of that down.
    ///
    /// # Errors
    ///
    /// It could not be written down in full.
    pub fn done(&mut self, range: Range<u64>) -> io::Result<()> {
        self.done.insert(range);
        if self.done.total() >= FLUSH_EVERY { self.flush() } else { Ok(()) }
    }

    /// Writes down what was noted.
    ///
    /// # Errors
    ///
    /// It could not be written in full.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        for range in self.done.iter() {
            push_line(&mut self.pending, &Line::Done { done: (range.start, range.end) });
        }
        self.done = RangeSet::new();
        if self.pending.is_empty() {
            return Ok(());
        }
        file.write_all(&self.pending)?;
        self.length += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Whether so much of it is out of date that it should be written anew.
    pub fn is_bloated(&self) -> bool {
        self.length > 2 * self.first_length + GROWTH
    }

    /// Removes it.
    pub fn remove(&mut self) {
        *self = Record::new(std::mem::take(&mut self.path));
        // One that stays behind without its partial is of no effect.
        let _ = fs::remove_file(&self.path);
    }
}

fn push_line(lines: &mut Vec<u8>, line: &impl Serialize) {
    // Writing to memory cannot fail, and none of the types can.
    let _ = serde_json::to_writer(&mut *lines, line);
    lines.push(b'\n');
}

const _: () = assert!(RUN_ENTRIES * ENTRY_LEN * 4 / 3 + 100 < MAX_LINE, "a run fits a line");

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ContentId {
        ContentId::Blake3([7; 32])
    }

    fn sources(hosts: &[u8]) -> Sources {
        let mut sources = Sources::default();
        for &host in hosts {
            sources.note(&[([127, 0, 0, host], 24254).into()], 1000 + u64::from(host));
        }
        sources
    }

    fn set(ranges: &[(u64, u64)]) -> RangeSet {
        ranges.iter().map(|&(start, end)| start..end).collect()
    }

    #[test]
    fn what_was_noted_is_found_again_whatever_garbage_is_in_between() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.cjp2p-resume");
        assert_eq!(read(&path, &id()).unwrap(), None);
        let (top, leaves) = (Run { level: Level(7), index: 0 }, Run { level: Level(0), index: 3 });
        let mut record = Record::new(path.clone());
        record
            .begin(&id(), 1 << 30, [(top, &[1; 64][..])].into_iter(), &set(&[(0, 4096)]), &sources(&[1, 2]))
            .unwrap();
        record.run(leaves, &[2; 4096]);
        record.done(8192..12288).unwrap();
        record.sources(&sources(&[2, 3]));
        assert_eq!(read(&path, &id()).unwrap().unwrap().done, set(&[(0, 4096)]), "nothing is written yet");
        record.flush().unwrap();
        let mut garbage = OpenOptions::new().append(true).open(&path).unwrap();
        garbage
            .write_all(b"\xff\x00{\"done\":[1]}\n{\"done\":[5,5,5]}\n{\"peers\":{\"x\":-1}}\n[]\n{\"do")
            .unwrap();
        garbage.write_all(&[b'x'; 50_000]).unwrap();
        garbage.write_all(b"\n{\"done\":[20480,24576]}\n{\"done\":[9,").unwrap();
        let found = read(&path, &id()).unwrap().unwrap();
        assert_eq!(found.length, 1 << 30);
        assert_eq!(found.runs, [(top, vec![1; 64]), (leaves, vec![2; 4096])]);
        assert_eq!(found.done, set(&[(0, 4096), (8192, 12288), (20480, 24576)]));
        assert_eq!(found.sources, sources(&[2, 3]), "the last line counts");
        assert_eq!(read(&path, &ContentId::Blake3([8; 32])).unwrap(), None, "of other content");
        record.remove();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn content_is_written_down_at_least_every_quarter_of_a_mebibyte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.cjp2p-resume");
        let mut record = Record::new(path.clone());
        record.begin(&id(), 1 << 30, std::iter::empty(), &RangeSet::new(), &Sources::default()).unwrap();
        for n in 0..1000 {
            record.done(n << 14..(n + 1) << 14).unwrap();
            let written = read(&path, &id()).unwrap().unwrap().done.total();
            assert!(((n + 1) << 14) - written < FLUSH_EVERY);
        }
    }
}
