//! Content for tests: reproducible, without pattern, of any length.

use cjp2p_wire::content_id::ContentId;
use sha2::Digest;

/// `length` bytes that look random and depend on `seed` only.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut bytes = vec![0; length];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// The BLAKE3 id of some bytes.
pub fn blake3_id(bytes: &[u8]) -> ContentId {
    ContentId::Blake3(*blake3::hash(bytes).as_bytes())
}

/// The SHA-256 id of some bytes.
pub fn sha256_id(bytes: &[u8]) -> ContentId {
    ContentId::Sha256(sha2::Sha256::digest(bytes).into())
}

/// A WAV file: sound of so many seconds, 48,000 times two samples of two bytes in each.
pub fn wave(seconds: u32) -> Vec<u8> {
    let (rate, frame) = (48_000_u32, 4_u32);
    let length = seconds * rate * frame;
    let mut bytes = Vec::with_capacity(length as usize + 44);
    bytes.extend(b"RIFF");
    bytes.extend((length + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend([1, 0, 2, 0]);
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * frame).to_le_bytes());
    bytes.extend([4, 0, 16, 0]);
    bytes.extend(b"data");
    bytes.extend(length.to_le_bytes());
    // Not zeros: those would take no room.
    bytes.extend((0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 28) as u8));
    bytes
}
