//! Hosts of their own for what a key publishes: `BASE32.localhost`. Scripts there reach nothing of any other origin.
//!
//! The key is in base32 because a label of a host name has 63 letters at the most, and 64 hex digits are one too many.

use cjp2p_wire::signed::PublicKey;
use data_encoding::BASE32_NOPAD;

/// The key whose site this host is, in lower case and without a port.
pub fn key_of_host(host: &str) -> Option<PublicKey> {
    let label = host.strip_suffix(".localhost")?;
    if label.len() != 52 || label.bytes().any(|letter| letter.is_ascii_uppercase()) {
        return None;
    }
    let bytes = BASE32_NOPAD.decode(label.to_ascii_uppercase().as_bytes()).ok()?;
    Some(PublicKey::from_bytes(bytes.try_into().ok()?))
}

/// The host of this key's site.
pub fn host_of_key(key: &PublicKey) -> String {
    format!("{}.localhost", BASE32_NOPAD.encode(key.as_bytes()).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_one_host_and_nothing_else_is_one() {
        for byte in [0, 1, 127, 255] {
            let key = PublicKey::from_bytes([byte; 32]);
            let host = host_of_key(&key);
            assert_eq!(host.len(), 62);
            assert_eq!(key_of_host(&host), Some(key));
            assert_eq!(key_of_host(&host.to_ascii_uppercase()), None);
            assert_eq!(key_of_host(&host[1..]), None);
        }
        // Bits that the last letter has too many.
        assert_eq!(key_of_host(&format!("{}b.localhost", "a".repeat(51))), None);
        assert_eq!(key_of_host(&"a".repeat(52)), None);
        assert_eq!(key_of_host(&format!("{}.localhost.evil", "a".repeat(52))), None);
    }
}
