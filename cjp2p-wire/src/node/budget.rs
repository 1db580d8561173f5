//! How much work others may cause, charged before it is done.
//!
//! Work is counted in units: one for each entry of a table that is looked at, and for each 64 bytes that are read, hashed or
//! written; a question to the library counts [`READ`], a cookie that is checked [`COOKIE`]. On today's machines a unit takes
//! about a tenth of a microsecond.
//!
//! What a datagram without our cookie costs has a bound of its own, [`MAX_UNVALIDATED_WORK`], whatever is in it: of each kind of
//! question the first few are looked at, and nothing is begun for it that goes on later. What a datagram with our cookie asks for is
//! charged to its host, and to all hosts together; what neither has left is dropped as if it had been lost. Content has
//! its own rules: [`Turns`](crate::node::turns::Turns).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::buckets::{BUCKETS, Buckets, bucket_of, time_for};
use crate::content_id::Hash;
use crate::peers::address::host_of;
use crate::time::Time;

/// Units that one datagram without our cookie costs, at most.
pub const MAX_UNVALIDATED_WORK: u64 = 256;
/// Units a second for those of one host that hold it, while another host asks too.
pub const WORK_PER_SECOND_OF_HOST: u64 = 1_000_000;
/// The same while no other host asks: there may be many getters behind it. Less than for all hosts, so that one that comes finds room.
pub const WORK_PER_SECOND_OF_LONE_HOST: u64 = 2_000_000;
/// The same for all hosts.
pub const WORK_PER_SECOND: u64 = 3_000_000;
/// Answers in a second to unvalidated sources of one host, in the long run. An honest one needs a few before it is validated; many
/// can be behind one router.
pub const UNVALIDATED_ANSWERS_PER_SECOND: u32 = 1000;
/// This many of them at once.
pub const UNVALIDATED_ANSWERS_AT_ONCE: u32 = 2000;
/// This much time's worth of units at once.
const WORK_AT_ONCE: Duration = Duration::from_millis(100);
/// A host that has not asked for this long has stopped.
const ASKING: Duration = Duration::from_secs(1);

/// A question to the library: whether it has an id, or bytes of it.
pub(super) const READ: u64 = 16;
/// A cookie that is checked.
pub(super) const COOKIE: u64 = 4;
/// A request for content that is put in the queue, beside what is looked at there.
pub(super) const REQUEST: u64 = 8;
/// A referral, beside the peers that are looked at for it.
pub(super) const REFERRAL: u64 = 16;
/// A name that is looked up for a validated source: the answer may have to be signed.
pub(super) const LATEST: u64 = 400;
/// A signature that is verified.
pub(super) const VERIFY: u64 = 600;
/// An answer to the question which parts are here.
pub(super) const PARTS: u64 = 128;

/// Cookies that are checked in one datagram, of each kind of message that holds any.
pub(super) const MAX_COOKIES: usize = 4;
/// Values that are returned for one datagram.
pub(super) const MAX_RETURNED: usize = 4;
/// Questions for other ids that are answered to one datagram.
pub(super) const MAX_SAME: usize = 4;
/// Names that are looked up for one datagram, and pointers that are looked at in one.
pub(super) const MAX_LATEST: usize = 8;
/// Messages of one datagram that tell something of which each one costs: ids, parts.
pub(super) const MAX_TOLD: usize = 4;
/// Addresses named in one datagram that are looked at.
pub(super) const MAX_NAMED: usize = 64;

/// Answers that are not content get this part of the upload rate, so that they neither exceed it nor keep content from leaving.
const SHARE_OF_SMALL: u64 = 4;
/// This many bytes of them may leave at once.
const SMALL_AT_ONCE: u64 = 8 << 10;

/// Units for reading, hashing or writing this many bytes.
pub(super) fn bytes(length: usize) -> u64 {
    length.div_ceil(64) as u64
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Budget {
    of_hosts: Buckets,
    of_all: Time,
    /// The two buckets that asked last, the latest first, and when.
    asked: [(usize, Time); 2],
    /// The host that was charged last, and its bucket: datagrams of one come in bunches.
    last: Option<(IpAddr, usize)>,
    /// Unvalidated sources of hosts, by what they were answered.
    unvalidated: Buckets,
    secret: Hash,
    rate: Option<u64>,
    /// The time up to which answers that are not content have used up their part of the rate.
    small_until: Time,
    done: u64,
}

impl Budget {
    /// `rate`: bytes that may leave in a second. `secret`: chooses the buckets of hosts.
    pub(super) fn new(rate: Option<u64>, secret: Hash) -> Budget {
        Budget {
            of_hosts: Buckets::default(),
            of_all: Time::ZERO,
            asked: [(BUCKETS, Time::ZERO); 2],
            last: None,
            unvalidated: Buckets::default(),
            secret,
            rate,
            small_until: Time::ZERO,
            done: 0,
        }
    }

    /// Whether an unvalidated source at this address may be answered now; if so, counts it.
    pub(super) fn may_answer_unvalidated(&mut self, now: Time, from: SocketAddr) -> bool {
        let each = Duration::from_secs(1) / UNVALIDATED_ANSWERS_PER_SECOND;
        let bucket = bucket_of(from, &self.secret);
        let until = self.unvalidated.used_until(bucket).max(now) + each;
        let fits = until <= now + each * UNVALIDATED_ANSWERS_AT_ONCE;
        if fits {
            self.unvalidated.set(bucket, until);
        }
        fits
    }

    /// Notes work that others caused.
    pub(super) fn count(&mut self, units: u64) {
        self.done += units;
    }

    /// Work that others caused, since the start.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Whether this much may be done now for a source that returned our cookie; if so, charges and counts it.
    pub(super) fn may_do(&mut self, now: Time, from: SocketAddr, units: u64) -> bool {
        let may = self.may_begin(now, from, units);
        self.done += if may { units } else { 0 };
        may
    }

    /// The same for what is counted when it is done.
    pub(super) fn may_begin(&mut self, now: Time, from: SocketAddr, units: u64) -> bool {
        let bucket = self.bucket(from);
        let of_a_host = match self.is_alone(now, bucket) {
            true => WORK_PER_SECOND_OF_LONE_HOST,
            false => WORK_PER_SECOND_OF_HOST,
        };
        let after = |used: Time, per_second| used.max(now) + time_for(units, per_second);
        let (host, all) =
            (after(self.of_hosts.used_until(bucket), of_a_host), after(self.of_all, WORK_PER_SECOND));
        let may = host.max(all) <= now + WORK_AT_ONCE;
        if may {
            self.of_hosts.set(bucket, host);
            self.of_all = all;
        }
        may
    }

    /// Whether an answer of this many bytes that is not content may leave now; if so, counts it.
    pub(super) fn may_send(&mut self, now: Time, length: usize) -> bool {
        let Some(rate) = self.rate else { return true };
        let part = (rate / SHARE_OF_SMALL).max(1);
        let until = self.small_until.max(now) + time_for(length as u64, part);
        let may = until <= now + time_for(SMALL_AT_ONCE, part);
        if may {
            self.small_until = until;
        }
        may
    }

    /// Whether none but the hosts of this bucket, which asks now, asked lately.
    fn is_alone(&mut self, now: Time, bucket: usize) -> bool {
        if self.asked[0].0 != bucket {
            self.asked.swap(0, 1);
            if self.asked[0].0 != bucket {
                self.asked[0] = (bucket, now);
            }
        }
        self.asked[0].1 = now;
        let (other, then) = self.asked[1];
        other == BUCKETS || then + ASKING < now
    }

    fn bucket(&mut self, from: SocketAddr) -> usize {
        let host = host_of(from);
        match self.last {
            Some((last, bucket)) if last == host => bucket,
            _ => {
                let bucket = bucket_of(from, &self.secret);
                self.last = Some((host, bucket));
                bucket
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from_bits(0x1400_0000 + n), 24254))
    }

    /// Units done in a second for hosts that ask for as much as they can.
    fn done(hosts: u32) -> u64 {
        let mut budget = Budget::new(None, [7; 32]);
        for ms in 0..=1000 {
            for n in 0..hosts * 20 {
                budget.may_do(Time::from_millis(ms), host(n % hosts), 1000);
            }
        }
        budget.done()
    }

    #[test]
    fn a_host_causes_so_much_work_and_all_hosts_no_more_than_three() {
        for (hosts, rate) in
            [(1, WORK_PER_SECOND_OF_LONE_HOST), (2, 2 * WORK_PER_SECOND_OF_HOST), (50, WORK_PER_SECOND)]
        {
            let most = rate + rate / 10;
            assert!((most - 3000..=most).contains(&done(hosts)), "{} of {most}", done(hosts));
        }
    }

    #[test]
    fn what_one_host_may_not_do_another_may() {
        let mut budget = Budget::new(None, [7; 32]);
        while budget.may_do(Time::ZERO, host(1), 1000) {}
        assert!(budget.may_do(Time::ZERO, host(2), 1000));
        let later = Time::ZERO + Duration::from_millis(1);
        assert!(budget.may_do(later, host(1), 1000), "it is refilled");
    }

    #[test]
    fn a_host_alone_may_do_more_until_another_asks_and_that_one_finds_room() {
        let mut budget = Budget::new(None, [7; 32]);
        let mut done = [0, 0];
        for ms in 0..4000 {
            for _ in 0..10 {
                done[0] += u64::from(budget.may_do(Time::from_millis(ms), host(1), 1000));
            }
            // Another asks for little in the last half.
            if ms >= 2000 && ms % 500 == 0 {
                assert!(budget.may_do(Time::from_millis(ms), host(2), 1000));
                done[1] += 1;
            }
            if ms == 1999 {
                assert!((4000..=4200).contains(&done[0]), "{done:?}");
                done[0] = 0;
            }
        }
        assert!((1800..=2001).contains(&done[0]) && done[1] == 4, "{done:?}");
    }

    #[test]
    fn small_answers_get_a_quarter_of_the_rate() {
        let mut budget = Budget::new(Some(100_000), [7; 32]);
        let sent = (0..10_000).filter(|&ms| budget.may_send(Time::from_millis(ms), 250)).count() * 250;
        assert!((250_000..=250_000 + SMALL_AT_ONCE as usize).contains(&sent), "{sent}");
        let mut free = Budget::new(None, [7; 32]);
        assert!((0..10_000).all(|_| free.may_send(Time::ZERO, 1 << 20)));
    }

    #[test]
    fn a_host_is_answered_so_often_by_whatever_port_and_others_are_answered_meanwhile() {
        let mut budget = Budget::new(None, [7; 32]);
        let mut answered = [0; 2];
        for n in 0..50_000u32 {
            let now = Time::from_millis(u64::from(n) / 10);
            for (host, count) in answered.iter_mut().enumerate() {
                // The second asks seldom.
                if host == 0 || n % 1000 == 0 {
                    let from = SocketAddr::from(([192, 0, 2, host as u8], (n % 60_000) as u16 + 1));
                    *count += u32::from(budget.may_answer_unvalidated(now, from));
                }
            }
        }
        let most = UNVALIDATED_ANSWERS_AT_ONCE + 5 * UNVALIDATED_ANSWERS_PER_SECOND;
        assert!((most - 5..=most + 5).contains(&answered[0]), "{answered:?}");
        assert_eq!(answered[1], 50);
    }
}
