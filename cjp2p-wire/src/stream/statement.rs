//! What the origin of a stream says of it as a whole: how far it goes, whether it has ended, which parts it has, and where one may join.
//!
//! It is a message under a signature, as blocks are. Nodes of others pass it over. Relays pass it on as it came.

use std::fmt::Write as _;
use std::ops::Range;

use serde::Deserialize;

use super::block::{BLOCK_LEN, MAX_INDEX};
use super::id::StreamId;
use crate::signed::{SignedMessage, SigningKey};

/// Parts and places to join that one statement has at the most, of each. The newest are kept.
pub const MAX_PARTS: usize = 16;
/// See [`MAX_PARTS`].
pub const MAX_JOINS: usize = 16;
/// The longest statement in bytes of JSON: others fit beside it in a datagram that no packet cuts.
pub const MAX_STATEMENT_LEN: usize = 1100;
/// All offsets and times are below this.
const LIMIT: u64 = (MAX_INDEX + 1) * BLOCK_LEN as u64;

/// Where one may join a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Join {
    /// The byte of the stream.
    pub offset: u64,
    /// When it came, in milliseconds since 1970 by the origin's clock.
    pub time: u64,
}

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// The stream goes so far, in bytes.
    pub end: u64,
    /// Nothing comes after that.
    pub ended: bool,
    /// When this was said, in milliseconds since 1970 by the origin's clock.
    pub time: u64,
    /// Which bytes there are, in order, none empty, apart from each other. The last goes on beyond what it says, unless the stream has
    /// ended. What is before the first may have been left out.
    pub parts: Vec<Range<u64>>,
    /// In order.
    pub joins: Vec<Join>,
}

impl Statement {
    /// The first byte of the stream at or after this one that there is, or is to come; `None` where the stream has ended before.
    pub fn next(&self, offset: u64) -> Option<u64> {
        let goes_on = |part: &Range<u64>| !self.ended && self.parts.last() == Some(part);
        if self.parts.is_empty() {
            return (!self.ended || offset < self.end).then_some(offset);
        }
        let mut parts = self.parts.iter();
        let part = parts.find(|part| offset < part.end || goes_on(part))?;
        Some(offset.max(part.start))
    }

    /// The first byte that there is, as far as is told.
    pub fn start(&self) -> u64 {
        self.parts.first().map_or(0, |part| part.start)
    }

    /// Whether everything is in order and within bounds.
    fn is_sound(&self) -> bool {
        let starts = self.parts.iter().skip(1).map(|part| part.start);
        let mut gaps = self.parts.iter().zip(starts).map(|(part, next)| part.end < next);
        let is_in_order = |pair: &[Join]| pair[0].offset < pair[1].offset && pair[0].time <= pair[1].time;
        self.end < LIMIT
            && self.time < LIMIT
            && self.parts.len() <= MAX_PARTS
            && self.joins.len() <= MAX_JOINS
            && self.parts.iter().all(|part| part.start < part.end && part.end <= self.end)
            && gaps.all(|is_gap| is_gap)
            && self.joins.windows(2).all(is_in_order)
            && self.joins.iter().all(|join| join.offset <= self.end && join.time < LIMIT)
    }

    /// The text that is signed.
    fn payload(&self, id: &StreamId) -> String {
        let Statement { end, ended, time, parts, joins } = self;
        let id = serde_json::to_string(&id.to_string()).expect("a text is JSON");
        let mut text =
            format!(r#"[{{"StreamState":{{"id":{id},"end":{end},"ended":{ended},"time":{time},"parts":["#);
        let pairs = |text: &mut String, pairs: &mut dyn Iterator<Item = (u64, u64)>| {
            for (i, (a, b)) in pairs.enumerate() {
                let comma = if i == 0 { "" } else { "," };
                write!(text, "{comma}[{a},{b}]").expect("a String takes all that is written");
            }
        };
        pairs(&mut text, &mut parts.iter().map(|part| (part.start, part.end)));
        text += r#"],"joins":["#;
        pairs(&mut text, &mut joins.iter().map(|join| (join.offset, join.time)));
        text + "]}}]"
    }
}

#[derive(Deserialize)]
struct Element {
    #[serde(rename = "StreamState")]
    state: Fields,
}

#[derive(Deserialize)]
struct Fields {
    id: String,
    end: u64,
    ended: bool,
    time: u64,
    #[serde(default)]
    parts: Vec<(u64, u64)>,
    #[serde(default)]
    joins: Vec<(u64, u64)>,
}

/// A statement as it came: well formed, and nothing shows that it was signed by who it says.
#[derive(Clone, Debug)]
pub struct StatementClaim<'a> {
    /// Of which stream it speaks.
    pub id: StreamId,
    /// What it says.
    pub statement: Statement,
    message: &'a SignedMessage<'a>,
}

impl<'a> StatementClaim<'a> {
    /// Reads what a signed message says, before anything is verified; `None` where it is no statement, or not by the key of its stream.
    pub fn read(message: &'a SignedMessage<'_>) -> Option<StatementClaim<'a>> {
        let [Element { state }] = serde_json::from_str::<[Element; 1]>(&message.payload).ok()?;
        let id = StreamId::on_wire(&state.id).filter(|id| *id.key() == message.key)?;
        let statement = Statement {
            end: state.end,
            ended: state.ended,
            time: state.time,
            parts: state.parts.into_iter().map(|(start, end)| start..end).collect(),
            joins: state.joins.into_iter().map(|(offset, time)| Join { offset, time }).collect(),
        };
        statement.is_sound().then_some(StatementClaim { id, statement, message })
    }

    /// Whether it would replace `known`, if it is right.
    pub fn would_be_newer_than(&self, known: &SignedStatement) -> bool {
        (self.statement.end, self.statement.time) > (known.statement.end, known.statement.time)
    }

    /// Verifies it, which takes a while.
    pub fn verify(self) -> Option<SignedStatement> {
        if !self.message.is_right() {
            return None;
        }
        Some(SignedStatement {
            id: self.id,
            statement: self.statement,
            message: self.message.clone().into_owned(),
        })
    }
}

/// A statement that the owner of the stream's key signed: verified, or signed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedStatement {
    id: StreamId,
    statement: Statement,
    /// As it came, to be passed on unchanged.
    message: SignedMessage<'static>,
}

impl SignedStatement {
    /// Signs a statement. The oldest parts and places to join are left out where there are too many. `None` where it is not by this
    /// key, or something in it is out of order.
    pub fn sign(key: &SigningKey, id: &StreamId, mut statement: Statement) -> Option<SignedStatement> {
        let Statement { parts, joins, .. } = &mut statement;
        parts.drain(..parts.len().saturating_sub(MAX_PARTS));
        joins.drain(..joins.len().saturating_sub(MAX_JOINS));
        if *id.key() != key.public() || !statement.is_sound() {
            return None;
        }
        loop {
            let message = SignedMessage::sign(key, statement.payload(id));
            let Statement { parts, joins, .. } = &mut statement;
            if message.to_json().len() <= MAX_STATEMENT_LEN || parts.len() + joins.len() <= 1 {
                return Some(SignedStatement { id: id.clone(), statement, message });
            }
            if joins.len() >= parts.len() {
                joins.remove(0);
            } else {
                parts.remove(0);
            }
        }
    }

    /// Reads and verifies what [`SignedStatement::to_json`] gave.
    pub fn read(json: &str) -> Option<SignedStatement> {
        StatementClaim::read(&SignedMessage::read(json)?)?.verify()
    }

    /// Of which stream it speaks.
    pub fn id(&self) -> &StreamId {
        &self.id
    }

    /// What it says.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The payload of a [`Message::SignedMessage`](crate::message::Message::SignedMessage), to be passed on.
    pub fn to_json(&self) -> String {
        self.message.to_json()
    }

    /// Whether it replaces `other`: it says that the stream goes further, or says the same later.
    pub fn is_newer_than(&self, other: &SignedStatement) -> bool {
        let order = |of: &SignedStatement| (of.statement.end, of.statement.time);
        order(self) > order(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[3; 32])
    }

    fn id() -> StreamId {
        StreamId::new(key().public(), "cam").unwrap()
    }

    fn at(offset: u64) -> Join {
        Join { offset, time: offset }
    }

    fn any_statement() -> impl Strategy<Value = Statement> {
        let cuts = proptest::collection::btree_set(0..1u64 << 40, 0..80);
        (cuts, any::<bool>(), 0..1u64 << 42).prop_map(|(cuts, ended, time)| {
            let cuts: Vec<u64> = cuts.into_iter().collect();
            let (parts, joins) = cuts.split_at(cuts.len() / 2);
            let parts = parts.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
            let joins = joins.iter().copied().map(at).collect();
            Statement { end: 1 << 40, ended, time, parts, joins }
        })
    }

    proptest! {
        #[test]
        fn what_was_signed_reads_back_with_the_newest_of_what_there_was(statement in any_statement()) {
            let signed = SignedStatement::sign(&key(), &id(), statement.clone()).unwrap();
            let json = signed.to_json();
            prop_assert!(json.len() <= MAX_STATEMENT_LEN);
            prop_assert_eq!(SignedStatement::read(&json), Some(signed.clone()));
            let kept = signed.statement();
            prop_assert!(statement.parts.ends_with(&kept.parts) && statement.joins.ends_with(&kept.joins));
            prop_assert!(kept.joins.len() >= statement.joins.len().min(6));
            let forged = json.replace("payload_json\":\"[{", "payload_json\":\"[ {");
            prop_assert_eq!(SignedStatement::read(&forged), None);
        }
    }

    #[test]
    fn what_is_out_of_order_is_not_signed_nor_read() {
        let good = Statement {
            end: 100,
            ended: false,
            time: 7,
            parts: vec![0..10, 20..100],
            joins: vec![at(0), at(30)],
        };
        assert!(SignedStatement::sign(&key(), &id(), good.clone()).is_some());
        for wrong in [
            Statement { end: 99, ..good.clone() },
            Statement { parts: vec![0..10, 10..100], ..good.clone() },
            Statement { parts: vec![0..10, 5..100], ..good.clone() },
            Statement { parts: std::iter::once(5..5).collect(), ..good.clone() },
            Statement { joins: vec![at(30), at(30)], ..good.clone() },
            Statement { joins: vec![at(101)], ..good.clone() },
            Statement { end: LIMIT, ..good.clone() },
            Statement { time: LIMIT, ..good.clone() },
        ] {
            assert_eq!(SignedStatement::sign(&key(), &id(), wrong.clone()), None, "{wrong:?}");
            let message = SignedMessage::sign(&key(), wrong.payload(&id()));
            assert!(StatementClaim::read(&message).is_none(), "{wrong:?}");
        }
        let stranger = SigningKey::from_seed(&[4; 32]);
        assert_eq!(SignedStatement::sign(&stranger, &id(), good.clone()), None);
        assert!(StatementClaim::read(&SignedMessage::sign(&stranger, good.payload(&id()))).is_none());
    }

    #[test]
    fn gaps_are_stepped_over_and_the_end_is_the_end() {
        let open = Statement { end: 100, parts: vec![10..20, 50..100], ..Statement::default() };
        let next = |statement: &Statement, at| statement.next(at);
        assert_eq!(
            [0, 10, 19, 20, 60, 100, 500].map(|at| next(&open, at)),
            [10, 10, 19, 50, 60, 100, 500].map(Some)
        );
        let ended = Statement { ended: true, ..open.clone() };
        assert_eq!([20, 99, 100].map(|at| next(&ended, at)), [Some(50), Some(99), None]);
        let plain = Statement { parts: Vec::new(), ..ended };
        assert_eq!([20, 100].map(|at| next(&plain, at)), [Some(20), None]);
    }

    #[test]
    fn what_goes_further_or_was_said_later_is_newer() {
        let signed = |end, ended, time| {
            let statement = Statement { end, ended, time, ..Statement::default() };
            SignedStatement::sign(&key(), &id(), statement).unwrap()
        };
        let order = [signed(5, true, 9), signed(6, false, 3), signed(6, true, 4)];
        for (i, a) in order.iter().enumerate() {
            for (j, b) in order.iter().enumerate() {
                assert_eq!(a.is_newer_than(b), i > j);
            }
        }
    }
}
