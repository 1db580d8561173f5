//! Which source is sent content next: round robin between hosts, and between the sources of each, within rates.
//!
//! Where there is no room for more requests, the host that has most of them waiting gives way. Alone, one may have everything.
//!
//! A source is an address and port. A host that wants more than a fair part can open as many ports as there are, but has few
//! addresses: so turns go round between [hosts](host_of).

pub(super) mod debts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use self::debts::Debts;
use crate::content_id::ContentId;
use crate::message::Handle;
pub use crate::node::lengths::BLOCK_COST;
use crate::peers::address::host_of;
use crate::range_set::RangeSet;
use crate::time::Time;

/// Requests of one source that may wait; more are dropped, which the source sees as loss.
pub const MAX_WAITING_PER_SOURCE: usize = 512;
/// Sources that may have requests waiting.
pub const MAX_WAITING_SOURCES: usize = 1024;
/// Requests that may wait in all.
pub const MAX_WAITING: usize = 16_384;
/// Where a rate is set, no more waits for a source than its part of the rate brings in this many seconds, but for one block:
/// what would come later than that is not waited for.
pub const WAITS_SECONDS: usize = 30;
/// Where a rate is set, no more leaves together for a source than its part of it brings in a second, but this many bytes of content.
pub const LEAST_ANSWER: usize = 256;
/// A turn of a source, and of a host where others wait, lasts for this many bytes, where no rate is set: each turn wakes a getter up.
pub const QUANTUM: usize = 128 << 10;
/// A turn of a source on this machine: there is no queue on the way to it that would overflow.
pub const QUANTUM_LOCAL: usize = 512 << 10;
/// The rate limit lets this much time's worth go at once.
pub const BURST: Duration = Duration::from_millis(20);
/// Answers that are not content leave although their host has used up its rate for this long.
const SMALL_AHEAD: Duration = Duration::from_secs(4);

/// A request for content from a validated source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The first byte wanted.
    pub offset: u64,
    /// How many bytes are wanted.
    pub length: usize,
    /// In blocks of this many bytes, the last of which may be shorter. At least 1.
    pub block: usize,
    /// The id.
    pub id: ContentId,
    /// The id as it was written.
    pub wire_id: String,
    /// Under which name the answers go as raw content.
    pub handle: Option<Handle>,
    /// Raw answers say how long the whole content is.
    pub tells_length: bool,
    /// The source wants to know how long this waited, with this number; and when it came.
    pub wants_wait: Option<(u64, Time)>,
}

impl Request {
    fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.length as u64)
    }

    /// Takes up what `next` asks for, where it goes on with whole blocks of this one's length.
    fn merge(&mut self, next: &Request) -> bool {
        let goes_on = self.offset + self.length as u64 == next.offset
            && self.length.is_multiple_of(self.block)
            && self.block == next.block
            && (self.handle, &self.wire_id) == (next.handle, &next.wire_id)
            // Raw blocks that say it are longer.
            && (self.handle.is_none() || self.tells_length == next.tells_length);
        if goes_on {
            self.length += next.length;
            self.wants_wait = self.wants_wait.or(next.wants_wait);
        }
        goes_on
    }

    /// Of a first block that is longer than `most` leaves only that much, if it is: an answer may hold less than was asked for.
    /// Returns what comes after that block, if there is anything.
    fn cut_block(&mut self, most: usize) -> (bool, Option<Request>) {
        if self.block.min(self.length) <= most {
            return (false, None);
        }
        let rest = self.split_off(1);
        self.length = most;
        self.block = most;
        (true, rest)
    }

    /// Leaves the first `blocks` blocks and returns the rest, if there is any.
    pub(crate) fn split_off(&mut self, blocks: usize) -> Option<Request> {
        let length = self.block.saturating_mul(blocks.max(1));
        if self.length <= length {
            return None;
        }
        let rest = self.length - length;
        self.length = length;
        Some(Request { offset: self.offset + length as u64, length: rest, wants_wait: None, ..self.clone() })
    }
}

/// The requests that wait to be answered.
#[derive(Debug, Default)]
pub struct Turns {
    // Invariant: the hosts with a source that is not parked, each once, next first.
    order: VecDeque<IpAddr>,
    // Invariant: none is without sources.
    hosts: BTreeMap<IpAddr, Host>,
    // Invariant: sources of `hosts`, none of them in the order of its host.
    parked: BTreeSet<SocketAddr>,
    // Invariant: of the sources of all hosts.
    sources: usize,
    // Invariant: the sum of those of the hosts.
    total: usize,
    /// Bytes that the source which is next was given in its present turn.
    given: usize,
    /// And its host.
    given_to_host: usize,
    rate: Option<Rate>,
    host_rate: Option<u64>,
    /// Hosts that have used up their rate.
    debts: Debts,
}

#[derive(Debug, Default)]
struct Host {
    // Invariant: its sources, each once, next first, but for those that are parked.
    order: VecDeque<SocketAddr>,
    // Invariant: no queue is empty.
    waiting: BTreeMap<SocketAddr, VecDeque<Request>>,
    // Invariant: the sum of the lengths of the queues.
    total: usize,
}

#[derive(Debug)]
struct Rate {
    bytes_per_second: u64,
    // The time up to which what was sent has used up the rate.
    paid_until: Time,
}

impl Turns {
    /// No requests; answers limited to `rate` bytes per second where given, and those to each host to `host_rate`.
    pub fn new(rate: Option<u64>, host_rate: Option<u64>) -> Turns {
        let rate = rate.map(|n| Rate { bytes_per_second: n.max(1), paid_until: Time::ZERO });
        Turns { rate, host_rate: host_rate.map(|n| n.max(1)), ..Turns::default() }
    }

    /// Puts a request in its source's queue. Returns whether there was room.
    ///
    /// A source that asks again for what waits already wants one answer, not two: only the rest of it is queued. A source that is slow
    /// would otherwise be ever more busy with what is not waited for any more.
    pub fn push(&mut self, from: SocketAddr, request: Request) -> bool {
        let waiting = self.hosts.get(&host_of(from)).and_then(|host| host.waiting.get(&from));
        if waiting.is_some_and(|queue| queue.len() >= MAX_WAITING_PER_SOURCE) {
            return false;
        }
        let same = waiting.into_iter().flatten().filter(|other| other.wire_id == request.wire_id);
        let known: RangeSet = same.map(Request::range).collect();
        if !known.overlaps(request.range()) {
            return self.push_new(from, request);
        }
        let rest: Vec<_> = known.gaps(request.range()).collect();
        rest.into_iter().all(|gap| {
            let length = (gap.end - gap.start) as usize;
            self.push_new(from, Request { offset: gap.start, length, ..request.clone() })
        })
    }

    fn push_new(&mut self, from: SocketAddr, mut request: Request) -> bool {
        let host = host_of(from);
        let found = self.hosts.get(&host);
        let queue = found.and_then(|host| host.waiting.get(&from));
        let is_new = queue.is_none();
        if queue.is_some_and(|queue| queue.len() >= MAX_WAITING_PER_SOURCE) {
            return false;
        }
        if !self.cut_to_time(from, &mut request) {
            return false;
        }
        let (sources_of, total_of) = found.map_or((0, 0), |host| (host.waiting.len(), host.total));
        if is_new && self.sources >= MAX_WAITING_SOURCES {
            let most = self.hosts.iter().max_by_key(|(_, host)| host.waiting.len());
            let Some((&host, _)) = most.filter(|(_, most)| most.waiting.len() > sources_of + 1) else {
                return false;
            };
            self.drop_source(host);
        }
        if self.total >= MAX_WAITING {
            let most = self.hosts.iter().max_by_key(|(_, host)| host.total);
            let Some((&host, _)) = most.filter(|(_, most)| most.total > total_of + 1) else { return false };
            self.drop_request(host);
        }
        let sources = self.hosts.entry(host).or_default();
        sources.waiting.entry(from).or_default().push_back(request);
        sources.total += 1;
        self.total += 1;
        if is_new {
            self.sources += 1;
            self.line_up(from);
        }
        true
    }

    /// Whether the owner set a rate.
    pub fn is_limited(&self) -> bool {
        self.rate.is_some() || self.host_rate.is_some()
    }

    /// A source's part of the rates, in bytes per second, where there is any.
    fn part_of_rate(&self, from: SocketAddr) -> Option<u64> {
        let of_host = self.hosts.get(&host_of(from)).map_or(1, |host| host.waiting.len().max(1));
        let all = self.rate.as_ref().map(|rate| rate.bytes_per_second / self.sources.max(1) as u64);
        let host = self.host_rate.map(|rate| rate / of_host as u64);
        all.into_iter().chain(host).min()
    }

    /// Leaves of a request what would be answered in time. Returns whether that is anything.
    fn cut_to_time(&self, from: SocketAddr, request: &mut Request) -> bool {
        let Some(part) = self.part_of_rate(from) else { return true };
        let waiting = self.hosts.get(&host_of(from)).and_then(|host| host.waiting.get(&from));
        let bytes: usize = waiting.into_iter().flatten().map(|request| request.length).sum();
        let room = (part as usize).saturating_mul(WAITS_SECONDS).saturating_sub(bytes);
        if bytes > 0 && room < request.block.min(request.length) {
            return false;
        }
        request.split_off(room / request.block);
        true
    }

    /// Bytes of content that leave together for this source, at most.
    fn longest_answer(&self, from: SocketAddr) -> usize {
        let part = self.part_of_rate(from).map(|part| part as usize);
        part.map_or(usize::MAX, |part| (part.saturating_sub(BLOCK_COST) / 4 * 3).max(LEAST_ANSWER))
    }

    /// Drops what waits for one source of a host, the one that came last.
    fn drop_source(&mut self, host: IpAddr) {
        let Some(sources) = self.hosts.get(&host) else { return };
        let parked = sources.waiting.keys().rev().find(|source| self.parked.contains(source));
        let last = sources.order.back().or(parked).copied();
        if let Some(last) = last {
            self.forget_source(host, last);
        }
    }

    /// Drops the last request of the source of a host that has most waiting.
    fn drop_request(&mut self, host: IpAddr) {
        let Some(sources) = self.hosts.get_mut(&host) else { return };
        let Some((&source, queue)) = sources.waiting.iter_mut().max_by_key(|(_, queue)| queue.len()) else {
            return;
        };
        if queue.len() == 1 {
            return self.forget_source(host, source);
        }
        queue.pop_back();
        sources.total -= 1;
        self.total -= 1;
    }

    fn forget_source(&mut self, host: IpAddr, source: SocketAddr) {
        let Some(sources) = self.hosts.get_mut(&host) else { return };
        let count = sources.waiting.remove(&source).map_or(0, |queue| queue.len());
        sources.total -= count;
        self.total -= count;
        self.sources -= usize::from(count > 0);
        let is_next = self.order.front() == Some(&host);
        if is_next && sources.order.front() == Some(&source) {
            self.given = 0;
        }
        sources.order.retain(|other| *other != source);
        self.parked.remove(&source);
        if sources.order.is_empty() {
            self.order.retain(|other| *other != host);
            if is_next {
                (self.given, self.given_to_host) = (0, 0);
            }
        }
        if sources.waiting.is_empty() {
            self.hosts.remove(&host);
        }
    }

    /// Puts a source that has no turn coming at the end of its host's line.
    fn line_up(&mut self, from: SocketAddr) {
        let host = host_of(from);
        let Some(sources) = self.hosts.get_mut(&host) else { return };
        if sources.order.is_empty() {
            self.order.push_back(host);
        }
        sources.order.push_back(from);
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.total
    }

    /// How many sources have requests waiting, and how many hosts owe for what they were sent.
    pub fn sources_and_debtors(&self) -> (usize, usize) {
        (self.sources, self.debts.len())
    }

    /// How many requests of this source wait.
    pub fn waiting_of(&self, from: SocketAddr) -> usize {
        let host = self.hosts.get(&host_of(from));
        host.and_then(|host| host.waiting.get(&from)).map_or(0, VecDeque::len)
    }

    /// Whether an answer that is not content may leave now: its host has not used up its rate for long.
    pub fn may_send_small(&self, now: Time, to: SocketAddr) -> bool {
        self.debts.paid_until(&host_of(to)).is_none_or(|paid_until| paid_until <= now + SMALL_AHEAD)
    }

    /// Whether no request waits for its turn.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// When the rates allow the next answer.
    pub fn ready_at(&self) -> Time {
        let all = self.rate.as_ref().map_or(Time::ZERO, |rate| rate.paid_until - BURST);
        if self.debts.is_empty() {
            return all;
        }
        let first = self.order.iter().map(|host| self.host_ready_at(host)).min();
        all.max(first.unwrap_or(Time::ZERO))
    }

    fn host_ready_at(&self, host: &IpAddr) -> Time {
        self.debts.paid_until(host).map_or(Time::ZERO, |paid_until| paid_until - BURST)
    }

    /// Has a host begin its turn that has not used up its rate.
    fn pass_over_hosts(&mut self, now: Time) -> Option<()> {
        let at = self.order.iter().position(|host| self.host_ready_at(host) <= now)?;
        if at > 0 {
            let host = self.order.remove(at)?;
            self.order.push_front(host);
            (self.given, self.given_to_host) = (0, 0);
        }
        Some(())
    }

    /// Takes the next request whose turn it is, if the rates allow an answer now: as many blocks as `most` says of such a request, of requests that go on one after another. The rest keeps its place.
    pub fn pop(&mut self, now: Time, most: impl FnOnce(&Request) -> usize) -> Option<(SocketAddr, Request)> {
        if self.ready_at() > now {
            return None;
        }
        self.pass_over_hosts(now)?;
        let address = *self.order.front()?;
        let from = *self.hosts.get(&address)?.order.front()?;
        let longest = self.longest_answer(from);
        let is_limited = self.is_limited();
        let host = self.hosts.get_mut(&address)?;
        let queue = host.waiting.get_mut(&from)?;
        let before = queue.len();
        let mut request = queue.pop_front()?;
        let (is_cut, rest) = request.cut_block(longest);
        if let Some(rest) = rest {
            queue.push_front(rest);
        }
        // What leaves together is paid for together: a source must not wait long after it.
        let most = if is_cut { 1 } else { most(&request).min(longest / request.block).max(1) };
        while request.length < request.block.saturating_mul(most)
            && queue.front().is_some_and(|next| request.merge(next))
        {
            queue.pop_front();
        }
        if let Some(rest) = request.split_off(most) {
            queue.push_front(rest);
        }
        let taken = before - queue.len();
        let is_done = queue.is_empty();
        host.total -= taken;
        self.total -= taken;
        let cost = request.length + request.length.div_ceil(request.block).max(1) * BLOCK_COST;
        self.given += cost;
        self.given_to_host += cost;
        // Each datagram counts where there are few.
        let is_alone = self.order.len() == 1;
        let quantum = if address.is_loopback() { QUANTUM_LOCAL } else { QUANTUM };
        let host_ends = is_limited || (self.given_to_host >= QUANTUM && !is_alone);
        if is_done || host_ends || self.given >= quantum {
            self.given = 0;
            host.order.pop_front();
            if is_done {
                host.waiting.remove(&from);
                self.sources -= 1;
            } else {
                host.order.push_back(from);
            }
        }
        if host.order.is_empty() {
            self.order.pop_front();
        } else if host_ends {
            self.order.rotate_left(1);
        }
        if host.order.is_empty() || host_ends || is_alone {
            self.given_to_host = 0;
        }
        if host.waiting.is_empty() {
            self.hosts.remove(&address);
        }
        Some((from, request))
    }

    /// Puts back a request that cannot be answered yet, and its source's later ones with it: answers out of order would
    /// look like loss. They count as waiting. Where a request was split and there is no room for both parts, the last of the
    /// source is dropped.
    pub fn park(&mut self, from: SocketAddr, request: Request) {
        let address = host_of(from);
        let host = self.hosts.entry(address).or_default();
        let queue = host.waiting.entry(from).or_default();
        if queue.is_empty() {
            self.sources += 1;
        }
        queue.push_front(request);
        let is_full = self.total >= MAX_WAITING || queue.len() > MAX_WAITING_PER_SOURCE;
        if is_full && queue.len() > 1 {
            queue.pop_back();
        } else {
            host.total += 1;
            self.total += 1;
        }
        self.given = 0;
        host.order.retain(|other| *other != from);
        if host.order.is_empty() {
            self.order.retain(|other| *other != address);
            self.given_to_host = 0;
        }
        self.parked.insert(from);
    }

    /// Takes out what waits next of this source, if it goes on with blocks of the same length where `request` ends.
    pub fn take_rest(&mut self, from: SocketAddr, request: &Request) -> Option<Request> {
        let address = host_of(from);
        let host = self.hosts.get_mut(&address)?;
        let queue = host.waiting.get_mut(&from)?;
        let end = request.offset + request.length as u64;
        let goes_on = |next: &&Request| {
            next.offset == end
                && next.block == request.block
                && (next.handle, &next.wire_id) == (request.handle, &request.wire_id)
        };
        if queue.len() == 1 {
            let rest = queue.front().filter(goes_on).cloned()?;
            self.forget_source(address, from);
            return Some(rest);
        }
        queue.front().filter(goes_on)?;
        host.total -= 1;
        self.total -= 1;
        queue.pop_front()
    }

    /// What was parked may be answered now.
    pub fn unpark(&mut self) {
        for from in std::mem::take(&mut self.parked) {
            self.line_up(from);
        }
    }

    /// Notes that `bytes` were sent.
    pub fn on_sent(&mut self, now: Time, to: SocketAddr, bytes: usize) {
        let time_for = |rate: u64| Duration::from_secs_f64(bytes as f64 / rate as f64);
        if let Some(rate) = &mut self.rate {
            rate.paid_until = rate.paid_until.max(now) + time_for(rate.bytes_per_second);
        }
        if let Some(rate) = self.host_rate {
            self.debts.add(now, host_of(to), time_for(rate));
        }
    }
}

#[cfg(test)]
mod tests;
