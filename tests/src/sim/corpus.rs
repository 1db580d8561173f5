//! Datagrams that our own nodes send each other, and what becomes of them in careless or hostile hands.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::{Link, Peer, World};
use crate::content;

/// Datagrams kept at the most.
const MOST: usize = 2000;

/// What two nodes say to each other while one fetches `length` bytes from the other, by either id.
pub fn conversation(length: usize) -> Vec<Vec<u8>> {
    let bytes = content::bytes(1, length);
    let said = Rc::new(RefCell::new(Vec::new()));
    let heard = said.clone();
    let mut world = World::new(1);
    world.watch(move |_, _, _, datagram| {
        let mut said = heard.borrow_mut();
        if said.len() < MOST {
            said.push(datagram.to_vec());
        }
    });
    let at = |host: u8| SocketAddr::from(([10, 0, 0, host], 24254));
    let mut server = Peer::new(2);
    server.store.share(bytes.clone(), None);
    world.add(at(2), Link { loss: 0.02, ..Link::rated(20, 10, 128 << 10) }, server);
    for (host, id) in [(3, content::blake3_id(&bytes)), (4, content::sha256_id(&bytes))] {
        world.add(at(host), Link::default(), Peer::new(host.into()));
        world.with_peer(at(host), |peer, now| peer.fetch(now, &id, &[at(2)]));
    }
    world.run_for(Duration::from_secs(60));
    drop(world);
    Rc::try_unwrap(said).map_or_else(|shared| shared.borrow().clone(), RefCell::into_inner)
}

/// Changes a datagram as a line, a bug or an enemy may.
pub fn mutate(random: &mut fastrand::Rng, datagram: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..random.usize(1..4) {
        if datagram.is_empty() {
            return;
        }
        let at = random.usize(0..datagram.len());
        match random.u8(0..7) {
            0 => datagram[at] = random.u8(..),
            1 => datagram[at] ^= 1 << random.u8(0..8),
            2 => datagram.truncate(at),
            3 => drop(datagram.drain(at..(at + random.usize(1..40)).min(datagram.len()))),
            4 => {
                let piece = datagram[at..(at + random.usize(1..200)).min(datagram.len())].to_vec();
                let to = random.usize(0..=datagram.len());
                datagram.splice(to..to, piece);
            }
            5 => {
                let other = &others[random.usize(0..others.len())];
                let from = random.usize(0..=other.len());
                datagram.truncate(at);
                datagram.extend_from_slice(&other[from..]);
            }
            // Numbers grow and shrink.
            _ => {
                if let Some(digit) = datagram[at..].iter().position(u8::is_ascii_digit) {
                    datagram[at + digit] = b'0' + random.u8(0..10);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_has_questions_and_answers_and_changes_can_be_made_to_it() {
        let mut said = conversation(50_000);
        let has = |kind: &str| said.iter().any(|d| String::from_utf8_lossy(d).contains(kind));
        assert!(has("PleaseSendContent") && has("\"Content\"") && has("AlwaysReturned"));
        let before = said.clone();
        let mut random = fastrand::Rng::with_seed(1);
        for datagram in &mut said {
            mutate(&mut random, datagram, &before);
        }
        let changed = said.iter().zip(&before).filter(|(now, before)| now != before).count();
        assert!(changed * 10 > said.len() * 8, "{changed} of {}", said.len());
    }
}
