//! Content in the fast path, and nearly: read without a JSON parser it says what serde_json reads.

use std::borrow::Cow;

use cjp2p_wire::datagram::{self, Encoder, Padding};
use cjp2p_wire::message::Message;

use super::datagram::said;
use super::input::Input;
use super::mutate::edit;

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.byte() & 1 == 0 {
        agree(input.rest());
        return;
    }
    let mut datagram = ours(&mut input);
    if input.is_empty() {
        assert!(agree(&datagram), "the fast path was not recognised: {}", String::from_utf8_lossy(&datagram));
    } else {
        edit(&mut datagram, &mut input);
        agree(&datagram);
    }
}

/// Content as we write it.
fn ours(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.byte();
    let mut encoder = Encoder::new();
    let letters = |bytes: &[u8]| bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect::<String>();
    if kind & 1 != 0 {
        encoder.cookie("AlwaysReturned", &letters(input.counted()));
    }
    let id = letters(input.counted());
    let limit = |n: u64| n % ((1 << 53) + 1);
    let offset = limit(input.number());
    let eof = (kind & 2 != 0).then(|| limit(input.number()));
    let padding = if kind & 4 != 0 { Padding::Padded } else { Padding::Bare };
    let data = input.counted();
    encoder.content(&id, offset, data, eof, padding);
    encoder.finish(input.below(700) as usize)
}

/// Both ways of reading agree. Returns whether the quick one did it, which alone leaves the bytes where it put them.
fn agree(bytes: &[u8]) -> bool {
    let mut room = vec![1, 2, 3];
    let quick = datagram::decode_into(bytes, &mut room).ok();
    let slow = datagram::decode(bytes).ok();
    assert_eq!(quick.as_deref().map(said), slow.as_deref().map(said), "{:?}", String::from_utf8_lossy(bytes));
    let is_borrowed = |message: &Message<'_>| matches!(message, Message::Content(block) if matches!(block.data, Cow::Borrowed(_)));
    quick.is_some_and(|messages| messages.iter().any(is_borrowed))
}
