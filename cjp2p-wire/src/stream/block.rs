//! A block of a stream and its signature.
//!
//! Signed is the text of one `Content` message, byte for byte as every node that passes the block on rebuilds it from id, offset and
//! data. Toward others a block is that text in a `SignedMessage`. Between our own nodes it is a *record*: the signature, then the data.
//! Record n is at n × [`RECORD_LEN`], so the stream has a signed form, which can be cut at any byte.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use super::id::StreamId;
use crate::signed::{Signature, SignedMessage, SigningKey};

/// Bytes of a whole block.
pub const BLOCK_LEN: usize = 4096;
/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;
/// Bytes of the record of a whole block.
pub const RECORD_LEN: usize = SIGNATURE_LEN + BLOCK_LEN;
/// No block has a greater index: all offsets are below 2^53.
pub const MAX_INDEX: u64 = (1 << 40) - 1;

/// A block with a right signature: signed here, or verified. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedBlock {
    index: u64,
    // Invariant: 1 to `BLOCK_LEN` bytes.
    data: Arc<[u8]>,
    signature: Signature,
}

impl SignedBlock {
    /// Signs block `index` of the stream, whose key must be this one. `None` where there is no data, or too much, or the index is above
    /// [`MAX_INDEX`].
    pub fn sign(key: &SigningKey, id: &StreamId, index: u64, data: &[u8]) -> Option<SignedBlock> {
        let is_fit = is_fit(index, data) && key.public() == *id.key();
        is_fit.then(|| {
            let signature = key.sign(payload(id, index, data).as_bytes());
            SignedBlock { index, data: data.into(), signature }
        })
    }

    /// Takes what somebody says is block `index`; `None` if the owner of the stream's key did not sign it. Takes about as long as
    /// hashing 100 KiB.
    pub fn verify(id: &StreamId, index: u64, data: &[u8], signature: Signature) -> Option<SignedBlock> {
        let is_right =
            is_fit(index, data) && id.key().verifies(payload(id, index, data).as_bytes(), &signature);
        is_right.then(|| SignedBlock { index, data: data.into(), signature })
    }

    /// A block that was verified or signed before it was put on a disk that nobody else writes. Others verify it again: a disk that lies
    /// makes a liar of us, and of nobody else.
    pub fn stored(index: u64, data: &[u8], signature: Signature) -> Option<SignedBlock> {
        is_fit(index, data).then(|| SignedBlock { index, data: data.into(), signature })
    }

    /// Which block it is.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Where in the stream it begins, in bytes.
    pub fn offset(&self) -> u64 {
        self.index * BLOCK_LEN as u64
    }

    /// Where in the stream it ends.
    pub fn end(&self) -> u64 {
        self.offset() + self.data.len() as u64
    }

    /// Its bytes: one at least, [`BLOCK_LEN`] at the most.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Whether it has all bytes that a block can have.
    pub fn is_whole(&self) -> bool {
        self.data.len() == BLOCK_LEN
    }

    /// The payload of a [`Message::SignedMessage`](crate::message::Message::SignedMessage), as every node reads it.
    pub fn to_json(&self, id: &StreamId) -> String {
        let payload = payload(id, self.index, &self.data).into();
        SignedMessage { key: *id.key(), signature: self.signature, payload }.to_json()
    }
}

impl fmt::Debug for SignedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} of {} bytes", self.index, self.data.len())
    }
}

/// A block as a signed message says it: well formed, and nothing shows that it was signed by who it says.
#[derive(Clone, Debug)]
pub struct BlockClaim {
    /// Of which stream it is.
    pub id: StreamId,
    /// Which block it is.
    pub index: u64,
    data: Vec<u8>,
    signature: Signature,
}

#[derive(Deserialize)]
struct Element<'a> {
    #[serde(borrow, rename = "Content")]
    content: Fields<'a>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    offset: u64,
    #[serde(borrow)]
    base64: Cow<'a, str>,
}

impl BlockClaim {
    /// Reads what a signed message says; `None` where it is no block, or not by the key of its stream.
    pub fn read(message: &SignedMessage<'_>) -> Option<BlockClaim> {
        let [Element { content }] = serde_json::from_str::<[Element<'_>; 1]>(&message.payload).ok()?;
        let id = StreamId::on_wire(&content.id).filter(|id| *id.key() == message.key)?;
        let data = base64_simd::STANDARD.decode_to_vec(content.base64.as_bytes()).ok()?;
        let index = content.offset / BLOCK_LEN as u64;
        let is_block = content.offset % BLOCK_LEN as u64 == 0 && is_fit(index, &data);
        is_block.then_some(BlockClaim { id, index, data, signature: message.signature })
    }

    /// Where the block ends, in bytes of the stream.
    pub fn end(&self) -> u64 {
        self.index * BLOCK_LEN as u64 + self.data.len() as u64
    }

    /// Verifies it, which takes a while. One that was signed in another spelling is refused: nobody could pass it on.
    pub fn verify(self) -> Option<SignedBlock> {
        SignedBlock::verify(&self.id, self.index, &self.data, self.signature)
    }
}

fn is_fit(index: u64, data: &[u8]) -> bool {
    index <= MAX_INDEX && (1..=BLOCK_LEN).contains(&data.len())
}

/// The text that is signed.
fn payload(id: &StreamId, index: u64, data: &[u8]) -> String {
    let id = serde_json::to_string(&id.to_string()).expect("a text is JSON");
    let offset = index * BLOCK_LEN as u64;
    let mut text = format!(r#"[{{"Content":{{"id":{id},"offset":{offset},"base64":""#);
    text.reserve(data.len().div_ceil(3) * 4 + 5);
    base64_simd::STANDARD.encode_append(data, &mut text);
    text + r#""}}]"#
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signed::PublicKey;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    fn key() -> SigningKey {
        SigningKey::from_seed(&std::array::from_fn(|i| i as u8))
    }

    fn id(name: &str) -> StreamId {
        StreamId::new(key().public(), name).unwrap()
    }

    #[test]
    fn blocks_are_signed_as_other_nodes_sign_them() {
        assert_eq!(
            key().public().to_string(),
            "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
        );
        let all: Vec<u8> = (0..4096u32).map(|i| i as u8).collect();
        let vectors: [(&str, u64, &[u8], &str); 4] = [
            (
                "cam",
                0,
                b"hello stream\n",
                "782d6603936bfe32a29d62d1aad3081961a8ce6be5fbca10aadfe1914959e348e99120f7740eb9f8adce34fa09b0f7045b2479966707402ed6206e79815bf30e",
            ),
            (
                "cam",
                1,
                b"xxxxxxxxxx",
                "e5e51451953995a58a5f2663acd37e6cd8c80d3cad049679967062cf2f39c3cc2323efad221f8753df68a6118d526beb419c3e4c827c7058c58169b7a51fa305",
            ),
            (
                "cam",
                2,
                &all,
                "68868c1b2ee7358fcf16384967428b48feae1e6acc63559c54aba237cb3e0a9e6e60cefd61ec0b1a81e720179f5d0d90dffbbae8164c568d721f2eb63526ee08",
            ),
            (
                "a/q\"\té\u{1}",
                0,
                b"hi",
                "db4ada2d140cdd7e0e3d8a8c6e6cbc7d893b5092eb91745892e8b7d87bce0c3183a8a472b025840c19d04567c064dd9770ffefd4f8f38c207a2301f10f29790c",
            ),
        ];
        for (name, index, data, signature) in vectors {
            let block = SignedBlock::sign(&key(), &id(name), index, data).unwrap();
            assert_eq!(HEXLOWER.encode(block.signature().as_bytes()), signature, "{name} {index}");
            assert_eq!(SignedBlock::verify(&id(name), index, data, *block.signature()), Some(block.clone()));
            let json = block.to_json(&id(name));
            let message = SignedMessage::read(&json).unwrap();
            assert!(message.is_right());
            assert_eq!(BlockClaim::read(&message).unwrap().verify(), Some(block));
        }
        let text = payload(&id("cam"), 2, &all);
        let hash = HEXLOWER.encode(&Sha256::digest(&text));
        assert_eq!(
            (text.len(), &*hash),
            (5588, "34c203a1a62709ae95a3276687236b58917b0de5212163eb7e118c094e866a18")
        );
        assert_eq!(payload(&id("a/q\"\té\u{1}"), 0, b"hi").len(), 137);
    }

    proptest! {
        #[test]
        fn a_block_is_right_for_its_stream_and_place_alone(
            data in proptest::collection::vec(any::<u8>(), 1..200), index in 0..MAX_INDEX, at: usize,
        ) {
            let block = SignedBlock::sign(&key(), &id("a"), index, &data).unwrap();
            let signature = *block.signature();
            prop_assert_eq!(SignedBlock::verify(&id("a"), index, &data, signature), Some(block));
            prop_assert_eq!(SignedBlock::verify(&id("b"), index, &data, signature), None);
            prop_assert_eq!(SignedBlock::verify(&id("a"), index + 1, &data, signature), None);
            let mut other = data.clone();
            let at = at % other.len();
            other[at] ^= 1;
            prop_assert_eq!(SignedBlock::verify(&id("a"), index, &other, signature), None);
            prop_assert_eq!(SignedBlock::verify(&id("a"), index, &data[1..], signature), None);
        }
    }

    #[test]
    fn what_is_no_block_is_not_signed() {
        let stranger = StreamId::new(PublicKey::from_bytes([1; 32]), "a").unwrap();
        for (id, index, length) in
            [(id("a"), 0, 0), (id("a"), 0, BLOCK_LEN + 1), (id("a"), MAX_INDEX + 1, 1), (stranger, 0, 1)]
        {
            assert_eq!(SignedBlock::sign(&key(), &id, index, &vec![7; length]), None);
        }
    }
}
