//! Messages under a signature: the text of an array of messages, who says it, and the signature.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Deserialize;

use super::key::{PublicKey, Signature, SigningKey};

/// The text of a longer payload, in bytes, is not read: a block of a stream is the longest that anybody signs, 4,096 bytes in base64.
pub const MAX_PAYLOAD_LEN: usize = 8 << 10;

/// The payload of [`Message::SignedMessage`](crate::message::Message::SignedMessage). Nothing shows yet that the signature is
/// right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedMessage<'a> {
    /// Who says it.
    pub key: PublicKey,
    /// The signature of the payload's bytes.
    pub signature: Signature,
    /// The text of a JSON array of messages, exactly as it was signed.
    pub payload: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    ed25519: Cow<'a, str>,
    #[serde(borrow)]
    signature: Cow<'a, str>,
    #[serde(borrow, default)]
    payload_json: Option<Cow<'a, str>>,
    /// The older form: the same bytes in base64.
    #[serde(borrow, default)]
    payload: Option<Cow<'a, str>>,
}

impl<'a> SignedMessage<'a> {
    /// Signs the text of an array of messages.
    pub fn sign(key: &SigningKey, payload: impl Into<Cow<'a, str>>) -> SignedMessage<'a> {
        let payload = payload.into();
        SignedMessage { key: key.public(), signature: key.sign(payload.as_bytes()), payload }
    }

    /// Whether the signature is right. Takes a while: whatever can be seen to be of no use without it should be.
    pub fn is_right(&self) -> bool {
        self.key.verifies(self.payload.as_bytes(), &self.signature)
    }

    /// Reads it from JSON: unknown fields are passed over, and of both forms of a payload the newer one counts.
    pub fn read(json: &'a str) -> Option<SignedMessage<'a>> {
        // Each byte of a payload takes six at the most, as an escape, and the rest is short.
        if json.len() > 6 * MAX_PAYLOAD_LEN + 1024 {
            return None;
        }
        let fields: Fields<'a> = serde_json::from_str(json).ok()?;
        let payload = match (fields.payload_json, fields.payload) {
            (Some(payload), _) => payload,
            (None, Some(payload)) => {
                let text = payload.trim_end_matches('=');
                let bytes = base64_simd::STANDARD_NO_PAD.decode_to_vec(text).ok()?;
                Cow::Owned(String::from_utf8(bytes).ok()?)
            }
            (None, None) => return None,
        };
        if payload.len() > MAX_PAYLOAD_LEN {
            return None;
        }
        let (key, signature) = (PublicKey::parse(&fields.ed25519)?, Signature::parse(&fields.signature)?);
        Some(SignedMessage { key, signature, payload })
    }

    /// As JSON, in the one form in which we write it.
    pub fn to_json(&self) -> String {
        let payload = serde_json::to_string(&self.payload).expect("a text is JSON");
        let mut json = String::with_capacity(payload.len() + 220);
        write!(
            json,
            r#"{{"ed25519":"{}","signature":"{}","payload_json":{payload}}}"#,
            self.key, self.signature
        )
        .expect("a String takes all that is written");
        json
    }

    /// The same, apart from the datagram that it came in.
    pub fn into_owned(self) -> SignedMessage<'static> {
        let SignedMessage { key, signature, payload } = self;
        SignedMessage { key, signature, payload: Cow::Owned(payload.into_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[3; 32])
    }

    proptest! {
        #[test]
        fn a_message_reads_back_in_both_forms_and_its_signature_is_right(payload in "\\PC{0,60}|[\"\\\\\u{0}-\u{20}é]{0,20}") {
            let signed = SignedMessage::sign(&key(), &*payload);
            prop_assert!(signed.is_right());
            let json = signed.to_json();
            prop_assert_eq!(SignedMessage::read(&json), Some(signed.clone()));
            let older = serde_json::json!({
                "ed25519": signed.key.to_string().to_uppercase(),
                "payload": base64_simd::STANDARD.encode_to_string(&payload),
                "signature": signed.signature.to_string(),
                "more": [1],
            });
            prop_assert_eq!(SignedMessage::read(&older.to_string()).map(SignedMessage::into_owned), Some(signed.into_owned()));
        }
    }

    #[test]
    fn what_is_none_is_not_read() {
        let signed = SignedMessage::sign(&key(), "[]");
        let json = signed.to_json();
        let long = SignedMessage::sign(&key(), "x".repeat(MAX_PAYLOAD_LEN + 1)).to_json();
        let longest = SignedMessage::sign(&key(), "\u{1}".repeat(MAX_PAYLOAD_LEN)).to_json();
        assert!(SignedMessage::read(&longest).is_some_and(|read| read.is_right()));
        for wrong in [
            "{}",
            "[]",
            "7",
            &json.replace("payload_json", "other"),
            &json.replace("\"[]\"", "[]"),
            &json.replace("payload_json\":\"[]", "payload\":\"/w=="),
            &json.replace("ed25519\":\"", "ed25519\":\"0"),
            &json.replace("signature\":\"", "signature\":\"AAAA"),
            &json.replace("{\"ed25519", "{\"ed25519\":\"\",\"ed25519"),
            &long,
        ] {
            assert_eq!(SignedMessage::read(wrong), None, "{wrong}");
        }
    }
}
