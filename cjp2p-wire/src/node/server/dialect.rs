//! How far an address was seen to go in returning cookies, so that its next bare request is answered in words that it understands.
//!
//! It is noted only of an address that returned a cookie of ours, so nobody can have it noted of another. It decides no more than which
//! of two answers an unvalidated source gets, both within the same limit of bytes. All addresses share a table of fixed size, which forgets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::content_id::Hash;
use crate::time::Time;

/// How long it is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Addresses remembered, at most.
const PLACES: usize = 1024;

/// What a node was seen to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// A value once, though it was asked to return another beside every message: the oldest nodes know no better.
    Echoes,
    /// A cookie beside its messages, or it asked for the return of its own.
    Cookies,
}

#[derive(Clone, Copy, Debug)]
struct Noted {
    /// Of which address, as far as a few bits tell.
    tag: u32,
    dialect: Dialect,
    until: Time,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Dialects {
    /// Empty until there is something to note.
    places: Vec<Option<Noted>>,
}

impl Dialects {
    /// Notes what an address was seen to return.
    pub(super) fn note(&mut self, now: Time, of: SocketAddr, dialect: Dialect, secret: &Hash) {
        if self.places.is_empty() {
            self.places = vec![None; PLACES];
        }
        let (place, tag) = place_of(of, secret);
        if let Some(place) = self.places.get_mut(place) {
            *place = Some(Noted { tag, dialect, until: now + REMEMBERED });
        }
    }

    /// What an address was seen to return lately.
    pub(super) fn of(&self, now: Time, address: SocketAddr, secret: &Hash) -> Option<Dialect> {
        let (place, tag) = place_of(address, secret);
        let noted = (*self.places.get(place)?)?;
        (noted.tag == tag && now < noted.until).then_some(noted.dialect)
    }
}

/// The place of an address, which nobody can compute without the secret, and a few bits to tell it from others there.
fn place_of(address: SocketAddr, secret: &Hash) -> (usize, u32) {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_le_bytes());
    let hash = blake3::keyed_hash(secret, &bytes);
    let (words, _) = hash.as_bytes().as_chunks::<4>();
    (u32::from_le_bytes(words[0]) as usize % PLACES, u32::from_le_bytes(words[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Hash = [7; 32];

    fn at(n: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from_bits(n), 24254))
    }

    #[test]
    fn what_an_address_returned_is_known_for_a_minute_and_of_no_other() {
        let mut dialects = Dialects::default();
        assert_eq!(dialects.of(Time::ZERO, at(1), &SECRET), None);
        dialects.note(Time::ZERO, at(1), Dialect::Cookies, &SECRET);
        dialects.note(Time::ZERO, at(1), Dialect::Echoes, &SECRET);
        let later = Time::from_millis(59_999);
        assert_eq!(dialects.of(later, at(1), &SECRET), Some(Dialect::Echoes));
        assert_eq!(dialects.of(Time::from_millis(60_000), at(1), &SECRET), None);
        assert!((2..100_000).all(|n| dialects.of(later, at(n), &SECRET).is_none()));
    }

    #[test]
    fn a_million_addresses_share_the_same_memory() {
        let mut dialects = Dialects::default();
        (0..1_000_000).for_each(|n| dialects.note(Time::ZERO, at(n), Dialect::Cookies, &SECRET));
        assert_eq!(dialects.places.capacity(), PLACES);
    }
}
