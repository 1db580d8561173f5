//! An origin alone: what it signs, says and remembers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use cjp2p_io::event_loop::EventLoop;
use cjp2p_io::stream_files::{Keep, StreamStore};
use cjp2p_io::udp::UdpPort;

use super::*;

/// A test that waits for longer fails.
const LIMIT: Duration = Duration::from_secs(60);

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn id() -> StreamId {
    StreamId::new(key().public(), "cam").unwrap()
}

struct Running {
    origin: Origin,
    store: StreamStore,
    input: Option<PipeWriter>,
    /// What came of it, in the newest form.
    blocks: BTreeMap<u64, Vec<u8>>,
    versions: usize,
    statements: Vec<Statement>,
    parts: Vec<(u64, &'static str)>,
    ended: Option<(u64, Option<blake3::Hash>)>,
    _event_loop: EventLoop,
}

impl Running {
    /// One whose state is in this folder.
    fn start(folder: &Path, flush: Duration) -> Running {
        let event_loop =
            EventLoop::new(UdpPort::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap(), None).unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let files = BlockFiles::new(folder.into(), id());
        let record_path = folder.join("record.json");
        let store = StreamStore::on_disk(files.another(), Keep::All, event_loop.waker()).unwrap();
        let plan = Plan {
            key: key(),
            id: id(),
            input: Input::Pipe(File::from(OwnedFd::from(reader))),
            record: Record::read(&record_path, &id()).unwrap(),
            record_path,
            files,
            marks: MarkKind::Auto,
            flush,
        };
        let origin = Origin::start(plan, store.floor(), event_loop.waker()).unwrap();
        Running {
            origin,
            store,
            input: Some(writer),
            blocks: BTreeMap::new(),
            versions: 0,
            statements: Vec::new(),
            parts: Vec::new(),
            ended: None,
            _event_loop: event_loop,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn take(&mut self, news: News) {
        match news {
            News::Block(block) => {
                let (index, data) = (block.index(), block.data().to_vec());
                assert!(SignedBlock::verify(&id(), index, &data, *block.signature()).is_some());
                let before = self.blocks.insert(index, data.clone()).unwrap_or_default();
                assert!(data.starts_with(&before) && data.len() > before.len(), "it only grows");
                self.versions += 1;
                self.store.put(block);
            }
            News::Statement(statement) => self.statements.push(statement.statement().clone()),
            News::Part(offset, why) => self.parts.push((offset, why)),
            News::Ended { length, blake3 } => self.ended = Some((length, blake3)),
            News::Failed(why) => panic!("{why}"),
        }
    }

    /// Waits until so many bytes were signed.
    fn wait_for(&mut self, bytes: usize) {
        while self.blocks.values().map(Vec::len).sum::<usize>() < bytes {
            let news = self.origin.news.recv_timeout(LIMIT).unwrap();
            self.take(news);
        }
    }

    /// Waits until a part has begun: for its first blocks there is a reserve on the disk then.
    fn wait_for_part(&mut self) {
        while self.parts.is_empty() {
            let news = self.origin.news.recv_timeout(LIMIT).unwrap();
            self.take(news);
        }
    }

    fn end(&mut self) {
        for news in self.origin.end() {
            self.take(news);
        }
        self.store.finish();
    }

    fn bytes(&self) -> Vec<u8> {
        self.blocks.values().flatten().copied().collect()
    }
}

fn some_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A number below `limit` that depends on `seed`.
fn some_number(seed: u64, limit: usize) -> usize {
    let hash = blake3::hash(&seed.to_be_bytes());
    let (words, _) = hash.as_bytes().as_chunks::<8>();
    (u64::from_le_bytes(words[0]) % limit as u64) as usize
}

#[test]
fn what_comes_is_signed_in_order_told_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut origin = Running::start(folder.path(), Duration::from_millis(2));
    let bytes = some_bytes(1, 100_000);
    origin.write(&bytes[..10]);
    origin.wait_for(10);
    origin.write(&bytes[10..]);
    origin.input = None;
    origin.wait_for(bytes.len());
    origin.end();
    assert_eq!(origin.bytes(), bytes);
    assert_eq!(origin.parts, [(0, "started")]);
    assert_eq!(origin.ended, Some((bytes.len() as u64, Some(blake3::hash(&bytes)))));
    let last = origin.statements.last().unwrap();
    assert!(last.ended && last.end == 100_000 && last.parts.len() == 1 && last.parts[0] == (0..100_000));
    assert_eq!(last.joins[0].offset, 0);
    let is_newer = |pair: &[Statement]| (pair[0].end, pair[0].time) < (pair[1].end, pair[1].time);
    assert!(origin.statements.windows(2).all(is_newer));
    // All but the first bytes were at hand, so few blocks were signed twice.
    assert!(origin.versions <= origin.blocks.len() + 4, "{}", origin.versions);
    let record = Record::read(&folder.path().join("record.json"), &id()).unwrap();
    assert!(record.ended && record.reserved == 100_000u64.next_multiple_of(4096));
}

#[test]
fn after_a_signal_the_stream_goes_on_and_has_not_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut origin = Running::start(folder.path(), Duration::from_millis(2));
    // It may not have read it yet.
    origin.write(b"one");
    origin.end();
    assert_eq!(origin.bytes(), b"one");
    assert!(origin.ended.is_none() && origin.statements.iter().all(|statement| !statement.ended));
    let mut origin = Running::start(folder.path(), Duration::from_millis(2));
    origin.write(b"two");
    origin.wait_for(3);
    origin.input = None;
    origin.end();
    assert_eq!(origin.parts, [(4096, "resumed")]);
    assert_eq!(origin.statements.last().unwrap().parts, [0..3, 4096..4099]);
}

/// Copies what is there of the folder, as a kill at this instant would leave it.
fn snapshot(from: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        // One that is just being replaced goes.
        let _ = fs::copy(entry.path(), folder.path().join(name));
    }
    folder
}

#[test]
fn whenever_it_is_killed_nothing_is_signed_twice_and_what_is_there_is_told() {
    let mut folder = tempfile::tempdir().unwrap();
    // All that was ever signed, with every byte of it.
    let mut signed: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for round in 0..12u64 {
        let mut origin = Running::start(folder.path(), Duration::from_millis(1));
        // Before that it signs nothing, and what it signs after it was killed would not be.
        origin.wait_for_part();
        let bytes = some_bytes(round, 1 + some_number(3 * round, 600_000));
        let killed_after = some_number(3 * round + 1, bytes.len() + 1);
        origin.write(&bytes[..killed_after]);
        if some_number(3 * round + 2, 2) == 0 {
            origin.wait_for(killed_after);
        }
        let left = snapshot(folder.path());
        // What it did after that counts as not done on this disk, but others may have got all of it.
        origin.write(&bytes[killed_after..]);
        origin.wait_for(bytes.len());
        origin.end();
        for (index, data) in origin.blocks {
            assert!(signed.insert(index, data).is_none(), "round {round}: block {index} is signed again");
        }
        folder = left;
    }
    let mut files = BlockFiles::new(folder.path().into(), id());
    let mut origin = Running::start(folder.path(), Duration::from_millis(1));
    origin.end();
    let told = &origin.statements.last().unwrap().parts;
    for part in told {
        assert_eq!(files.end_from(part.start, part.end), part.end, "{part:?}");
    }
}
