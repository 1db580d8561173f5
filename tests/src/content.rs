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
