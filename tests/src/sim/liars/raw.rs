//! Lies in raw content: a liar that announces it, and answers requests for it with trains of datagrams that are wrong somehow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cjp2p_wire::datagram::raw::{RawHeader, read};
use cjp2p_wire::message::{ContentRequest, Handle};

/// What is wrong with raw content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawLie {
    /// Nothing, but that it is spelled in another way than ours, with more around it.
    Spelling,
    /// Another handle than was asked for.
    Handle,
    /// Handles of other requests, by this getter to whomever: see [`Liar::knowing`](super::Liar::knowing).
    OthersHandle,
    /// The first handle of each id, for ever.
    FirstHandle,
    /// A bit is flipped in each block.
    Content,
    /// A bit is flipped in one of twenty blocks.
    OneOfTwenty,
    /// It says one byte more than there is.
    Length,
    /// A byte follows the content.
    Trailing,
    /// The end is cut off.
    Torn,
    /// No bytes.
    Empty,
    /// Half of each block.
    Short,
    /// A place that was asked for in no request.
    Outside,
    /// Each block begins a byte later than asked for.
    Shifted,
    /// Each block comes three times.
    Thrice,
    /// Trains leave in reverse order.
    Backwards,
    /// Each block says that the content has this length.
    Eof(u64),
    /// After some answers, old ones and no others.
    Replay,
}

impl RawLie {
    /// All of them, about content of `length` bytes.
    pub fn all(length: u64) -> Vec<RawLie> {
        use RawLie::*;
        let mut all = vec![
            Spelling,
            Handle,
            OthersHandle,
            FirstHandle,
            Content,
            OneOfTwenty,
            Length,
            Trailing,
            Torn,
            Empty,
            Short,
            Outside,
            Shifted,
            Thrice,
            Backwards,
            Replay,
        ];
        all.extend([length + 5, length / 2, 0, 1 << 53].map(Eof));
        all
    }
}

/// Old answers that [`RawLie::Replay`] keeps.
const REPLAYED: usize = 64;

/// What a liar remembers of raw content.
#[derive(Default)]
pub(super) struct RawTricks {
    blocks: usize,
    old: Vec<Vec<u8>>,
    /// The first of each id.
    first: BTreeMap<String, Handle>,
    /// The request that is answered wants a cookie back.
    pub(super) announces: bool,
    /// Handles that it got hold of.
    pub(super) stolen: Arc<Mutex<Vec<Handle>>>,
}

impl RawTricks {
    /// The datagrams that answer this request, which has a handle, with `data`.
    pub(super) fn train(
        &mut self,
        lie: RawLie,
        request: &ContentRequest<'_>,
        data: &[u8],
        eof: Option<u64>,
        random: &mut fastrand::Rng,
    ) -> Vec<Vec<u8>> {
        let Some(asked) = request.handle else { return Vec::new() };
        let eof = eof.filter(|_| request.block.is_none());
        let block = request.block.map_or(data.len(), |block| block as usize).max(1);
        let handle = self.handle_for(lie, &request.id, asked, random);
        // What is right as long as it knows no other.
        let lie = if lie == RawLie::OthersHandle && handle == asked { RawLie::FirstHandle } else { lie };
        let mut train = Vec::new();
        for (n, part) in data.chunks(block).enumerate() {
            let offset = request.offset + (n * block) as u64;
            train.push(self.datagram(lie, handle, offset, part, eof, random));
        }
        match lie {
            RawLie::Backwards => train.reverse(),
            RawLie::Thrice => train = train.iter().flat_map(|datagram| [datagram; 3]).cloned().collect(),
            RawLie::Replay => {
                for datagram in &mut train {
                    if self.old.len() < REPLAYED {
                        self.old.push(datagram.clone());
                    } else {
                        datagram.clone_from(&self.old[random.usize(0..REPLAYED)]);
                    }
                }
            }
            _ => {}
        }
        train
    }

    fn handle_for(&mut self, lie: RawLie, id: &str, handle: Handle, random: &mut fastrand::Rng) -> Handle {
        let first = *self.first.entry(id.to_owned()).or_insert(handle);
        match lie {
            RawLie::FirstHandle => first,
            RawLie::Handle => {
                let mut text = handle.as_bytes().to_vec();
                let at = random.usize(0..text.len());
                text[at] = if text[at] == b'x' { b'y' } else { b'x' };
                Handle::parse(&text).unwrap_or(handle)
            }
            RawLie::OthersHandle => {
                let stolen = self.stolen.lock().expect("nobody panics with it");
                random.choice(stolen.iter()).copied().unwrap_or(handle)
            }
            _ => handle,
        }
    }

    fn datagram(
        &mut self,
        lie: RawLie,
        handle: Handle,
        offset: u64,
        part: &[u8],
        eof: Option<u64>,
        random: &mut fastrand::Rng,
    ) -> Vec<u8> {
        self.blocks += 1;
        let (mut data, mut offset, mut eof) = (part.to_vec(), offset, eof);
        match lie {
            RawLie::Content | RawLie::OthersHandle => spoil(&mut data, random),
            RawLie::OneOfTwenty if self.blocks.is_multiple_of(20) => spoil(&mut data, random),
            RawLie::Empty => data.clear(),
            RawLie::Short => data.truncate(part.len().div_ceil(2)),
            RawLie::Outside => offset += 1 << 30,
            RawLie::Shifted => offset += 1,
            RawLie::Eof(lie) => eof = Some(lie),
            _ => {}
        }
        if lie == RawLie::Spelling {
            return another_spelling(handle, offset, &data, eof);
        }
        let mut bytes = Vec::new();
        RawHeader { handle, places: 0 }.write(offset, &data, eof, &mut bytes);
        match lie {
            RawLie::Length => drop(bytes.pop()),
            RawLie::Trailing => bytes.push(b' '),
            RawLie::Torn => bytes.truncate(random.usize(0..bytes.len())),
            _ => {}
        }
        bytes
    }
}

/// Flips a bit.
pub(super) fn spoil(data: &mut [u8], random: &mut fastrand::Rng) {
    if !data.is_empty() {
        let at = random.usize(0..data.len());
        data[at] ^= 1 << random.u8(0..8);
    }
}

/// What a program of others may write: fields in another order, spaces and fields of its own.
fn another_spelling(handle: Handle, offset: u64, data: &[u8], eof: Option<u64>) -> Vec<u8> {
    let eof = eof.map_or(String::new(), |eof| format!(r#" "eof" : {eof},"#));
    let (handle, length) = (handle.as_str(), data.len());
    let array = format!(
        r#" [ {{"BytesFollow": {{"length": {length},{eof} "mine":[1], "offset": {offset}, "as": "{handle}"}} }} ]"#
    );
    let bytes = [array.as_bytes(), data].concat();
    assert!(read(&bytes).is_none(), "this is how we write it");
    bytes
}
