//! What an echo is worth. The oldest nodes can only return a value once, in a `ReturnedMessage`, and any node returns whatever it
//! is sent: a forged request in its name makes a server challenge it, and it answers. So an echo shows that a node is at an
//! address, and not that it wants anything. Here the requests wait that rode in such echoes, and leave as slowly as bystanders
//! can bear: nothing else is ever sent in full to an address that returned no permanent cookie.
//!
//! Of hosts nothing else is stored: they share [`buckets`](crate::node::buckets).

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::content_id::Hash;
use crate::message::ContentRequest;
use crate::node::buckets::{Buckets, bucket_of, time_for};
use crate::time::Time;

/// Bytes that a host is sent in a second for all its echoes, at most: UDP payloads, by whatever port.
pub const ECHO_RATE_OF_HOST: u64 = 64 << 10;
/// Bytes that all hosts together are sent in a second for their echoes.
pub const ECHO_RATE: u64 = 256 << 10;
/// An echo is answered with at most this many times its own length.
pub const ECHO_FACTOR: usize = 64;
/// A challenge must come back within this time; then an answer to it may still wait for its turn.
pub const ECHO_LIFETIME: Duration = Duration::from_secs(10);
/// Bytes of content in the answer to an echo: the block of the oldest nodes, which take only whole ones.
const MAX_ECHOED_BLOCK: u64 = 4096;
/// Requests of echoes that may wait.
pub(crate) const MAX_ECHOED: usize = 64;
/// Those of one bucket.
const MAX_ECHOED_OF_HOST: usize = 8;
/// No answer to an echo is charged with less: what is not here is answered with a referral.
const LEAST_CHARGE: u64 = 1280;
/// Echoes remembered, so that none is answered twice: more than can be answered in their lifetime.
pub(crate) const MAX_ANSWERED: usize = 4096;

/// A request that rode in an echo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Echoed {
    pub(super) from: SocketAddr,
    pub(super) wire_id: String,
    pub(super) offset: u64,
    pub(super) length: u64,
    bucket: usize,
    /// Bytes of its answer, at most.
    charge: u64,
}

/// Which echo it is.
type Key = u128;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Echoes {
    of_hosts: Buckets,
    /// Up to when all together have used up their rate.
    all_used_until: Time,
    // Invariant: at most MAX_ECHOED, and MAX_ECHOED_OF_HOST of a bucket.
    waiting: VecDeque<(Key, Echoed)>,
    // Invariant: the same in both, at most MAX_ANSWERED.
    answered: BTreeSet<Key>,
    answered_at: VecDeque<(Time, Key)>,
}

impl Echoes {
    /// Takes in the request that rode in an echo of `received` bytes with this `text`. What does not fit is dropped, like a
    /// datagram that is lost; so is what was answered before.
    pub(super) fn add(
        &mut self,
        now: Time,
        from: SocketAddr,
        text: &str,
        request: &ContentRequest<'_>,
        received: usize,
        secret: &Hash,
    ) {
        while self.answered_at.front().is_some_and(|(at, _)| now.since(*at) > ECHO_LIFETIME) {
            if let Some((_, key)) = self.answered_at.pop_front() {
                self.answered.remove(&key);
            }
        }
        let key = key_of(text, secret);
        let frame = frame_of(&request.id);
        let room = (received * ECHO_FACTOR).saturating_sub(frame) as u64;
        let length = request.length.min(MAX_ECHOED_BLOCK).min(room / 4 * 3);
        let charge = (frame as u64 + length.div_ceil(3) * 4).max(LEAST_CHARGE);
        let bucket = bucket_of(from, secret);
        let of_host = self.waiting.iter().filter(|(_, other)| other.bucket == bucket).count();
        let wire_id = request.id.to_string();
        let echoed = Echoed { from, wire_id, offset: request.offset, length, bucket, charge };
        let is_new = |(other_key, other): &(Key, Echoed)| *other_key != key && *other != echoed;
        if self.waiting.len() < MAX_ECHOED
            && of_host < MAX_ECHOED_OF_HOST
            && !self.answered.contains(&key)
            && self.waiting.iter().all(is_new)
        {
            self.waiting.push_back((key, echoed));
        }
    }

    /// Takes out one that may be answered now, and charges it.
    pub(super) fn take(&mut self, now: Time) -> Option<Echoed> {
        if self.all_used_until > now || self.answered.len() >= MAX_ANSWERED {
            return None;
        }
        let ready = |(_, echoed): &(Key, Echoed)| self.of_hosts.used_until(echoed.bucket) <= now;
        let at = self.waiting.iter().position(ready)?;
        let (key, echoed) = self.waiting.remove(at)?;
        self.all_used_until = now + time_for(echoed.charge, ECHO_RATE);
        self.of_hosts.set(echoed.bucket, now + time_for(echoed.charge, ECHO_RATE_OF_HOST));
        self.answered.insert(key);
        self.answered_at.push_back((now, key));
        Some(echoed)
    }

    /// When the next one may be answered.
    pub(super) fn next_at(&self) -> Time {
        let first = self.waiting.iter().map(|(_, echoed)| self.of_hosts.used_until(echoed.bucket)).min();
        first.map_or(Time::NEVER, |at| at.max(self.all_used_until))
    }

    /// How many wait, and how many answered ones are remembered.
    pub(super) fn lengths(&self) -> (usize, usize) {
        (self.waiting.len(), self.answered_at.len())
    }
}

/// The text begins with the cookie of an address, and has the time of its challenge in it.
fn key_of(text: &str, secret: &Hash) -> Key {
    let hash = blake3::keyed_hash(secret, text.as_bytes());
    let (keys, _) = hash.as_bytes().as_chunks::<16>();
    Key::from_le_bytes(keys[0])
}

/// How long an answer is beside its base64, at most: two numbers, and cookies.
fn frame_of(id: &str) -> usize {
    const FRAME: usize = r#"[{"Content":{"id":"","offset":,"base64":"","eof":}}]"#.len() + 2 * 16;
    const COOKIES: usize = r#",{"PleaseAlwaysReturnThisMessage":{"cookie":""}}"#.len() + 22;
    // An id that needs escapes is twice as long.
    FRAME + COOKIES + 2 * id.len()
}

/// How long a challenge must be, so that its echo pays for the whole answer to `request`.
pub(super) fn length_of_challenge(request: &ContentRequest<'_>) -> usize {
    let answer = frame_of(&request.id) + (request.length.min(MAX_ECHOED_BLOCK).div_ceil(3) * 4) as usize;
    let shorter = "PleaseReturnThisMessage".len() - "ReturnedMessage".len();
    answer.div_ceil(ECHO_FACTOR) + shorter
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Hash = [7; 32];

    fn host(n: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from_bits(0x1400_0000 + n), 24254))
    }

    fn block(n: u64) -> ContentRequest<'static> {
        ContentRequest::plain("file", n * 4096, 4096)
    }

    fn add(echoes: &mut Echoes, now: Time, from: SocketAddr, text: &str, n: u64) {
        echoes.add(now, from, text, &block(n), 100, &SECRET);
    }

    /// Charges of what is answered in `seconds` to hosts that echo all the time.
    fn answered(echoes: &mut Echoes, hosts: u32, seconds: u64) -> u64 {
        let mut sum = 0;
        for ms in 0..seconds * 1000 {
            let now = Time::from_millis(ms);
            for n in 0..hosts {
                add(echoes, now, host(n), &format!("{n} {ms}"), ms);
            }
            while let Some(echoed) = echoes.take(now) {
                sum += echoed.charge;
            }
            let (waiting, remembered) = echoes.lengths();
            assert!(waiting <= MAX_ECHOED && remembered <= MAX_ANSWERED);
        }
        sum
    }

    #[test]
    fn a_host_that_echoes_all_the_time_is_sent_64_kib_a_second_and_all_hosts_256() {
        for (hosts, rate) in [(1, ECHO_RATE_OF_HOST), (100, ECHO_RATE)] {
            let sum = answered(&mut Echoes::default(), hosts, 30);
            assert!(sum <= 30 * rate + 6000, "{sum} for {hosts} hosts");
            assert!(sum > 28 * rate, "{sum} for {hosts} hosts");
        }
    }

    #[test]
    fn an_echo_is_answered_with_so_many_times_its_length_and_one_block_at_the_most() {
        for received in 0..300 {
            let mut echoes = Echoes::default();
            let request = ContentRequest::plain("file", 0, 40_960);
            echoes.add(Time::ZERO, host(1), "text", &request, received, &SECRET);
            let echoed = echoes.take(Time::ZERO).unwrap();
            assert!(echoed.length <= MAX_ECHOED_BLOCK);
            let answer = if echoed.length == 0 { 0 } else { frame_of("file") as u64 + echoed.length * 4 / 3 };
            assert!(answer <= (received * ECHO_FACTOR) as u64, "{answer} for {received}");
        }
    }

    #[test]
    fn the_challenge_for_a_block_is_long_enough_for_its_echo_to_pay_for_it() {
        let long = "n".repeat(255);
        for id in ["f", "blake3/abababababababababababababababababababababababababababababababab", &long] {
            let request = ContentRequest::plain(id, 0, 4096);
            let mut echoes = Echoes::default();
            echoes.add(Time::ZERO, host(1), "text", &request, length_of_challenge(&request) - 8, &SECRET);
            assert_eq!(echoes.take(Time::ZERO).unwrap().length, 4096, "{id}");
        }
    }

    #[test]
    fn when_the_next_may_be_answered_is_known_and_the_same_request_waits_once() {
        let mut echoes = Echoes::default();
        assert_eq!(echoes.next_at(), Time::NEVER);
        for (text, n) in [("a", 0), ("b", 1), ("c", 1)] {
            add(&mut echoes, Time::ZERO, host(1), text, n);
        }
        assert_eq!(echoes.lengths(), (2, 0));
        assert!(echoes.take(Time::ZERO).is_some() && echoes.take(Time::ZERO).is_none());
        let at = echoes.next_at();
        assert!(at > Time::from_millis(80) && at < Time::from_millis(100), "{at:?}");
        assert!(echoes.take(at).is_some());
        assert_eq!(echoes.next_at(), Time::NEVER);
    }

    #[test]
    fn an_echo_is_answered_once_and_the_same_request_in_another_again() {
        let mut echoes = Echoes::default();
        let mut served = |ms: u64, text: &str| {
            let now = Time::from_millis(ms);
            add(&mut echoes, now, host(1), text, 0);
            echoes.take(now).is_some()
        };
        assert!(served(0, "a"));
        assert!((1..=100).all(|n| !served(n * 100, "a")), "a replay was answered");
        assert!(served(10_000, "b"), "the answer to the first may be lost");
    }
}
