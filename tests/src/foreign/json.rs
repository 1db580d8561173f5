//! What the messages of foreign nodes look like, and what they share.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// What all of them ask for at once, in bytes.
pub const BLOCK: u64 = 4096;
/// What the Rust nodes cut an answer to, in bytes.
pub(super) const MAX_ANSWER: u64 = 40_960;

/// A `Content` that came.
pub(super) struct Block {
    pub(super) id: String,
    pub(super) offset: u64,
    pub(super) data: Vec<u8>,
    pub(super) eof: Option<u64>,
    pub(super) padded: bool,
}

impl Block {
    pub(super) fn read(payload: &Value) -> Option<Block> {
        let base64 = payload["base64"].as_str()?;
        let bare = base64.trim_end_matches('=');
        Some(Block {
            id: payload["id"].as_str()?.to_owned(),
            offset: payload["offset"].as_u64()?,
            data: base64_simd::STANDARD_NO_PAD.decode_to_vec(bare).ok()?,
            eof: payload["eof"].as_u64(),
            padded: bare.len() < base64.len(),
        })
    }

    pub(super) fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

/// The messages of a datagram, each with its type; `None` where it is not a JSON array.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<(String, Value)>> {
    let elements: Vec<Value> = serde_json::from_slice(bytes).ok()?;
    let objects = elements.into_iter().filter_map(|element| match element {
        Value::Object(object) => object.into_iter().next(),
        _ => None,
    });
    Some(objects.collect())
}

pub(super) fn write(messages: &[Value]) -> Vec<u8> {
    serde_json::to_vec(messages).expect("values can be written")
}

pub(super) fn message(kind: &str, payload: Value) -> Value {
    json!({ kind: payload })
}

pub(super) fn request(id: &str, offset: u64) -> Value {
    json!({"PleaseSendContent": {"id": id, "length": BLOCK, "offset": offset}})
}

/// A `Content` with up to `length` bytes of `file` from `offset` on.
pub(super) fn content(id: &str, file: &[u8], offset: u64, length: u64, padded: bool) -> Value {
    let data = part(file, offset, length);
    let base64 = match padded {
        true => base64_simd::STANDARD.encode_to_string(data),
        false => base64_simd::STANDARD_NO_PAD.encode_to_string(data),
    };
    json!({"Content": {"id": id, "offset": offset, "base64": base64, "eof": file.len()}})
}

pub(super) fn part(file: &[u8], offset: u64, length: u64) -> &[u8] {
    let end = file.len() as u64;
    &file[offset.min(end) as usize..offset.saturating_add(length).min(end) as usize]
}

pub(super) fn put(bytes: &mut Vec<u8>, block: &Block) {
    let end = block.end() as usize;
    bytes.resize(bytes.len().max(end), 0);
    bytes[block.offset as usize..end].copy_from_slice(&block.data);
}

/// The texts in the `peers` of a message.
pub(super) fn told(payload: &Value) -> impl Iterator<Item = &str> {
    payload["peers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

pub(super) fn texts<'a>(peers: impl IntoIterator<Item = &'a SocketAddr>) -> Vec<String> {
    peers.into_iter().map(SocketAddr::to_string).collect()
}
