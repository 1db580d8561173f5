//! Sending content to validated sources, each in its turn, in bunches of datagrams of equal length.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::turns::Request;
use super::{Context, Server};
use crate::content_id::ContentId;
use crate::datagram::raw::RawHeader;
use crate::datagram::{Encoder, Padding, digits_of};
use crate::message::{ContentRequest, Handle, MAX_ID_LEN, Waited};
use crate::node::contacts::Contact;
use crate::node::lengths::{Framing, MAX_ANSWER, MAX_BLOCKS};
use crate::node::outbox::{TOGETHER_ROOM, Transmit};
use crate::node::shared::Shared;
use crate::peers::address::host_of;
use crate::store::{Asker, Read};
use crate::time::Time;

/// At most this many datagrams leave together (the kernel's `UDP_MAX_SEGMENTS`).
const MAX_TOGETHER: usize = 64;
/// And this many bytes in all: a little less than the longest IP packet.
const MAX_TOGETHER_LEN: usize = 64_000;
/// Answers that need less memory have just that, and it is not kept.
const MIN_SPARE: usize = 16 << 10;
/// This many bytes of answers are made before others have their turn: datagrams to read, and those that send.
const SERVED_AT_ONCE: usize = 256 << 10;

/// A wait that is shorter is not told.
const LEAST_WAIT: Duration = Duration::from_micros(250);

/// A block that is not here counts for this many bytes of answers: it was looked for.
const ABSENT_COST: usize = 256;

/// Blocks of such a request that may leave together.
fn most_together(request: &Request) -> usize {
    let answer = match request.handle {
        Some(_) => request.block + RawHeader::MAX_LEN,
        None => Framing::Json.answer_length(request.block as u64) as usize,
    };
    (MAX_TOGETHER_LEN / answer).min(MAX_TOGETHER)
}

impl Server {
    /// Notes a request that is to be answered; `wants_wait` as in [`Request`].
    pub(super) fn queue_content(
        &mut self,
        shared: &Shared,
        from: SocketAddr,
        request: &ContentRequest<'_>,
        wants_wait: Option<(u64, Time)>,
    ) {
        if !shared.config.answers {
            return;
        }
        let Ok(id) = ContentId::parse(&request.id) else {
            return;
        };
        let (length, block) = match request.block.filter(|&block| block > 0 && block < request.length) {
            Some(block) => {
                let block = block.min(MAX_ANSWER as u64);
                (request.length.min(block * MAX_BLOCKS), block)
            }
            None => {
                let length = request.length.min(MAX_ANSWER as u64);
                (length, length)
            }
        };
        let (length, block) = (length as usize, block.max(1) as usize);
        let wire_id = request.id.to_string();
        // What waits because the owner wants it so is not hurried by anything.
        let wants_wait = wants_wait.filter(|_| !self.turns.is_limited());
        let handle = request.handle.filter(|_| shared.config.raw);
        let (offset, tells_length) = (request.offset, request.block.is_none());
        let request = Request { offset, length, block, id, wire_id, handle, tells_length, wants_wait };
        self.turns.push(from, request);
    }

    /// Answers the requests whose turn it is.
    pub(crate) fn serve_turns(&mut self, cx: &mut Context<'_>) {
        self.send_list(cx);
        let mut served = 0;
        while served < SERVED_AT_ONCE && !self.holds_answers {
            let Some((from, request)) = self.turns.pop(cx.now, most_together) else { return };
            served += self.serve(cx, from, request);
        }
    }

    /// Answers a request; returns how long the answers are in bytes, or how long they could have been for the same work.
    fn serve(&mut self, cx: &mut Context<'_>, from: SocketAddr, mut request: Request) -> usize {
        let now = cx.now;
        let mut data = std::mem::take(&mut self.read_buffer);
        let mut sent = 0;
        let in_blocks = request.block < request.length;
        let mut absent: Option<(String, Range<u64>)> = None;
        let mut blocks_absent = 0;
        loop {
            data.clear();
            let done = match cx.store.read(
                Asker::Host(host_of(from)),
                &request.id,
                request.offset,
                request.length,
                &mut data,
            ) {
                Read::Found { eof } => {
                    say_wait(cx.shared, now, from, request.wants_wait.take());
                    let transmit = match request.handle {
                        Some(handle) => raw_datagrams(cx.shared, now, from, &request, handle, &data, eof),
                        None => self.content_datagrams(cx.shared, now, from, &request, &data, eof),
                    };
                    sent += transmit.bytes.len();
                    self.turns.on_sent(now, from, transmit.bytes.len());
                    cx.shared.outbox.on_served(data.len());
                    let end = request.offset + data.len() as u64;
                    self.upload_slots.on_given(now, &request.id, from, request.offset..end, eof);
                    cx.shared.outbox.send_all(transmit);
                    if data.is_empty() || eof.is_some_and(|eof| end >= eof) {
                        break;
                    }
                    // What is not here ends what can be read at once; there may be more behind it.
                    data.len().next_multiple_of(request.block)
                }
                Read::Absent => {
                    let end = request.offset.saturating_add(request.block.min(request.length) as u64);
                    let part = request.offset..end;
                    absent.get_or_insert_with(|| (request.wire_id.clone(), part)).1.end = end;
                    blocks_absent += 1;
                    request.block
                }
                Read::Later => {
                    self.turns.park(from, request);
                    break;
                }
            };
            if done >= request.length {
                // What cannot be sent need not be cut into pieces: all of it has one answer.
                let goes_on = absent.is_some() && blocks_absent < MAX_BLOCKS;
                let rest = goes_on.then(|| self.turns.take_rest(from, &request)).flatten();
                let Some(mut rest) = rest else { break };
                if let Some(later) = rest.split_off(most_together(&rest)) {
                    self.turns.push(from, later);
                }
                request = rest;
                continue;
            }
            request.offset += done as u64;
            request.length -= done;
        }
        // Once for all of them. The answers with content leave first, so that what is not here is what did not come.
        if let Some((wire_id, part)) = absent {
            let withdrawn = ContentId::parse(&wire_id).is_ok_and(|id| cx.store.is_withdrawn(&id));
            self.refer(cx, from, &wire_id, part, in_blocks, withdrawn);
        }
        self.read_buffer = data;
        sent + blocks_absent as usize * ABSENT_COST
    }

    /// Answers with `data`, in datagrams of equal length, the last of which may be shorter.
    fn content_datagrams(
        &self,
        shared: &mut Shared,
        now: Time,
        to: SocketAddr,
        request: &Request,
        data: &[u8],
        eof: Option<u64>,
    ) -> Transmit {
        let mut beside = Encoder::new();
        // The oldest nodes die of padding.
        let may_be_old = !shared.contacts.get(to).is_some_and(Contact::returned_always);
        let padding = if may_be_old { Padding::Bare } else { Padding::Padded };
        // A challenge may have had no room to ask whether it knows more.
        let offers = may_be_old && self.dialects.of(now, to, &shared.config.secret).is_none();
        shared.write_cookies(now, to, offers || shared.contacts.wants_cookie_from(to), &mut beside);
        let count = data.len().div_ceil(request.block).max(1);
        let first = &data[..data.len().min(request.block)];
        let room = count * Framing::Json.answer_length(first.len() as u64) as usize + MAX_ID_LEN;
        let mut encoder = Encoder::reusing(memory_for(shared, room), room);
        encoder.repeat(&beside);
        encoder.content(&request.wire_id, request.offset, first, eof, padding);
        // Later ones are longer by the digits of their offsets.
        let last = request.offset + data.len() as u64;
        let length = encoder.len() + digits_of(last) - digits_of(request.offset);
        let pad = if count > 1 { length } else { 0 };
        encoder.end_datagram(pad);
        for (n, part) in data.chunks(request.block).enumerate().skip(1) {
            let offset = request.offset + (n * request.block) as u64;
            encoder.repeat(&beside);
            encoder.content(&request.wire_id, offset, part, eof, padding);
            encoder.end_datagram(if n + 1 < count { pad } else { 0 });
        }
        Transmit { to, segment: length, bytes: encoder.into_datagrams() }
    }
}

/// Answers with `data` as raw content, in datagrams of equal length, the last of which may be shorter.
///
/// The handle shows who sends it, so no cookie is returned beside it. Where ours is to be told anew, that goes before.
fn raw_datagrams(
    shared: &mut Shared,
    now: Time,
    to: SocketAddr,
    request: &Request,
    handle: Handle,
    data: &[u8],
    eof: Option<u64>,
) -> Transmit {
    if shared.contacts.wants_cookie_from(to) {
        let mut beside = Encoder::new();
        shared.write_cookies(now, to, true, &mut beside);
        shared.send(to, beside.finish(0));
    }
    let count = data.len().div_ceil(request.block).max(1);
    let header = RawHeader { handle, places: digits_of(request.offset + data.len() as u64) };
    let eof = eof.filter(|_| request.tells_length);
    let room = data.len() + count * RawHeader::MAX_LEN;
    let mut bytes = memory_for(shared, room);
    if data.is_empty() {
        header.write(request.offset, data, eof, &mut bytes);
    }
    let mut segment = bytes.len();
    for (n, part) in data.chunks(request.block).enumerate() {
        header.write(request.offset + (n * request.block) as u64, part, eof, &mut bytes);
        if n == 0 {
            segment = bytes.len();
        }
    }
    Transmit { to, segment, bytes }
}

/// Memory for so many bytes of answers.
fn memory_for(shared: &mut Shared, room: usize) -> Vec<u8> {
    if room < MIN_SPARE {
        return Vec::with_capacity(room);
    }
    let mut memory = shared.outbox.spare();
    memory.clear();
    memory.reserve_exact(room.max(TOGETHER_ROOM));
    memory
}

/// Tells a source that wants to know it how long a request waited here, in a datagram of its own before the answers: those are as
/// long as they can be. Nothing is said of a wait that is not worth a datagram.
fn say_wait(shared: &mut Shared, now: Time, to: SocketAddr, wanted: Option<(u64, Time)>) {
    let Some((number, came_at)) = wanted else { return };
    let time = now.since(came_at);
    if time < LEAST_WAIT {
        return;
    }
    let mut encoder = Encoder::new();
    let wants_cookie = shared.contacts.wants_cookie_from(to);
    shared.write_cookies(now, to, wants_cookie, &mut encoder);
    encoder.waited(Waited { number, time });
    shared.send(to, encoder.finish(0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::config;

    #[test]
    fn memory_for_answers_does_not_grow_with_what_is_asked_for() {
        let mut shared = Shared::new(config(1, true));
        let server = Server::new(&shared.config);
        let to = SocketAddr::from(([192, 0, 2, 1], 1));
        let mut random = fastrand::Rng::with_seed(1);
        let data = vec![7; MAX_TOGETHER_LEN];
        for n in 0..5000 {
            let block = [random.usize(1..2000), 4096, 40_960][random.usize(0..3)];
            let handle = random.bool().then(|| Handle::parse(b"k3J9x0aQ7_Z").unwrap());
            let id = [ContentId::Blake3([7; 32]), ContentId::Tree([7; 32])][random.usize(0..2)].clone();
            let wire_id = id.to_string();
            let mut request = Request {
                offset: random.u64(0..1 << 50),
                length: 1,
                block,
                id,
                wire_id,
                handle,
                tells_length: true,
                wants_wait: None,
            };
            // Ever more, as by chance over hours.
            let length = random.usize(1..=block * most_together(&request)).min(1 + n * 20);
            request.length = length;
            let (data, eof) = (&data[..length], Some((1 << 53) - 1));
            let transmit = match handle {
                Some(handle) => raw_datagrams(&mut shared, Time::ZERO, to, &request, handle, data, eof),
                None => server.content_datagrams(&mut shared, Time::ZERO, to, &request, data, eof),
            };
            let capacity = transmit.bytes.capacity();
            assert!(capacity <= TOGETHER_ROOM, "{capacity} bytes for {length} in blocks of {block}");
            shared.outbox.reuse(transmit.bytes);
        }
    }
}
