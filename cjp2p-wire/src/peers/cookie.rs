//! Our cookies: what a source must return to show that its address is not forged.
//!
//! An unvalidated source costs no memory: a cookie is a keyed hash of the address and of the present period, and is computed
//! again to check it.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use crate::content_id::Hash;
use crate::time::Time;

/// How long new cookies stay the same; a cookie is accepted for one such period more.
pub const PERIOD: Duration = Duration::from_secs(300);

/// The length of a cookie's text: 128 bits in base64.
pub const COOKIE_LEN: usize = 22;

/// What a returned cookie shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// It is the present one for that address.
    Current,
    /// It is the one before: still good, to be replaced.
    Previous,
    /// It is not ours, not for that address, or too old.
    None,
}

type Text = [u8; COOKIE_LEN];

/// Makes and checks cookies.
#[derive(Clone)]
pub struct CookieMint {
    secret: Hash,
    /// What was computed last: a source's datagrams come one after another.
    last: Cell<Option<(u64, SocketAddr, Text)>>,
}

impl CookieMint {
    /// A mint with this secret, which no other node may know.
    pub fn new(secret: Hash) -> CookieMint {
        CookieMint { secret, last: Cell::new(None) }
    }

    /// The present cookie for `address`.
    pub fn mint(&self, now: Time, address: SocketAddr) -> String {
        self.text(period(now), address).iter().copied().map(char::from).collect()
    }

    /// What `cookie` shows when it comes from `address`.
    pub fn check(&self, now: Time, address: SocketAddr, cookie: &str) -> Validation {
        let Ok(given) = Text::try_from(cookie.as_bytes()) else { return Validation::None };
        let period = period(now);
        if equal(given, self.text(period, address)) {
            Validation::Current
        } else if period > 0 && equal(given, self.text(period - 1, address)) {
            Validation::Previous
        } else {
            Validation::None
        }
    }

    fn text(&self, period: u64, address: SocketAddr) -> Text {
        if let Some((of, for_whom, text)) = self.last.get()
            && (of, for_whom) == (period, address)
        {
            return text;
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&period.to_le_bytes());
        match address.ip() {
            IpAddr::V4(ip) => hasher.update(&ip.octets()),
            IpAddr::V6(ip) => hasher.update(&ip.octets()),
        };
        hasher.update(&address.port().to_le_bytes());
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        let mut text = [0; COOKIE_LEN];
        BASE64URL_NOPAD.encode_mut(&bytes, &mut text);
        self.last.set(Some((period, address, text)));
        text
    }
}

fn period(now: Time) -> u64 {
    now.as_nanos() / PERIOD.as_nanos() as u64
}

/// Compares in constant time, as `blake3::Hash` promises.
fn equal(a: Text, b: Text) -> bool {
    let widen = |text: Text| {
        let mut wide = [0; 32];
        wide[..COOKIE_LEN].copy_from_slice(&text);
        blake3::Hash::from_bytes(wide)
    };
    widen(a) == widen(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "192.0.2.1:24254";

    fn mint() -> (CookieMint, SocketAddr) {
        (CookieMint::new([7; 32]), PEER.parse().unwrap())
    }

    #[test]
    fn a_cookie_proves_its_own_address_only() {
        let (mint, peer) = mint();
        let cookie = mint.mint(Time::ZERO, peer);
        assert_eq!(cookie.len(), COOKIE_LEN);
        assert_eq!(mint.check(Time::ZERO, peer, &cookie), Validation::Current);
        for other in ["192.0.2.2:24254", "192.0.2.1:24255", "[2001:db8::1]:24254"] {
            assert_eq!(mint.check(Time::ZERO, other.parse().unwrap(), &cookie), Validation::None);
        }
        let stranger = CookieMint::new([8; 32]);
        assert_eq!(stranger.check(Time::ZERO, peer, &cookie), Validation::None);
    }

    #[test]
    fn a_cookie_ages_in_two_periods() {
        let (mint, peer) = mint();
        let cookie = mint.mint(Time::from_millis(299_000), peer);
        assert_eq!(mint.check(Time::from_millis(301_000), peer, &cookie), Validation::Previous);
        assert_eq!(mint.check(Time::from_millis(599_999), peer, &cookie), Validation::Previous);
        assert_eq!(mint.check(Time::from_millis(660_000), peer, &cookie), Validation::None);
    }

    #[test]
    fn text_that_is_no_cookie_proves_nothing() {
        let (mint, peer) = mint();
        let cookie = mint.mint(Time::ZERO, peer);
        for text in ["", "x", &cookie[1..], &format!("{cookie}A"), "!!!!!!!!!!!!!!!!!!!!!!", "äöüäöüäöüäö"]
        {
            assert_eq!(mint.check(Time::ZERO, peer, text), Validation::None, "{text}");
        }
    }
}
