//! Two drivers on loopback move a torrent between their stores.

use std::collections::BTreeMap;
use std::io::{Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cjp2p_torrent::peer_id::PeerId;
use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_torrent::pieces::Pieces;
use cjp2p_torrent::public::Origin;
use cjp2p_torrent::swarm::{Config, Torrent};

use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::store::{PieceStore, Read};
use cjp2p_torrent::swarm::{Event, Swarm};
use cjp2p_wire::time::Time;

use super::incoming::MAX_GREETING;
use super::{Driver, SwarmId};
use crate::tcp;

const PIECE: u32 = 64 << 10;
const COUNT: u32 = 40;

/// A store in memory, where a piece is right if it is all of its number.
#[derive(Default)]
struct Memory {
    pieces: BTreeMap<u32, Vec<u8>>,
    checked: Vec<(u32, bool)>,
}

impl Memory {
    fn full() -> Memory {
        Memory {
            pieces: (0..COUNT).map(|n| (n, vec![n as u8; PIECE as usize])).collect(),
            checked: Vec::new(),
        }
    }

    fn is_right(&self, piece: u32) -> bool {
        self.pieces.get(&piece).is_some_and(|bytes| bytes.iter().all(|byte| *byte == piece as u8))
    }
}

impl PieceStore for Memory {
    fn write_block(&mut self, piece: u32, begin: u32, block: &[u8]) {
        let bytes = self.pieces.entry(piece).or_insert_with(|| vec![0xff; PIECE as usize]);
        bytes[begin as usize..begin as usize + block.len()].copy_from_slice(block);
    }

    fn check(&mut self, piece: u32) {
        self.checked.push((piece, self.is_right(piece)));
    }

    fn forget(&mut self, _: u32) {}

    fn read_block(&mut self, piece: u32, begin: u32, into: &mut [u8]) -> Read {
        let Some(bytes) = self.pieces.get(&piece) else { return Read::Gone };
        into.copy_from_slice(&bytes[begin as usize..begin as usize + into.len()]);
        Read::Found
    }

    fn room(&self) -> u64 {
        1 << 20
    }
}

struct Side {
    driver: Driver<Memory>,
    id: SwarmId,
    events: Vec<Event>,
}

fn torrent() -> (Torrent, Vec<u8>) {
    let info: Arc<[u8]> = vec![7; 40_000].into();
    let info_hash = InfoHash::of(&info);
    let pieces = Pieces::new(u64::from(PIECE * COUNT), PIECE).unwrap();
    (Torrent { info_hash, pieces, info: info.clone(), is_private: false }, info.to_vec())
}

fn config(seed: u64) -> Config {
    Config { allow_private: true, ..Config::new(PeerId::from_bytes([seed as u8; 20]), seed) }
}

impl Side {
    fn new(swarm: Swarm, store: Option<Memory>) -> Side {
        let mut driver = Driver::new().unwrap();
        let id = driver.add(Time::ZERO, swarm, store);
        Side { driver, id, events: Vec::new() }
    }

    fn seed() -> (Side, SocketAddr) {
        let (all, none) = (PieceSet::all(COUNT), PieceSet::none(COUNT));
        let swarm = Swarm::new(Time::ZERO, torrent().0, all, &none, config(1));
        let mut side = Side::new(swarm, Some(Memory::full()));
        let address = side.driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        (side, address)
    }

    fn turn(&mut self, now: Time) {
        self.driver.turn(now).unwrap();
        self.driver.call(now, self.id, |swarm, store| {
            for (piece, is_right) in store.map(|store| std::mem::take(&mut store.checked)).unwrap_or_default()
            {
                swarm.on_checked(now, piece, is_right);
            }
        });
        while let Some((_, event)) = self.driver.next_event() {
            self.events.push(event);
        }
    }
}

/// Turns all until `done`, for a minute at the most.
fn run(sides: &mut [&mut Side], mut done: impl FnMut(&mut [&mut Side], Time) -> bool) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let now = Time::ZERO + start.elapsed();
        sides.iter_mut().for_each(|side| side.turn(now));
        if done(sides, now) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it takes too long");
}

#[test]
fn a_torrent_moves_from_one_store_to_the_other() {
    let (mut seed, address) = Side::seed();
    let none = PieceSet::none(COUNT);
    let swarm = Swarm::new(Time::ZERO, torrent().0, none.clone(), &none, config(2));
    let mut getter = Side::new(swarm, Some(Memory::default()));
    getter.driver.call(Time::ZERO, getter.id, |swarm, _| swarm.add_peer(Time::ZERO, address, Origin::User));
    run(&mut [&mut seed, &mut getter], |sides, _| sides[1].events.contains(&Event::Complete));
    assert!((0..COUNT).all(|piece| getter.driver.store(getter.id).unwrap().is_right(piece)));
    // Two that have everything have nothing to say to each other.
    run(&mut [&mut seed, &mut getter], |sides, _| sides.iter().all(|side| side.driver.connections() == 0));
    let id = getter.id;
    assert!(getter.driver.remove(id).is_some() && getter.driver.ids().next().is_none());
    assert!(seed.events.iter().any(|event| matches!(event, Event::Disconnected(..))));
}

#[test]
fn a_torrent_of_which_only_the_hash_is_known_gets_its_store_with_its_metadata() {
    let (mut seed, address) = Side::seed();
    let (torrent, info) = torrent();
    let swarm = Swarm::from_magnet(Time::ZERO, torrent.info_hash, config(2));
    let mut getter = Side::new(swarm, None);
    getter.driver.call(Time::ZERO, getter.id, |swarm, _| swarm.add_peer(Time::ZERO, address, Origin::User));
    run(&mut [&mut seed, &mut getter], |sides, now| {
        let getter = &mut *sides[1];
        if let Some(Event::Metadata(found)) =
            getter.events.iter().find(|event| matches!(event, Event::Metadata(_)))
            && getter.driver.store(getter.id).is_none()
        {
            assert!(*found == info);
            getter.driver.set_store(getter.id, Memory::default());
            let none = PieceSet::none(COUNT);
            getter
                .driver
                .call(now, getter.id, |swarm, _| swarm.start(now, torrent.clone(), none.clone(), &none));
        }
        getter.events.contains(&Event::Complete)
    });
    assert!((0..COUNT).all(|piece| getter.driver.store(getter.id).unwrap().is_right(piece)));
}

#[test]
fn callers_that_say_nothing_or_want_something_else_are_let_go_and_more_are_taken() {
    let (mut seed, address) = Side::seed();
    let mut silent: Vec<TcpStream> =
        (0..MAX_GREETING).map(|_| TcpStream::connect(address).unwrap()).collect();
    run(&mut [&mut seed], |sides, _| sides[0].driver.connections() == MAX_GREETING);
    let mut other = TcpStream::connect(address).unwrap();
    other.write_all(&[0x13; 68]).unwrap();
    run(&mut [&mut seed], |sides, _| sides[0].driver.connections() == MAX_GREETING - 1);
    silent.truncate(3);
    run(&mut [&mut seed], |sides, _| sides[0].driver.connections() == 2);
    // And the rest after their time.
    let later = Time::ZERO + Duration::from_secs(120);
    seed.driver.turn(later).unwrap();
    assert_eq!(seed.driver.connections(), 0);
}

#[test]
fn who_calls_when_there_are_as_many_connections_as_may_be_is_turned_away_and_later_taken() {
    let (mut seed, address) = Side::seed();
    seed.driver.max_links = 3;
    let here: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    run(&mut [&mut seed], |sides, _| sides[0].driver.connections() == 3);
    let mut other = TcpStream::connect(address).unwrap();
    other.set_nonblocking(true).unwrap();
    run(&mut [&mut seed], |sides, _| {
        assert!(sides[0].driver.connections() <= 3);
        matches!(other.read(&mut [0]), Ok(0))
    });
    drop(here);
    run(&mut [&mut seed], |sides, _| sides[0].driver.connections() == 0);
    let _later = TcpStream::connect(address).unwrap();
    run(&mut [&mut seed], |sides, _| sides[0].driver.connections() == 1);
    // Nor is anybody called while there is no room.
    let (torrent, none) = (torrent().0, PieceSet::none(COUNT));
    let swarm = Swarm::new(Time::ZERO, torrent, none.clone(), &none, config(2));
    let mut getter = Side::new(swarm, Some(Memory::default()));
    getter.driver.max_links = 0;
    getter.driver.call(Time::ZERO, getter.id, |swarm, _| swarm.add_peer(Time::ZERO, address, Origin::User));
    getter.turn(Time::ZERO);
    assert_eq!(getter.driver.connections(), 0);
}

#[test]
fn who_cannot_be_reached_is_told_to_the_swarm() {
    let free = tcp::listen("127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap();
    let (torrent, none) = (torrent().0, PieceSet::none(COUNT));
    let swarm = Swarm::new(Time::ZERO, torrent, none.clone(), &none, config(2));
    let mut getter = Side::new(swarm, Some(Memory::default()));
    getter.driver.call(Time::ZERO, getter.id, |swarm, _| swarm.add_peer(Time::ZERO, free, Origin::User));
    run(&mut [&mut getter], |sides, _| sides[0].driver.connections() == 0);
    assert!(getter.driver.timeout() > Time::ZERO);
}
