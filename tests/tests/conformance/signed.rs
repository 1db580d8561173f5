//! The published signatures, which nodes of others made from the same key.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use cjp2p_wire::signed::{
    Pointer, PointerId, PointerName, PointsTo, PublicKey, Signature, SignedMessage, SignedPointer, SigningKey,
};
use data_encoding::HEXLOWER;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    seed: String,
    public: String,
    messages: Vec<MessageCase>,
    pointers: Vec<PointerCase>,
}

#[derive(Deserialize)]
struct MessageCase {
    about: String,
    payload: String,
    signature: String,
}

#[derive(Deserialize)]
struct PointerCase {
    name: String,
    sha256: String,
    seq: u64,
    blake3: Option<String>,
    length: Option<u64>,
    #[serde(default)]
    folder: bool,
    payload: String,
    signature: String,
}

fn bytes<const N: usize>(digits: &str) -> [u8; N] {
    HEXLOWER.decode(digits.as_bytes()).unwrap().try_into().unwrap()
}

fn vectors() -> (Vectors, SigningKey) {
    let vectors: Vectors = serde_json::from_str(include_str!("../../vectors/signed.json")).unwrap();
    let key = SigningKey::from_seed(&bytes(&vectors.seed));
    assert_eq!(key.public(), PublicKey::parse(&vectors.public).unwrap());
    (vectors, key)
}

#[test]
fn every_message_is_signed_as_others_sign_it_and_reads_back() {
    let (vectors, key) = vectors();
    for case in &vectors.messages {
        let signed = SignedMessage::sign(&key, &*case.payload);
        assert_eq!(signed.signature, Signature::from_bytes(bytes(&case.signature)), "{}", case.about);
        let json = signed.to_json();
        let read = SignedMessage::read(&json).unwrap();
        assert!(read.is_right() && read.payload == case.payload, "{}", case.about);
    }
}

#[test]
fn every_pointer_is_written_and_signed_in_one_way() {
    let (vectors, key) = vectors();
    for case in &vectors.pointers {
        let pointer = Pointer {
            id: PointerId { key: key.public(), name: PointerName::new(&case.name).unwrap() },
            sha256: bytes(&case.sha256),
            seq: case.seq,
            blake3: case.blake3.as_deref().map(bytes),
            length: case.length,
            kind: if case.folder { PointsTo::Folder } else { PointsTo::File },
        };
        let json = SignedPointer::sign(&key, pointer.clone()).to_json();
        let message = SignedMessage::read(&json).unwrap();
        assert_eq!(message.payload, case.payload);
        assert_eq!(message.signature, Signature::from_bytes(bytes(&case.signature)));
        assert_eq!(SignedPointer::read(&json).unwrap().pointer(), &pointer);
    }
}
