//! Base64 by itself: what of a datagram's cost no codec can save.

use cjp2p_tests::content;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

/// Bytes at a time: about what an ordinary datagram holds, and a large block.
const LENGTHS: [usize; 2] = [960, 32 << 10];

#[divan::bench(args = LENGTHS)]
fn encode(bencher: Bencher<'_, '_>, length: usize) {
    let data = content::bytes(1, length);
    let mut out = Vec::with_capacity(2 * length);
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        out.clear();
        base64_simd::STANDARD.encode_append(black_box(&data), &mut out);
        out.len()
    });
}

#[divan::bench(args = LENGTHS)]
fn decode(bencher: Bencher<'_, '_>, length: usize) {
    let text = base64_simd::STANDARD.encode_to_string(content::bytes(1, length));
    let mut out = Vec::with_capacity(length);
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        out.clear();
        base64_simd::STANDARD.decode_append(black_box(text.as_bytes()), &mut out).is_ok()
    });
}
