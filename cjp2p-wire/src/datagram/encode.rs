//! Messages to bytes.

use std::net::SocketAddr;
use std::ops::Range;

use super::numbers::{digits_of, write_number};
use crate::message::{
    BlocksOffer, ContentList, ContentRequest, LatestRequest, MAX_NUMBER, NothingNewer, StreamHolding,
    StreamRequest, TheseParts, Waited,
};
use crate::signed::PointerId;

/// Whether base64 is written with `=` at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Padded, as most nodes expect.
    Padded,
    /// Not padded, as the oldest nodes need it.
    Bare,
}

/// Writes a datagram, or several that go to the same address one after another.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    /// Where the present datagram begins.
    start: usize,
}

/// A place in an unfinished datagram, to go back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Encoder {
    /// An empty datagram.
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// An empty datagram with memory for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Encoder {
        Encoder { bytes: Vec::with_capacity(capacity), start: 0 }
    }

    /// An empty datagram in used memory, which grows to `capacity` at least.
    pub fn reusing(mut memory: Vec<u8>, capacity: usize) -> Encoder {
        memory.clear();
        memory.reserve_exact(capacity);
        Encoder { bytes: memory, start: 0 }
    }

    /// Whether no message was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.start
    }

    /// How long the datagram would be if it were finished now, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start + 1
    }

    /// The present place.
    pub fn mark(&self) -> Mark {
        Mark(self.bytes.len())
    }

    /// Takes back what was written since `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        self.bytes.truncate(mark.0);
    }

    /// The datagram, with spaces at its end up to `pad_to` bytes.
    pub fn finish(mut self, pad_to: usize) -> Vec<u8> {
        self.end_datagram(pad_to);
        self.bytes
    }

    /// Ends a datagram, with spaces at its end up to `pad_to` bytes, and begins the next one after it.
    pub fn end_datagram(&mut self, pad_to: usize) {
        if self.is_empty() {
            self.bytes.push(b'[');
        }
        self.bytes.push(b']');
        if self.bytes.len() - self.start < pad_to {
            self.bytes.resize(self.start + pad_to, b' ');
        }
        self.start = self.bytes.len();
    }

    /// The datagrams that were ended, one after another.
    pub fn into_datagrams(mut self) -> Vec<u8> {
        self.bytes.truncate(self.start);
        self.bytes
    }

    /// Repeats the messages that were written to `other`, which is not ended.
    pub fn repeat(&mut self, other: &Encoder) {
        debug_assert!(self.is_empty());
        self.bytes.extend_from_slice(&other.bytes[other.start..]);
    }

    fn open(&mut self, kind: &str) {
        self.bytes.push(if self.is_empty() { b'[' } else { b',' });
        self.bytes.extend_from_slice(b"{\"");
        self.bytes.extend_from_slice(kind.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }

    fn raw(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut self.bytes, text).expect("a Vec takes all that is written");
    }

    fn number(&mut self, n: u64) {
        write_number(n, &mut self.bytes);
    }

    fn addresses(&mut self, peers: &[SocketAddr]) {
        self.raw("[");
        for (i, peer) in peers.iter().enumerate() {
            self.raw(if i == 0 { "\"" } else { ",\"" });
            self.raw(&peer.to_string());
            self.raw("\"");
        }
        self.raw("]");
    }

    /// Writes a message whose payload is `{}`, such as `PleaseSendPeers`.
    pub fn bare(&mut self, kind: &str) {
        self.open(kind);
        self.raw("{}}");
    }

    /// Writes a message whose payload is JSON text already, such as `ReturnedMessage`.
    pub fn value(&mut self, kind: &str, json: &str) {
        self.open(kind);
        self.raw(json);
        self.raw("}");
    }

    /// Writes a message that carries a cookie: `{"cookie":"..."}` is the one shape that all nodes return.
    pub fn cookie(&mut self, kind: &str, cookie: &str) {
        self.open(kind);
        self.raw("{\"cookie\":");
        self.string(cookie);
        self.raw("}}");
    }

    /// Writes a `PleaseSendContent`.
    pub fn request(&mut self, request: &ContentRequest<'_>) {
        self.open("PleaseSendContent");
        self.raw("{\"id\":");
        self.string(&request.id);
        self.raw(",\"offset\":");
        self.number(request.offset);
        self.raw(",\"length\":");
        self.number(request.length);
        if let Some(block) = request.block {
            self.raw(",\"block\":");
            self.number(block);
        }
        if let Some(handle) = request.handle {
            self.raw(",\"as\":\"");
            self.raw(handle.as_str());
            self.raw("\"");
        }
        self.raw("}}");
    }

    /// Writes an `ICanSendContentInBlocks`.
    pub fn can_send_blocks(&mut self, offer: BlocksOffer) {
        self.open("ICanSendContentInBlocks");
        self.raw("{\"most\":");
        self.number(offer.most);
        self.raw(if offer.raw { ",\"raw\":true}}" } else { "}}" });
    }

    /// Writes a `PleaseSayHowLongThisWaited`.
    pub fn please_say_wait(&mut self, number: u64) {
        self.open("PleaseSayHowLongThisWaited");
        self.raw("{\"number\":");
        self.number(number);
        self.raw("}}");
    }

    /// Writes a `ThisWaited`.
    pub fn waited(&mut self, waited: Waited) {
        self.open("ThisWaited");
        self.raw("{\"number\":");
        self.number(waited.number);
        self.raw(",\"us\":");
        self.number(u64::try_from(waited.time.as_micros()).unwrap_or(MAX_NUMBER).min(MAX_NUMBER));
        self.raw("}}");
    }

    /// Writes a `PleaseListIdsOfTheSameContent`.
    pub fn please_list_ids(&mut self, id: &str) {
        self.open("PleaseListIdsOfTheSameContent");
        self.raw("{\"id\":");
        self.string(id);
        self.raw("}}");
    }

    /// Writes a `TheseIdsNameTheSameContent`.
    pub fn same_content(&mut self, ids: [&str; 2]) {
        self.open("TheseIdsNameTheSameContent");
        self.raw("{\"ids\":[");
        self.string(ids[0]);
        self.raw(",");
        self.string(ids[1]);
        self.raw("]}}");
    }

    /// Writes a `Content` with the bytes `data` of content `id` from `offset` on.
    pub fn content(&mut self, id: &str, offset: u64, data: &[u8], eof: Option<u64>, padding: Padding) {
        self.open("Content");
        self.raw("{\"id\":");
        self.string(id);
        self.raw(",\"offset\":");
        self.number(offset);
        self.raw(",\"base64\":\"");
        match padding {
            Padding::Padded => base64_simd::STANDARD.encode_append(data, &mut self.bytes),
            Padding::Bare => base64_simd::STANDARD_NO_PAD.encode_append(data, &mut self.bytes),
        }
        self.raw("\"");
        if let Some(eof) = eof {
            self.raw(",\"eof\":");
            self.number(eof);
        }
        self.raw("}}");
    }

    /// Writes a `MaybeTheyHaveSome` which says that the sender had the content, and has it no longer.
    pub fn withdrawal(&mut self, id: &str, peers: &[SocketAddr]) {
        self.refusal(id, peers, None, true);
    }

    /// Writes a `MaybeTheyHaveSome`.
    pub fn referral(&mut self, id: &str, peers: &[SocketAddr]) {
        self.refusal(id, peers, None, false);
    }

    /// Writes a `MaybeTheyHaveSome`; `part` and `withdrawn` as in [`Referral`](crate::message::Referral).
    pub fn refusal(&mut self, id: &str, peers: &[SocketAddr], part: Option<Range<u64>>, withdrawn: bool) {
        self.open("MaybeTheyHaveSome");
        self.raw("{\"id\":");
        self.string(id);
        self.raw(",\"peers\":");
        self.addresses(peers);
        if let Some(part) = part {
            self.raw(",\"offset\":");
            self.number(part.start);
            self.raw(",\"length\":");
            self.number(part.end - part.start);
        }
        if withdrawn {
            self.raw(",\"withdrawn\":true");
        }
        self.raw("}}");
    }

    /// Writes a `Peers`.
    pub fn peers(&mut self, peers: &[SocketAddr]) {
        self.open("Peers");
        self.raw("{\"peers\":");
        self.addresses(peers);
        self.raw("}}");
    }

    /// Writes an `IHaveThisContent`.
    pub fn have_content<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>) {
        self.open("IHaveThisContent");
        self.raw("{\"ids\":[");
        for (i, id) in ids.into_iter().enumerate() {
            self.raw(if i == 0 { "" } else { "," });
            self.string(id);
        }
        self.raw("]}}");
    }

    /// Writes a `PleaseSayWhichParts`.
    pub fn which_parts(&mut self, id: &str, offset: u64) {
        self.open("PleaseSayWhichParts");
        self.raw("{\"id\":");
        self.string(id);
        self.raw(",\"offset\":");
        self.number(offset);
        self.raw("}}");
    }

    /// Writes an `IHaveTheseParts`.
    pub fn these_parts(&mut self, have: &TheseParts<'_>) {
        self.open("IHaveTheseParts");
        self.raw("{\"id\":");
        self.string(&have.id);
        self.raw(",\"offset\":");
        self.number(have.offset);
        self.raw(",\"until\":");
        self.number(have.until);
        self.raw(",\"parts\":");
        self.ranges(&have.parts);
        if let Some(eof) = have.eof {
            self.raw(",\"eof\":");
            self.number(eof);
        }
        if have.busy {
            self.raw(",\"busy\":true");
        }
        self.raw("}}");
    }

    /// Writes a `GetLatest`.
    pub fn get_latest(&mut self, request: &LatestRequest) {
        self.open("GetLatest");
        self.pointer_id(&request.id);
        for (field, number) in [(",\"after\":", request.after), (",\"wait\":", request.wait)] {
            if let Some(number) = number {
                self.raw(field);
                self.number(number);
            }
        }
        self.raw("}}");
    }

    /// Writes an `IKnowNothingNewer`.
    pub fn nothing_newer(&mut self, nothing: &NothingNewer) {
        self.open("IKnowNothingNewer");
        self.pointer_id(&nothing.id);
        if let Some(after) = nothing.after {
            self.raw(",\"after\":");
            self.number(after);
        }
        self.raw("}}");
    }

    fn pointer_id(&mut self, id: &PointerId) {
        self.raw("{\"ed25519\":\"");
        self.raw(&id.key.to_string());
        self.raw("\",\"name\":");
        self.string(id.name.as_str());
    }

    /// Writes a `PleaseKeepSendingStream`.
    pub fn keep_sending(&mut self, request: &StreamRequest) {
        self.open("PleaseKeepSendingStream");
        self.raw("{\"id\":");
        self.string(&request.id.to_string());
        self.raw(",\"as\":\"");
        self.raw(request.handle.as_str());
        self.raw("\",\"from\":");
        self.number(request.from);
        self.raw(",\"until\":");
        self.number(request.until);
        if !request.have.is_empty() {
            self.raw(",\"have\":");
            self.ranges(&request.have);
        }
        if let Some(got) = request.got {
            self.raw(",\"got\":");
            self.number(got.offset);
            self.raw(",\"us\":");
            self.number(u64::try_from(got.ago.as_micros()).unwrap_or(MAX_NUMBER).min(MAX_NUMBER));
        }
        let at = request.got.and_then(|got| got.at);
        let spare = (request.spare > 0).then_some(request.spare);
        for (field, number) in [
            (",\"at\":", at),
            (",\"piece\":", request.piece),
            (",\"spare\":", spare),
            (",\"depth\":", request.depth),
        ] {
            if let Some(number) = number {
                self.raw(field);
                self.number(number);
            }
        }
        if let Some(places) = &request.places {
            self.raw(",\"places\":[");
            for (i, (address, depth)) in places.iter().enumerate() {
                self.raw(if i == 0 { "[\"" } else { ",[\"" });
                self.raw(&address.to_string());
                self.raw("\",");
                self.number(*depth);
                self.raw("]");
            }
            self.raw("]");
        }
        self.raw(if request.stops { ",\"stops\":true}}" } else { "}}" });
    }

    /// Writes an `IHaveThisOfTheStream`.
    pub fn have_of_stream(&mut self, holding: &StreamHolding) {
        self.open("IHaveThisOfTheStream");
        self.raw("{\"id\":");
        self.string(&holding.id.to_string());
        self.raw(",\"from\":");
        self.number(holding.from);
        self.raw(",\"until\":");
        self.number(holding.until);
        if let Some(depth) = holding.depth {
            self.raw(",\"depth\":");
            self.number(depth);
        }
        self.raw(if holding.full { ",\"full\":true" } else { "" });
        self.raw(if holding.waits { ",\"waits\":true" } else { "" });
        if !holding.peers.is_empty() {
            self.raw(",\"peers\":");
            self.addresses(&holding.peers);
        }
        self.raw("}}");
    }

    fn ranges(&mut self, ranges: &[Range<u64>]) {
        self.raw("[");
        for (i, range) in ranges.iter().enumerate() {
            self.raw(if i == 0 { "[" } else { ",[" });
            self.number(range.start);
            self.raw(",");
            self.number(range.end);
            self.raw("]");
        }
        self.raw("]");
    }

    /// Writes a `PleaseListContent` for the part of the list that begins at `after`; empty means the list's beginning.
    pub fn please_list(&mut self, after: &str) {
        self.open("PleaseListContent");
        self.raw("{\"after\":");
        self.string(after);
        self.raw("}}");
    }

    /// Writes a `ContentList` that is a part of a list, or says that the list is withheld.
    pub fn content_list_part(&mut self, list: &ContentList<'_>) {
        self.content_list(list.results.iter().map(|(id, length)| (&**id, *length)));
        // It ends with the braces of the payload and the message.
        self.bytes.truncate(self.bytes.len() - 2);
        for (field, text) in [(",\"after\":", &list.after), (",\"next\":", &list.next)] {
            if let Some(text) = text {
                self.raw(field);
                self.string(text);
            }
        }
        if let Some(total) = list.total {
            self.raw(",\"total\":");
            self.number(total);
        }
        self.raw(if list.follows { ",\"follows\":true" } else { "" });
        self.raw(if list.withheld { ",\"withheld\":true" } else { "" });
        self.raw("}}");
    }

    /// Writes a `ContentList`.
    pub fn content_list<'a>(&mut self, results: impl IntoIterator<Item = (&'a str, u64)>) {
        self.open("ContentList");
        self.raw("{\"results\":[");
        for (i, (id, length)) in results.into_iter().enumerate() {
            self.raw(if i == 0 { "[" } else { ",[" });
            self.string(id);
            self.raw(",");
            self.number(length);
            self.raw("]");
        }
        self.raw("]}}");
    }
}

/// The number of bytes of content whose `Content`, with this id and beside `beside` bytes of other messages, fills
/// `room` bytes of datagram at most; a multiple of 3, so that its base64 needs no padding. Zero if nothing fits.
/// No number in it exceeds `largest`.
pub fn content_that_fits(room: usize, id: &str, largest: u64, beside: usize) -> usize {
    const FRAME: usize = r#"[{"Content":{"id":"","offset":,"base64":"","eof":}}]"#.len();
    let digits = digits_of(largest);
    let base64 = room.saturating_sub(FRAME + 2 * digits + id.len() + beside);
    base64 / 4 * 3
}
