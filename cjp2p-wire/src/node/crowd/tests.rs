#![allow(clippy::single_range_in_vec_init, reason = "sets of one range")]

use super::*;

fn source(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], n))
}

/// So long after enough time for as many to be served as ever are.
fn at(seconds: u64) -> Time {
    Time::from_millis(10_000 + seconds * 1000)
}

/// What is asked for at a time.
const BLOCK: u64 = 4096;
const UNIT: u64 = 16 << 10;
const ID: ContentId = ContentId::Blake3([7; 32]);

fn full() -> Crowds {
    let mut crowds = Crowds::default();
    for n in 0..100 {
        crowds.join(Time::ZERO, &ID, source(n));
    }
    let served = (0..100).filter(|&n| crowds.serves(at(0), &ID, source(n), BLOCK)).count();
    assert_eq!(served, MAX_SLOTS);
    crowds
}

#[test]
fn who_was_sent_as_much_as_all_of_it_makes_room_at_once() {
    let mut crowds = full();
    crowds.on_given(at(0), &ID, source(3), 0..600, Some(1000));
    assert!(!crowds.serves(at(0), &ID, source(99), BLOCK), "it is not done");
    crowds.on_given(at(0), &ID, source(3), 600..1000, Some(1000));
    assert!(crowds.serves(at(0), &ID, source(3), BLOCK), "nobody else has asked");
    assert!(crowds.serves(at(0), &ID, source(99), BLOCK));
    assert!(!crowds.serves(at(0), &ID, source(3), BLOCK));
    assert!(!crowds.serves(at(0), &ID, source(98), BLOCK), "only that one");
}

#[test]
fn of_many_some_are_served_and_stay_so_while_they_ask() {
    let mut crowds = full();
    let tree = ContentId::Tree([7; 32]);
    for n in 0..100 {
        assert_eq!(crowds.serves(at(1), &tree, source(n), BLOCK), usize::from(n) < MAX_SLOTS, "{n}");
    }
}

#[test]
fn few_are_served_at_first_and_then_more_and_more() {
    let mut crowds = Crowds::default();
    for n in 0..100 {
        crowds.join(at(0), &ID, source(n));
    }
    for (ms, most) in
        [(0, SLOTS_AT_FIRST), (250, SLOTS_AT_FIRST + 1), (1500, 14), (1999, 15), (9000, MAX_SLOTS)]
    {
        let now = at(0) + Duration::from_millis(ms);
        assert_eq!((0..100).filter(|&n| crowds.serves(now, &ID, source(n), BLOCK)).count(), most, "{ms}");
    }
}

#[test]
fn who_asks_like_the_others_is_one_of_them_before_it_says_so() {
    let mut crowds = full();
    crowds.expect(at(0), &ID, source(100));
    assert!(!crowds.serves(at(0), &ID, source(100), BLOCK));
    assert!(!crowds.serves(at(0), &ContentId::Tree([7; 32]), source(100), BLOCK));
    let nobodys = ContentId::Blake3([8; 32]);
    crowds.expect(at(0), &nobodys, source(100));
    assert!(!crowds.by_id.contains_key(&nobodys), "nobody exchanges this");
}

#[test]
fn who_exchanges_nothing_is_always_served() {
    let mut crowds = full();
    assert!((100..200).all(|n| crowds.serves(at(0), &ID, source(n), BLOCK)));
    assert!((0..100).all(|n| crowds.serves(at(0), &ContentId::Blake3([8; 32]), source(n), BLOCK)));
}

#[test]
fn who_stops_asking_makes_room() {
    let mut crowds = full();
    assert!((1..MAX_SLOTS as u16).all(|n| crowds.serves(at(1), &ID, source(n), BLOCK)));
    assert!(!crowds.serves(at(1), &ID, source(99), BLOCK));
    assert!(crowds.serves(at(2), &ID, source(99), BLOCK), "the first has stopped");
    assert!(!crowds.serves(at(2), &ID, source(98), BLOCK), "only that one");
}

#[test]
fn nobody_keeps_a_slot_for_longer_than_its_tenure_while_others_wait() {
    let mut crowds = full();
    let served = |crowds: &Crowds| crowds.by_id[&ID].slots.keys().copied().collect::<Vec<_>>();
    let first = served(&crowds);
    for tenth in 0..TENURE.as_secs() * 10 {
        let now = at(0) + Duration::from_millis(tenth * 100);
        assert!(first.iter().all(|&source| crowds.serves(now, &ID, source, BLOCK)));
        assert!(!crowds.serves(now, &ID, source(99), BLOCK), "after {tenth} tenths of a second");
    }
    let now = at(TENURE.as_secs());
    assert!((84..100).all(|n| crowds.serves(now, &ID, source(n), BLOCK)), "they have had their time");
    assert!(!crowds.serves(now, &ID, first[0], BLOCK));
}

#[test]
fn a_slot_is_not_kept_by_asking_for_a_byte_now_and_then() {
    let mut crowds = full();
    let mut served_at = None;
    for tenth in 0..100 {
        let now = at(0) + Duration::from_millis(tenth * 100);
        // All are ports of one host, of which a single one fetches, and asks once in a second.
        for n in 0..48 {
            crowds.serves(now, &ID, source(n), 1);
        }
        if tenth % 10 == 9 && crowds.serves(now, &ID, source(70), BLOCK) {
            served_at.get_or_insert(tenth);
        } else if tenth % 10 == 9 {
            assert_eq!(served_at, None, "it makes use of its slot and keeps it");
        }
    }
    assert!(served_at.is_some_and(|tenth| tenth < 80), "{served_at:?}");
}

/// Ports of a host that asks at once for as much as it can.
fn flooded(crowds: &mut Crowds, ports: u16) {
    for n in 0..ports {
        crowds.join(Time::ZERO, &ID, source(n));
    }
    for n in 0..ports {
        crowds.serves(at(0), &ID, source(n), BLOCK);
    }
}

fn other(host: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, host], 24254))
}

#[test]
fn a_host_of_five_hundred_ports_has_no_more_slots_than_another_wants() {
    let mut crowds = Crowds::default();
    flooded(&mut crowds, 500);
    for host in 0..MAX_SLOTS as u8 - 1 {
        crowds.join(at(0), &ID, other(host));
        assert!(crowds.serves(at(0), &ID, other(host), BLOCK), "host {host}");
        flooded(&mut crowds, 500);
    }
    assert!((0..MAX_SLOTS as u8 - 1).all(|host| crowds.serves(at(1), &ID, other(host), BLOCK)));
}

#[test]
fn a_host_alone_has_all_slots() {
    let mut crowds = Crowds::default();
    flooded(&mut crowds, 500);
    assert_eq!(crowds.by_id[&ID].slots.len(), MAX_SLOTS);
}

#[test]
fn where_each_host_holds_one_slot_a_newcomer_has_one_within_two_seconds() {
    let mut crowds = Crowds::default();
    (0..MAX_SLOTS as u8).for_each(|host| crowds.join(Time::ZERO, &ID, other(host)));
    crowds.join(Time::ZERO, &ID, other(59));
    let ask = |crowds: &mut Crowds, tenth: u64, host: u8| {
        crowds.serves(at(0) + Duration::from_millis(tenth * 100), &ID, other(host), BLOCK)
    };
    let mut newcomer = None;
    for tenth in 0..40 {
        (0..MAX_SLOTS as u8).for_each(|host| {
            ask(&mut crowds, tenth, host);
        });
        if ask(&mut crowds, tenth, 59) {
            newcomer.get_or_insert(tenth);
        }
    }
    assert!(newcomer.is_some_and(|tenth| tenth < 20), "{newcomer:?}");
    assert!(ask(&mut crowds, 40, 59), "and keeps it");
    let lost = (0..MAX_SLOTS as u8).filter(|&host| !ask(&mut crowds, 40, host));
    assert_eq!(lost.count(), 1, "who lost its place is no newcomer");
}

#[test]
fn while_others_wait_what_nobody_was_given_is_offered() {
    let mut crowds = full();
    let length = 1 << 20;
    let last = length - UNIT;
    assert_eq!(crowds.offer(at(1), &ID, source(99), length, 0, 9).unwrap(), Parts::whole(length, 0));
    crowds.on_given(at(0), &ID, source(0), 100..last, Some(length));
    assert_eq!(crowds.offer(at(1), &ID, source(99), length, 0, 9).unwrap().ranges, [0..UNIT, last..length]);
    assert_eq!(crowds.offer(at(6), &ID, source(99), length, 0, 9), None, "nobody waits any more");
    assert!(!crowds.serves(at(1), &ID, source(99), BLOCK));
    crowds.on_given(at(0), &ID, source(0), 0..100, Some(length));
    assert_eq!(
        crowds.offer(at(1), &ID, source(99), length, 0, 9).unwrap(),
        Parts::whole(length, 0),
        "all of it was"
    );
}

#[test]
fn a_getter_that_asks_for_nothing_of_what_is_offered_is_offered_all() {
    let mut crowds = full();
    let length = 1 << 20;
    crowds.on_given(at(0), &ID, source(3), 0..length / 2, Some(length));
    let offered = |crowds: &mut Crowds, tenths: u64| {
        crowds.offer(at(0) + Duration::from_millis(tenths * 100), &ID, source(0), length, 0, 9)
    };
    assert_eq!(offered(&mut crowds, 9).unwrap().ranges, [length / 2..length]);
    assert_eq!(offered(&mut crowds, 10), None, "all there is");
}

#[test]
fn who_has_gone_is_forgotten() {
    let mut crowds = full();
    let other = ContentId::Blake3([8; 32]);
    crowds.join(at(50), &ID, source(7));
    crowds.join(at(70), &other, source(8));
    assert_eq!(crowds.by_id[&ID].getters.keys().copied().collect::<Vec<_>>(), [source(7)]);
    crowds.join(at(131), &other, source(8));
    assert_eq!(crowds.by_id.keys().collect::<Vec<_>>(), [&other]);
}

#[test]
fn a_flood_of_askers_and_contents_takes_little_memory_and_the_others_stay() {
    let mut crowds = Crowds::default();
    (0..4).for_each(|host| crowds.join(at(0), &ID, other(host)));
    for n in 0..20_000u32 {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_le_bytes());
        crowds.join(at(0), &ContentId::Blake3(hash), source(n as u16));
        crowds.join(at(0), &ID, source((n * 3) as u16));
    }
    let count = crowds.by_id.values().map(|crowd| crowd.getters.len()).sum::<usize>();
    assert_eq!((crowds.by_id.len(), count), crowds.lengths());
    assert!(crowds.by_id.len() <= MAX_CONTENTS && count <= MAX_GETTERS, "{:?}", crowds.lengths());
    assert!((0..4).all(|host| crowds.by_id[&ID].getters.contains_key(&other(host))));
}
