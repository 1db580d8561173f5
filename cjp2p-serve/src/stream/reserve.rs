//! Reserves offsets durably before anything is signed at them, on a thread of its own: bringing a record to the disk takes a while, and
//! what comes meanwhile is not to wait.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use cjp2p_io::stream_files::Record;
use cjp2p_wire::stream::StreamId;

/// Bytes that are reserved at a time.
pub(super) const AHEAD: u64 = 1 << 20;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Reserve {
    to_write: Sender<Record>,
    written: Receiver<io::Result<u64>>,
    /// All before this offset may be signed.
    durable: u64,
    /// The same once what is on its way is on the disk.
    asked: u64,
}

impl Reserve {
    /// Goes on from this record, which is on the disk.
    ///
    /// # Errors
    ///
    /// Where the system has no thread left.
    pub(super) fn start(record: &Record, path: PathBuf, id: StreamId) -> io::Result<Reserve> {
        let (to_write, waiting) = mpsc::channel::<Record>();
        let (results, written) = mpsc::channel();
        thread::Builder::new().name("reserve".into()).spawn(move || {
            while let Ok(mut record) = waiting.recv() {
                // The newest has all that those before had.
                while let Ok(newer) = waiting.try_recv() {
                    record = newer;
                }
                let result = record.write(&path, &id).map(|()| record.reserved);
                if results.send(result).is_err() {
                    return;
                }
            }
        })?;
        Ok(Reserve { to_write, written, durable: record.reserved, asked: record.reserved })
    }

    /// Has this record written, whatever it reserves; nobody waits for it.
    pub(super) fn note(&mut self, record: &Record) {
        self.asked = self.asked.max(record.reserved);
        // Fails only where there is no thread any more, which was told.
        let _ = self.to_write.send(record.clone());
    }

    /// Sees to it that all before `end` may be signed, and asks in time for what comes after.
    ///
    /// # Errors
    ///
    /// The record cannot be written: nothing must be signed.
    pub(super) fn ensure(&mut self, end: u64, record: &mut Record) -> io::Result<()> {
        if end + AHEAD / 2 > self.asked {
            record.reserved = record.reserved.max((end + AHEAD).next_multiple_of(AHEAD));
            self.note(record);
        }
        while end > self.durable {
            let result =
                self.written.recv().unwrap_or_else(|_| Err(io::Error::other("the thread for it ended")));
            self.durable = self.durable.max(result?);
        }
        for result in self.written.try_iter() {
            self.durable = self.durable.max(result?);
        }
        Ok(())
    }

    /// Has the record written and waits for it.
    ///
    /// # Errors
    ///
    /// As for [`Reserve::ensure`].
    pub(super) fn finish(self, record: &Record) -> io::Result<()> {
        let Reserve { to_write, written, .. } = self;
        let _ = to_write.send(record.clone());
        drop(to_write);
        written.iter().try_for_each(|result| result.map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::signed::PublicKey;

    #[test]
    fn nothing_is_signed_before_its_offset_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        let id = StreamId::new(PublicKey::from_bytes([7; 32]), "a").unwrap();
        let mut record = Record::default();
        let mut reserve = Reserve::start(&record, path.clone(), id.clone()).unwrap();
        for end in (0..5 * AHEAD).step_by(100_000) {
            reserve.ensure(end, &mut record).unwrap();
            let on_disk = Record::read(&path, &id).unwrap();
            assert!(on_disk.reserved >= end && on_disk.reserved <= end + 2 * AHEAD, "{end}");
        }
        record.ended = true;
        reserve.finish(&record).unwrap();
        assert_eq!(Record::read(&path, &id).unwrap(), record);
        let gone = folder.path().join("none/record.json");
        let mut reserve = Reserve::start(&Record::default(), gone, id).unwrap();
        assert!(reserve.ensure(1, &mut Record::default()).is_err());
    }
}
