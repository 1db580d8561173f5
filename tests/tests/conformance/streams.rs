//! The published signatures of blocks of streams, which nodes of others made from the same key, and of what is said of a stream.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use cjp2p_wire::signed::{SignedMessage, SigningKey};
use cjp2p_wire::stream::{Join, SignedBlock, SignedStatement, Statement, StreamId};
use data_encoding::{BASE64, HEXLOWER};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    seed: String,
    blocks: Vec<BlockCase>,
    statements: Vec<StatementCase>,
}

#[derive(Deserialize)]
struct BlockCase {
    name: String,
    index: u64,
    data: String,
    payload: String,
    signature: String,
}

#[derive(Deserialize)]
struct StatementCase {
    name: String,
    end: u64,
    ended: bool,
    time: u64,
    parts: Vec<(u64, u64)>,
    joins: Vec<(u64, u64)>,
    payload: String,
    signature: String,
}

fn vectors() -> (Vectors, SigningKey) {
    let vectors: Vectors = serde_json::from_str(include_str!("../../vectors/streams.json")).unwrap();
    let seed: [u8; 32] = HEXLOWER.decode(vectors.seed.as_bytes()).unwrap().try_into().unwrap();
    (vectors, SigningKey::from_seed(&seed))
}

#[test]
fn every_block_is_written_and_signed_as_others_do() {
    let (vectors, key) = vectors();
    for case in &vectors.blocks {
        let id = StreamId::new(key.public(), &case.name).unwrap();
        let data = BASE64.decode(case.data.as_bytes()).unwrap();
        let block = SignedBlock::sign(&key, &id, case.index, &data).unwrap();
        assert_eq!(HEXLOWER.encode(block.signature().as_bytes()), case.signature, "{}", case.name);
        let json = block.to_json(&id);
        assert_eq!(SignedMessage::read(&json).unwrap().payload, case.payload);
        assert_eq!(SignedBlock::verify(&id, case.index, &data, *block.signature()), Some(block));
    }
}

#[test]
fn every_statement_is_written_and_signed_in_one_way() {
    let (vectors, key) = vectors();
    for case in &vectors.statements {
        let id = StreamId::new(key.public(), &case.name).unwrap();
        let statement = Statement {
            end: case.end,
            ended: case.ended,
            time: case.time,
            parts: case.parts.iter().map(|&(start, end)| start..end).collect(),
            joins: case.joins.iter().map(|&(offset, time)| Join { offset, time }).collect(),
        };
        let json = SignedStatement::sign(&key, &id, statement.clone()).unwrap().to_json();
        let message = SignedMessage::read(&json).unwrap();
        assert_eq!(message.payload, case.payload);
        assert_eq!(HEXLOWER.encode(message.signature.as_bytes()), case.signature);
        assert_eq!(SignedStatement::read(&json).unwrap().statement(), &statement);
    }
}
