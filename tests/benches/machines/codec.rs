//! Messages to datagrams, and back.

use cjp2p_tests::content;
use cjp2p_wire::datagram::{Encoder, Padding, content_that_fits, decode};
use cjp2p_wire::message::{ContentRequest, Message};
use cjp2p_wire::node::ORDINARY_DATAGRAM;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

/// Content in each datagram: what fits an ordinary one, and the most that is asked for at once.
const BLOCKS: [usize; 2] = [0, 32 << 10];

/// The length of the whole content in bytes.
const LENGTH: u64 = 1 << 30;

/// An id, and a block: the one of this length, or what fits an ordinary datagram.
fn block(length: usize) -> (String, Vec<u8>) {
    let id = content::blake3_id(b"something").to_string();
    let fits = content_that_fits(ORDINARY_DATAGRAM, &id, LENGTH, 0);
    (id, content::bytes(1, if length == 0 { fits } else { length }))
}

fn datagram(id: &str, data: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::with_capacity(2 * data.len());
    encoder.content(id, 123_456_789, data, Some(LENGTH), Padding::Padded);
    encoder.finish(0)
}

#[divan::bench(args = BLOCKS)]
fn encode_content(bencher: Bencher<'_, '_>, length: usize) {
    let (id, data) = block(length);
    bencher.counter(BytesCount::new(data.len())).bench(|| datagram(black_box(&id), black_box(&data)));
}

#[divan::bench(args = BLOCKS)]
fn decode_content(bencher: Bencher<'_, '_>, length: usize) {
    let (id, data) = block(length);
    let datagram = datagram(&id, &data);
    bencher.counter(BytesCount::new(data.len())).bench(|| match decode(black_box(&datagram)).as_deref() {
        Ok([Message::Content(block)]) => block.decode().map(|bytes| bytes.len()),
        _ => None,
    });
}

/// The same from a node that writes its JSON with blanks and in another order, as any may.
#[divan::bench]
fn decode_content_of_others(bencher: Bencher<'_, '_>) {
    let (id, data) = block(0);
    let base64 = base64_simd::STANDARD.encode_to_string(&data);
    let datagram =
        format!("[ {{\"Content\": {{ \"base64\": \"{base64}\", \"offset\": 4096, \"id\": \"{id}\" }} }} ]");
    bencher.counter(BytesCount::new(data.len())).bench(|| {
        match decode(black_box(datagram.as_bytes())).as_deref() {
            Ok([Message::Content(block)]) => block.decode().map(|bytes| bytes.len()),
            _ => None,
        }
    });
}

/// Requests in one datagram.
const REQUESTS: u64 = 8;

#[divan::bench]
fn encode_requests(bencher: Bencher<'_, '_>) {
    let (id, _) = block(0);
    bencher.counter(ItemsCount::new(REQUESTS)).bench(|| requests(black_box(&id)));
}

#[divan::bench]
fn decode_requests(bencher: Bencher<'_, '_>) {
    let datagram = requests(&block(0).0);
    bencher
        .counter(ItemsCount::new(REQUESTS))
        .bench(|| decode(black_box(&datagram)).map(|messages| messages.len()).ok());
}

fn requests(id: &str) -> Vec<u8> {
    let mut encoder = Encoder::new();
    for n in 0..REQUESTS {
        encoder.request(&ContentRequest::plain(id, n * 960, 960));
    }
    encoder.finish(0)
}
