//! The handles under which one peer sends raw content: each names the content or the tree of one download, for some minutes.
//!
//! No two peers ever get the same, and nobody can guess one. So whoever answers under a handle, from the address that it was given to,
//! has seen our request.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use crate::content_id::Hash;
use crate::message::{HANDLE_LEN, Handle};
use crate::pieces::Space;
use crate::store::JobId;
use crate::time::Time;

/// After this time requests get a new one.
const RENEWED_AFTER: Duration = Duration::from_secs(300);
/// Answers under an older one are not taken.
const LIFETIME: Duration = Duration::from_secs(600);
/// Handles that one peer may have; with more, the oldest is forgotten.
pub(crate) const MAX_HANDLES: usize = 256;

/// Raw content that came in datagrams together, the pieces one after another.
pub(crate) struct RawRun<'a> {
    pub(crate) handle: Handle,
    pub(crate) offset: u64,
    pub(crate) eof: Option<u64>,
    /// How long the datagrams waited here before they were read.
    pub(crate) waited: Duration,
    pub(crate) pieces: &'a [&'a [u8]],
}

#[derive(Clone, Copy, Debug)]
struct Given {
    handle: Handle,
    job: JobId,
    space: Space,
    at: Time,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Handles {
    // Invariant: the latest last, and at most `MAX_HANDLES`.
    given: Vec<Given>,
}

impl Handles {
    /// The handle for requests of this download, made by `mint` where there is none that is new enough.
    pub(super) fn get(
        &mut self,
        now: Time,
        job: JobId,
        space: Space,
        mint: impl FnOnce() -> Handle,
    ) -> Handle {
        let latest = self.given.iter().rev().find(|given| (given.job, given.space) == (job, space));
        if let Some(given) = latest.filter(|given| now.since(given.at) < RENEWED_AFTER) {
            return given.handle;
        }
        self.given.retain(|given| now.since(given.at) < LIFETIME);
        if self.given.len() >= MAX_HANDLES {
            self.given.remove(0);
        }
        let handle = mint();
        self.given.push(Given { handle, job, space, at: now });
        handle
    }

    /// What was asked for under this handle. `None` if it is none of this peer's, or too old.
    pub(super) fn find(&self, now: Time, handle: Handle) -> Option<(JobId, Space)> {
        let given = self.given.iter().rev().find(|given| given.handle == handle)?;
        (now.since(given.at) < LIFETIME).then_some((given.job, given.space))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.given.len()
    }

    /// Forgets those of a download that is over.
    pub(super) fn forget(&mut self, job: JobId) {
        self.given.retain(|given| given.job != job);
    }
}

/// A handle that nobody can guess: 64 bits of a keyed hash of `number`, which must be another each time.
pub(crate) fn mint(secret: &Hash, number: u64) -> Handle {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    // Longer than what a cookie is made of, so that it is no hash of the same.
    hasher.update(b"a handle for raw content, and no cookie");
    hasher.update(&number.to_le_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    let mut text = [0; HANDLE_LEN];
    BASE64URL_NOPAD.encode_mut(&bytes, &mut text);
    Handle::parse(&text).expect("base64url has no other characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn a_handle_is_renewed_after_five_minutes_and_good_for_ten() {
        let mut handles = Handles::default();
        let mut number = 0;
        let mut get = |handles: &mut Handles, seconds, job| {
            handles.get(at(seconds), JobId(job), Space::Content, || {
                number += 1;
                mint(&[7; 32], number)
            })
        };
        let first = get(&mut handles, 0, 1);
        assert_eq!(get(&mut handles, 299, 1), first);
        assert_ne!(get(&mut handles, 1, 2), first);
        let second = get(&mut handles, 300, 1);
        assert_ne!(second, first);
        assert_eq!(handles.find(at(599), first), Some((JobId(1), Space::Content)));
        assert_eq!(handles.find(at(600), first), None);
        assert_eq!(handles.find(at(600), second), Some((JobId(1), Space::Content)));
        handles.forget(JobId(1));
        assert_eq!(handles.find(at(600), second), None);
    }

    #[test]
    fn one_peer_has_a_bounded_number_of_handles() {
        let mut handles = Handles::default();
        let all: Vec<Handle> = (0..1000)
            .map(|n| handles.get(at(0), JobId(n), Space::Tree, || mint(&[7; 32], n.into())))
            .collect();
        assert_eq!(handles.given.len(), MAX_HANDLES);
        assert!(handles.find(at(1), all[999]).is_some() && handles.find(at(1), all[0]).is_none());
        let different: std::collections::BTreeSet<_> = all.into_iter().collect();
        assert_eq!(different.len(), 1000);
    }
}
