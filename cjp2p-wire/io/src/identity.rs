//! `Identity`: whether a file is still the one that was hashed.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Stat};

/// A point in time as a file system records it: seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds within that second.
    pub nanos: u32,
}

impl Stamp {
    /// This moment, by the system's clock.
    pub fn now() -> Stamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Stamp { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
    }

    /// How long after `earlier` this is; `None` where it is before.
    fn since(self, earlier: Stamp) -> Option<Duration> {
        let nanos = (i128::from(self.seconds) - i128::from(earlier.seconds)) * 1_000_000_000
            + i128::from(self.nanos)
            - i128::from(earlier.nanos);
        let nanos = u128::try_from(nanos).ok()?;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

/// What tells one state of one file from any other: while it stays equal, so does the content.
///
/// The change time is part of it because, unlike the modification time, no program can set it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The device that holds the file.
    pub device: u64,
    /// The file's number on that device.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// When the content was last modified.
    pub modified: Stamp,
    /// When content or attributes last changed.
    pub changed: Stamp,
}

/// Time stamps advance with the kernel's tick, at most 10 ms; this leaves room for slow machines.
const TICK: Duration = Duration::from_millis(50);

/// FAT counts in steps of two seconds, some network and older file systems in one.
const COARSE_TICK: Duration = Duration::from_millis(2_100);

impl Identity {
    /// The identity of the regular file that `stat` describes, `None` for anything else.
    #[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
    pub fn of(stat: &Stat) -> Option<Identity> {
        if FileType::from_raw_mode(stat.st_mode as _) != FileType::RegularFile {
            return None;
        }
        Some(Identity {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: u64::try_from(stat.st_size).ok()?,
            modified: Stamp { seconds: stat.st_mtime as i64, nanos: stat.st_mtime_nsec as u32 },
            changed: Stamp { seconds: stat.st_ctime as i64, nanos: stat.st_ctime_nsec as u32 },
        })
    }

    /// The identity of an open file, `None` where it is no regular file.
    ///
    /// # Errors
    ///
    /// Whatever `fstat` reports.
    pub fn of_file(file: impl AsFd) -> io::Result<Option<Identity>> {
        Ok(Identity::of(&rustix::fs::fstat(file)?))
    }

    /// Whether the content was not modified since `earlier`, as far as its times tell; attributes may be others.
    ///
    /// A program can set back what is looked at here, so this is nothing to remember for another run.
    pub fn is_unmodified_since(&self, earlier: &Identity) -> bool {
        Identity { changed: earlier.changed, ..*self } == *earlier
    }

    /// How long to wait before this file can be hashed, zero for not at all.
    ///
    /// Two changes within one tick of the file system's clock leave the same time stamp. So a file is hashed only
    /// once its last change is more than a tick ago: any later change then shows in the identity.
    pub fn settles_in(&self, now: Stamp) -> Duration {
        let tick = self.tick();
        match now.since(self.changed) {
            Some(age) => tick.saturating_sub(age),
            None => match self.changed.since(now) {
                Some(ahead) if ahead <= tick => tick + ahead,
                // A clock that is ahead of ours by more: waiting for it could take for ever.
                _ => Duration::ZERO,
            },
        }
    }

    /// Whether the last change lies in the future, by a clock that is not ours. Nothing can be concluded from such a
    /// time stamp later, so the file's ids must not be remembered for another run.
    pub fn is_from_the_future(&self, now: Stamp) -> bool {
        now.since(self.changed).is_none()
    }

    fn tick(&self) -> Duration {
        if self.modified.nanos == 0 && self.changed.nanos == 0 { COARSE_TICK } else { TICK }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_settles_one_tick_after_its_last_change() {
        let at = |seconds, nanos| Stamp { seconds, nanos };
        let mut identity =
            Identity { device: 1, inode: 2, size: 3, modified: at(100, 7), changed: at(100, 7) };
        assert_eq!(identity.settles_in(at(100, 7)), TICK);
        assert_eq!(identity.settles_in(at(101, 0)), Duration::ZERO);
        assert!(!identity.is_from_the_future(at(100, 7)));
        assert!(identity.is_from_the_future(at(100, 6)));
        assert_eq!(identity.settles_in(at(99, 999_999_999)), TICK + Duration::from_nanos(8));
        assert_eq!(identity.settles_in(at(0, 0)), Duration::ZERO);
        identity.modified.nanos = 0;
        identity.changed.nanos = 0;
        assert_eq!(identity.settles_in(at(101, 0)), COARSE_TICK - Duration::from_secs(1));
    }

    #[test]
    fn other_attributes_are_no_modification() {
        let at = |seconds| Stamp { seconds, nanos: 0 };
        let one = Identity { device: 1, inode: 2, size: 3, modified: at(5), changed: at(5) };
        assert!(Identity { changed: at(6), ..one }.is_unmodified_since(&one));
        for other in [
            Identity { device: 2, ..one },
            Identity { inode: 3, ..one },
            Identity { size: 4, ..one },
            Identity { modified: at(6), ..one },
        ] {
            assert!(!other.is_unmodified_since(&one), "{other:?}");
        }
    }
}
