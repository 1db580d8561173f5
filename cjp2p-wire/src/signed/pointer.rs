//! Pointers: what a name under a key stands for now, signed by that key.
//!
//! The payload is one `Latest` and nothing else: with a second message in it, some nodes take any older pointer for a newer one. Its
//! `sha256` is what every node knows; `blake3`, `length` and `kind` are ours, which others pass on as they came.

use std::borrow::Cow;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::Deserialize;

use super::envelope::SignedMessage;
use super::key::{PublicKey, SigningKey};
use super::name::{PointerId, PointerName};
use crate::content_id::Hash;

/// Sequence numbers are below this: beyond it, JSON readers of other languages lose digits.
pub const SEQ_LIMIT: u64 = 1 << 53;

/// What kind of content a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointsTo {
    /// A file.
    File,
    /// The list of a folder.
    Folder,
}

/// What a name stands for, as somebody says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The name, and whose it is.
    pub id: PointerId,
    /// The SHA-256 hash of the content.
    pub sha256: Hash,
    /// Of two pointers the one with the greater number is the newer. As a rule the seconds since 1970 when it was signed.
    pub seq: u64,
    /// The BLAKE3 hash of the content, by which it is verified block by block.
    pub blake3: Option<Hash>,
    /// The length of the content in bytes.
    pub length: Option<u64>,
    /// What the content is.
    pub kind: PointsTo,
}

impl Pointer {
    /// The text that is signed. Each value in it is written in one way only.
    fn payload(&self) -> String {
        let name = serde_json::to_string(self.id.name.as_str()).expect("a text is JSON");
        let mut text = format!(
            r#"[{{"Latest":{{"ed25519":"{}","name":{name},"sha256":"{}","seq":{}"#,
            self.id.key,
            HEXLOWER.encode(&self.sha256),
            self.seq,
        );
        if let Some(blake3) = &self.blake3 {
            text += &format!(r#","blake3":"{}""#, HEXLOWER.encode(blake3));
        }
        if let Some(length) = self.length {
            text += &format!(r#","length":{length}"#);
        }
        if self.kind == PointsTo::Folder {
            text += r#","kind":"folder""#;
        }
        text + "}}]"
    }
}

/// A pointer as it came: it is well formed, and nothing shows that it was signed by who it says.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// What it says.
    pub pointer: Pointer,
    message: &'a SignedMessage<'a>,
}

#[derive(Deserialize)]
struct Element<'a> {
    #[serde(borrow, rename = "Latest")]
    latest: Fields<'a>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    ed25519: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    sha256: Cow<'a, str>,
    seq: u64,
    #[serde(borrow, default)]
    blake3: Option<Cow<'a, str>>,
    #[serde(default)]
    length: Option<u64>,
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
}

impl<'a> Claim<'a> {
    /// Reads what a signed message says, before anything is verified; `None` where it is no pointer, or not by the key that it names.
    pub fn read(message: &'a SignedMessage<'_>) -> Option<Claim<'a>> {
        // One message alone.
        let [Element { latest }] = serde_json::from_str::<[Element<'_>; 1]>(&message.payload).ok()?;
        let key = PublicKey::parse(&latest.ed25519).filter(|key| *key == message.key)?;
        let kind = match latest.kind.as_deref() {
            None | Some("file") => PointsTo::File,
            Some("folder") => PointsTo::Folder,
            // What it is, this version does not know.
            Some(_) => return None,
        };
        let blake3 = match latest.blake3 {
            Some(digits) => Some(hash(&digits)?),
            None => None,
        };
        // The list of a folder has this id and no other.
        if latest.seq >= SEQ_LIMIT || (kind == PointsTo::Folder && blake3.is_none()) {
            return None;
        }
        let pointer = Pointer {
            id: PointerId { key, name: PointerName::new(&latest.name).ok()? },
            sha256: hash(&latest.sha256)?,
            seq: latest.seq,
            blake3,
            length: latest.length.filter(|length| *length < SEQ_LIMIT),
            kind,
        };
        Some(Claim { pointer, message })
    }

    /// Whether these are the very bytes of `known`, which was verified already.
    pub fn is_same_as(&self, known: &SignedPointer) -> bool {
        self.message.signature == known.message.signature && self.message.payload == known.message.payload
    }

    /// Verifies it, which takes a while.
    pub fn verify(self) -> Option<SignedPointer> {
        if !self.message.is_right() {
            return None;
        }
        Some(SignedPointer { pointer: self.pointer, message: self.message.clone().into_owned() })
    }
}

fn hash(digits: &str) -> Option<Hash> {
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?.try_into().ok()
}

/// A pointer that was signed by the key that it names: verified, or signed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPointer {
    pointer: Pointer,
    /// As it came, to be passed on unchanged.
    message: SignedMessage<'static>,
}

impl SignedPointer {
    /// Signs what a name of this key stands for from now on.
    pub fn sign(key: &SigningKey, mut pointer: Pointer) -> SignedPointer {
        pointer.id.key = key.public();
        let message = SignedMessage::sign(key, pointer.payload());
        SignedPointer { pointer, message }
    }

    /// Reads and verifies what [`SignedPointer::to_json`] gave.
    pub fn read(json: &str) -> Option<SignedPointer> {
        Claim::read(&SignedMessage::read(json)?)?.verify()
    }

    /// What it says.
    pub fn pointer(&self) -> &Pointer {
        &self.pointer
    }

    /// The payload of a [`Message::SignedMessage`](crate::message::Message::SignedMessage), to be passed on.
    pub fn to_json(&self) -> String {
        self.message.to_json()
    }

    /// Whether it is of a later time than `other` of the same name. Of two of one time, which no honest publisher signs, the first
    /// that came stays.
    pub fn is_newer_than(&self, other: &SignedPointer) -> bool {
        self.pointer.seq > other.pointer.seq
    }
}

/// The number for the next pointer: the time, in seconds since 1970, and more than any number seen for this name, so that a clock that
/// was set back does no harm. `None` where there are no more numbers.
pub fn next_seq(now_s: u64, greatest: Option<u64>) -> Option<u64> {
    let seq = greatest.map_or(now_s, |greatest| now_s.max(greatest.saturating_add(1)));
    (seq < SEQ_LIMIT).then_some(seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[3; 32])
    }

    fn any_pointer() -> impl Strategy<Value = Pointer> {
        let name =
            "[a-zA-Z0-9é\" ]{1,20}(/[a-z]{1,5}){0,3}".prop_map(|name| PointerName::new(&name).unwrap());
        let kind = prop_oneof![Just(PointsTo::File), Just(PointsTo::Folder)];
        let fields =
            (any::<Hash>(), 0..SEQ_LIMIT, any::<Option<Hash>>(), proptest::option::of(0..SEQ_LIMIT), kind);
        (name, fields).prop_map(|(name, (sha256, seq, blake3, length, kind))| {
            let blake3 = blake3.or((kind == PointsTo::Folder).then_some([7; 32]));
            Pointer { id: PointerId { key: key().public(), name }, sha256, seq, blake3, length, kind }
        })
    }

    proptest! {
        #[test]
        fn what_was_signed_reads_back_and_nothing_that_was_changed_does(pointer in any_pointer(), at: usize, to in "[0-9a-z]") {
            let signed = SignedPointer::sign(&key(), pointer.clone());
            prop_assert_eq!(signed.pointer(), &pointer);
            let json = signed.to_json();
            prop_assert_eq!(SignedPointer::read(&json), Some(signed.clone()));
            let places: Vec<usize> = json.char_indices().filter(|(_, c)| c.is_ascii()).map(|(at, _)| at).collect();
            let at = places[at % places.len()];
            let mut other = json.clone();
            other.replace_range(at..=at, &to);
            // In another spelling it may still be the same.
            if let Some(read) = SignedPointer::read(&other) {
                prop_assert_eq!(read, signed);
            }
        }

        #[test]
        fn the_next_number_is_new_and_not_before_the_time(now: u64, greatest: Option<u64>) {
            match next_seq(now, greatest) {
                Some(seq) => {
                    prop_assert!(seq >= now && seq < SEQ_LIMIT);
                    prop_assert!(greatest.is_none_or(|greatest| seq > greatest));
                    prop_assert!(seq == now || Some(seq - 1) == greatest);
                }
                None => prop_assert!(now >= SEQ_LIMIT || greatest.is_some_and(|greatest| greatest >= SEQ_LIMIT - 1)),
            }
        }
    }

    /// A pointer of which these fields were written by hand, signed as it is.
    fn claimed(fields: &str, signer: &SigningKey) -> Option<SignedPointer> {
        let payload = format!(r#"[{{"Latest":{{{fields}}}}}]"#);
        Claim::read(&SignedMessage::sign(signer, payload))?.verify()
    }

    #[test]
    fn another_order_and_more_fields_are_taken_and_passed_on_unchanged() {
        let (key, hash) = (key().public(), "ab".repeat(32));
        let fields = format!(r#""seq":7,"more":[1],"sha256":"0x{hash}","name":"a b","ed25519":"{key}" "#);
        let read = claimed(&fields, &super::tests::key()).unwrap();
        assert_eq!(
            (read.pointer().seq, read.pointer().kind, read.pointer().blake3),
            (7, PointsTo::File, None)
        );
        assert!(read.to_json().contains("more"));
        assert_eq!(SignedPointer::read(&read.to_json()), Some(read));
    }

    #[test]
    fn what_is_no_pointer_is_refused_though_it_is_signed() {
        let (signer, hash) = (key(), "ab".repeat(32));
        let key = signer.public();
        let good = format!(r#""ed25519":"{key}","name":"a","sha256":"{hash}","seq":7"#);
        assert!(claimed(&good, &signer).is_some());
        for (from, to) in [
            (&*key.to_string(), &*SigningKey::from_seed(&[4; 32]).public().to_string()),
            ("\"a\"", "\"../a\""),
            ("\"a\"", "\"\""),
            ("\"a\"", "7"),
            (&*hash, &hash[1..]),
            ("7", "7.5"),
            ("7", "-7"),
            ("7", "9007199254740992"),
            ("7", "7,\"kind\":\"folder\""),
            ("7", "7,\"kind\":\"wormhole\""),
            ("7", "7,\"blake3\":\"ab\""),
            ("7", "7,\"seq\":8"),
        ] {
            let fields = good.replacen(from, to, 1);
            // The digit is in the key too.
            let fields =
                if from == "7" { format!("{}{to}", good.strip_suffix('7').unwrap()) } else { fields };
            assert_eq!(claimed(&fields, &signer), None, "{fields}");
        }
        let twice = format!(r#"[{{"Latest":{{{good}}}}},{{"Latest":{{{good}}}}}]"#);
        let nested = SignedMessage::sign(&signer, format!(r#"[{{"Latest":{{{good}}}}}]"#)).to_json();
        let nested = format!(r#"[{{"SignedMessage":{nested}}}]"#);
        for payload in [&*twice, &*nested, "[]", "{}", "", "[7]"] {
            assert!(Claim::read(&SignedMessage::sign(&signer, payload)).is_none(), "{payload}");
        }
        // Signed by another than who it names, and by nobody.
        let payload = format!(r#"[{{"Latest":{{{good}}}}}]"#);
        let mut forged = SignedMessage::sign(&SigningKey::from_seed(&[4; 32]), payload);
        assert!(Claim::read(&forged).is_none());
        forged.key = key;
        assert!(Claim::read(&forged).is_some_and(|claim| claim.verify().is_none()));
    }

    #[test]
    fn of_two_pointers_the_one_with_the_greater_number_is_newer() {
        let at = |seq| {
            let id = PointerId { key: key().public(), name: PointerName::new("a").unwrap() };
            SignedPointer::sign(
                &key(),
                Pointer { id, sha256: [1; 32], seq, blake3: None, length: None, kind: PointsTo::File },
            )
        };
        assert!(at(8).is_newer_than(&at(7)) && !at(7).is_newer_than(&at(8)) && !at(7).is_newer_than(&at(7)));
    }
}
