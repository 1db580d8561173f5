//! Keys of Ed25519 (RFC 8032) as values: who signs, and by which digits others know it.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ed25519_dalek::{Signer, VerifyingKey};

/// Bytes of a signature.
const SIGNATURE_LEN: usize = 64;

/// Who signs, as others know it: 64 hex digits. Any 32 bytes are one; of those that are no key nothing is ever right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> PublicKey {
        PublicKey(bytes)
    }

    /// Reads 64 hex digits of either case, after `0x` or not. On the wire there is one spelling, which [`fmt::Display`] gives: it is
    /// part of what is signed.
    pub fn parse(text: &str) -> Option<PublicKey> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() != 64 {
            return None;
        }
        HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?.try_into().ok().map(PublicKey)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the owner of this key signed these bytes. Takes about as long as hashing 100 KiB does.
    ///
    /// By the strict rule: one signature is not right for two keys, nor for two texts, as keys of small order would allow.
    pub fn verifies(&self, bytes: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(bytes, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The secret of a publisher. It is never printed, nor part of any message.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key that this seed makes: 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> SigningKey {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The seed, to be kept in a file that nobody else reads.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The key by which others know it.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs these bytes. The same bytes give the same signature.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(bytes).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the secret of {}", self.public())
    }
}

/// A signature, right or wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; SIGNATURE_LEN]);

impl Signature {
    /// The signature of these bytes.
    pub fn from_bytes(bytes: [u8; SIGNATURE_LEN]) -> Signature {
        Signature(bytes)
    }

    /// Reads standard base64, padded or not.
    pub fn parse(text: &str) -> Option<Signature> {
        let text = text.trim_end_matches('=');
        base64_simd::STANDARD_NO_PAD.decode_to_vec(text).ok()?.try_into().ok().map(Signature)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; SIGNATURE_LEN] {
        &self.0
    }
}

/// As it is on the wire: padded standard base64, 88 characters.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64_simd::STANDARD.encode_to_string(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_one_key_signs_is_right_for_it_alone_and_for_no_other_bytes(seed: [u8; 32], other: [u8; 32], text: Vec<u8>, at: usize, bit in 0..8u32) {
            let key = SigningKey::from_seed(&seed);
            let signature = key.sign(&text);
            prop_assert!(key.public().verifies(&text, &signature));
            prop_assert_eq!(SigningKey::from_seed(&other).public().verifies(&text, &signature), seed == other);
            let mut changed = text.clone();
            changed.push(7);
            let at_text = at % changed.len();
            changed[at_text] ^= 1 << bit;
            prop_assert!(!key.public().verifies(&changed, &signature));
            let mut bytes = *signature.as_bytes();
            bytes[at % SIGNATURE_LEN] ^= 1 << bit;
            prop_assert!(!key.public().verifies(&text, &Signature::from_bytes(bytes)));
        }

        #[test]
        fn keys_and_signatures_read_back_from_their_spelling(key: [u8; 32], signature: Vec<u8>) {
            let key = PublicKey::from_bytes(key);
            let text = key.to_string();
            for spelling in [text.clone(), text.to_uppercase(), format!("0x{text}")] {
                prop_assert_eq!(PublicKey::parse(&spelling), Some(key));
            }
            for end in [0, 63] {
                prop_assert_eq!(PublicKey::parse(&text[..end]), None);
            }
            let bytes = <[u8; 64]>::try_from([signature, vec![9; 64]].concat()[..64].to_vec()).unwrap();
            let text = Signature::from_bytes(bytes).to_string();
            prop_assert_eq!(text.len(), 88);
            prop_assert_eq!(Signature::parse(&text), Some(Signature::from_bytes(bytes)));
            prop_assert_eq!(Signature::parse(text.trim_end_matches('=')), Some(Signature::from_bytes(bytes)));
            prop_assert_eq!(Signature::parse(&text[..84]), None);
        }
    }

    #[test]
    fn a_key_of_small_order_signs_nothing() {
        // The neutral element, and a signature of R = neutral, s = 0: a lax verifier takes it for every text.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!PublicKey::from_bytes(neutral).verifies(b"anything", &Signature::from_bytes(signature)));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let key = SigningKey::from_seed(&[0xab; 32]);
        let shown = format!("{key:?}");
        assert!(!shown.contains("abab") && shown.contains(&key.public().to_string()), "{shown}");
    }
}
