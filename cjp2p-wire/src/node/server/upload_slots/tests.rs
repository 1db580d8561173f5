//! Which of many leechers hold a slot, and for how long.

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

fn full() -> UploadSlots {
    let mut upload_slots = UploadSlots::default();
    for n in 0..100 {
        upload_slots.join(Time::ZERO, &ID, source(n));
    }
    let served = (0..100).filter(|&n| upload_slots.serves(at(0), &ID, source(n), BLOCK)).count();
    assert_eq!(served, MAX_SLOTS);
    upload_slots
}

#[test]
fn who_was_sent_as_much_as_all_of_it_makes_room_at_once() {
    let mut upload_slots = full();
    upload_slots.on_given(at(0), &ID, source(3), 0..600, Some(1000));
    assert!(!upload_slots.serves(at(0), &ID, source(99), BLOCK), "it is not done");
    upload_slots.on_given(at(0), &ID, source(3), 600..1000, Some(1000));
    assert!(upload_slots.serves(at(0), &ID, source(3), BLOCK), "nobody else has asked");
    assert!(upload_slots.serves(at(0), &ID, source(99), BLOCK));
    assert!(!upload_slots.serves(at(0), &ID, source(3), BLOCK));
    assert!(!upload_slots.serves(at(0), &ID, source(98), BLOCK), "only that one");
}

#[test]
fn of_many_some_are_served_and_stay_so_while_they_ask() {
    let mut upload_slots = full();
    let tree = ContentId::Tree([7; 32]);
    for n in 0..100 {
        assert_eq!(upload_slots.serves(at(1), &tree, source(n), BLOCK), usize::from(n) < MAX_SLOTS, "{n}");
    }
}

#[test]
fn few_are_served_at_first_and_then_more_and_more() {
    let mut upload_slots = UploadSlots::default();
    for n in 0..100 {
        upload_slots.join(at(0), &ID, source(n));
    }
    for (ms, most) in
        [(0, SLOTS_AT_FIRST), (250, SLOTS_AT_FIRST + 1), (1500, 14), (1999, 15), (9000, MAX_SLOTS)]
    {
        let now = at(0) + Duration::from_millis(ms);
        assert_eq!(
            (0..100).filter(|&n| upload_slots.serves(now, &ID, source(n), BLOCK)).count(),
            most,
            "{ms}"
        );
    }
}

#[test]
fn who_asks_like_the_others_is_one_of_them_before_it_says_so() {
    let mut upload_slots = full();
    upload_slots.expect(at(0), &ID, source(100));
    assert!(!upload_slots.serves(at(0), &ID, source(100), BLOCK));
    assert!(!upload_slots.serves(at(0), &ContentId::Tree([7; 32]), source(100), BLOCK));
    let nobodys = ContentId::Blake3([8; 32]);
    upload_slots.expect(at(0), &nobodys, source(100));
    assert!(!upload_slots.by_id.contains_key(&nobodys), "nobody exchanges this");
}

#[test]
fn who_exchanges_nothing_is_always_served() {
    let mut upload_slots = full();
    assert!((100..200).all(|n| upload_slots.serves(at(0), &ID, source(n), BLOCK)));
    assert!((0..100).all(|n| upload_slots.serves(at(0), &ContentId::Blake3([8; 32]), source(n), BLOCK)));
}

#[test]
fn who_stops_asking_makes_room() {
    let mut upload_slots = full();
    assert!((1..MAX_SLOTS as u16).all(|n| upload_slots.serves(at(1), &ID, source(n), BLOCK)));
    assert!(!upload_slots.serves(at(1), &ID, source(99), BLOCK));
    assert!(upload_slots.serves(at(2), &ID, source(99), BLOCK), "the first has stopped");
    assert!(!upload_slots.serves(at(2), &ID, source(98), BLOCK), "only that one");
}

#[test]
fn nobody_keeps_a_slot_for_longer_than_its_tenure_while_others_wait() {
    let mut upload_slots = full();
    let served =
        |upload_slots: &UploadSlots| upload_slots.by_id[&ID].slots.keys().copied().collect::<Vec<_>>();
    let first = served(&upload_slots);
    for tenth in 0..TENURE.as_secs() * 10 {
        let now = at(0) + Duration::from_millis(tenth * 100);
        assert!(first.iter().all(|&source| upload_slots.serves(now, &ID, source, BLOCK)));
        assert!(!upload_slots.serves(now, &ID, source(99), BLOCK), "after {tenth} tenths of a second");
    }
    let now = at(TENURE.as_secs());
    assert!((84..100).all(|n| upload_slots.serves(now, &ID, source(n), BLOCK)), "they have had their time");
    assert!(!upload_slots.serves(now, &ID, first[0], BLOCK));
}

#[test]
fn a_slot_is_not_kept_by_asking_for_a_byte_now_and_then() {
    let mut upload_slots = full();
    let mut served_at = None;
    for tenth in 0..100 {
        let now = at(0) + Duration::from_millis(tenth * 100);
        // All are ports of one host, of which a single one fetches, and asks once in a second.
        for n in 0..48 {
            upload_slots.serves(now, &ID, source(n), 1);
        }
        if tenth % 10 == 9 && upload_slots.serves(now, &ID, source(70), BLOCK) {
            served_at.get_or_insert(tenth);
        } else if tenth % 10 == 9 {
            assert_eq!(served_at, None, "it makes use of its slot and keeps it");
        }
    }
    assert!(served_at.is_some_and(|tenth| tenth < 80), "{served_at:?}");
}

/// Ports of a host that asks at once for as much as it can.
fn flooded(upload_slots: &mut UploadSlots, ports: u16) {
    for n in 0..ports {
        upload_slots.join(Time::ZERO, &ID, source(n));
    }
    for n in 0..ports {
        upload_slots.serves(at(0), &ID, source(n), BLOCK);
    }
}

fn other(host: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, host], 24254))
}

#[test]
fn a_host_of_five_hundred_ports_has_no_more_slots_than_another_wants() {
    let mut upload_slots = UploadSlots::default();
    flooded(&mut upload_slots, 500);
    for host in 0..MAX_SLOTS as u8 - 1 {
        upload_slots.join(at(0), &ID, other(host));
        assert!(upload_slots.serves(at(0), &ID, other(host), BLOCK), "host {host}");
        flooded(&mut upload_slots, 500);
    }
    assert!((0..MAX_SLOTS as u8 - 1).all(|host| upload_slots.serves(at(1), &ID, other(host), BLOCK)));
}

#[test]
fn a_host_alone_has_all_slots() {
    let mut upload_slots = UploadSlots::default();
    flooded(&mut upload_slots, 500);
    assert_eq!(upload_slots.by_id[&ID].slots.len(), MAX_SLOTS);
}

#[test]
fn where_each_host_holds_one_slot_a_newcomer_has_one_within_two_seconds() {
    let mut upload_slots = UploadSlots::default();
    (0..MAX_SLOTS as u8).for_each(|host| upload_slots.join(Time::ZERO, &ID, other(host)));
    upload_slots.join(Time::ZERO, &ID, other(59));
    let ask = |upload_slots: &mut UploadSlots, tenth: u64, host: u8| {
        upload_slots.serves(at(0) + Duration::from_millis(tenth * 100), &ID, other(host), BLOCK)
    };
    let mut newcomer = None;
    for tenth in 0..40 {
        (0..MAX_SLOTS as u8).for_each(|host| {
            ask(&mut upload_slots, tenth, host);
        });
        if ask(&mut upload_slots, tenth, 59) {
            newcomer.get_or_insert(tenth);
        }
    }
    assert!(newcomer.is_some_and(|tenth| tenth < 20), "{newcomer:?}");
    assert!(ask(&mut upload_slots, 40, 59), "and keeps it");
    let lost = (0..MAX_SLOTS as u8).filter(|&host| !ask(&mut upload_slots, 40, host));
    assert_eq!(lost.count(), 1, "who lost its place is no newcomer");
}

#[test]
fn while_others_wait_what_nobody_was_given_is_offered() {
    let mut upload_slots = full();
    let length = 1 << 20;
    let last = length - UNIT;
    assert_eq!(upload_slots.offer(at(1), &ID, source(99), length, 0, 9).unwrap(), Parts::whole(length, 0));
    upload_slots.on_given(at(0), &ID, source(0), 100..last, Some(length));
    assert_eq!(
        upload_slots.offer(at(1), &ID, source(99), length, 0, 9).unwrap().ranges,
        [0..UNIT, last..length]
    );
    assert_eq!(upload_slots.offer(at(6), &ID, source(99), length, 0, 9), None, "nobody waits any more");
    assert!(!upload_slots.serves(at(1), &ID, source(99), BLOCK));
    upload_slots.on_given(at(0), &ID, source(0), 0..100, Some(length));
    assert_eq!(
        upload_slots.offer(at(1), &ID, source(99), length, 0, 9).unwrap(),
        Parts::whole(length, 0),
        "all of it was"
    );
}

#[test]
fn a_getter_that_asks_for_nothing_of_what_is_offered_is_offered_all() {
    let mut upload_slots = full();
    let length = 1 << 20;
    upload_slots.on_given(at(0), &ID, source(3), 0..length / 2, Some(length));
    let offered = |upload_slots: &mut UploadSlots, tenths: u64| {
        upload_slots.offer(at(0) + Duration::from_millis(tenths * 100), &ID, source(0), length, 0, 9)
    };
    assert_eq!(offered(&mut upload_slots, 9).unwrap().ranges, [length / 2..length]);
    assert_eq!(offered(&mut upload_slots, 10), None, "all there is");
}

#[test]
fn who_has_gone_is_forgotten() {
    let mut upload_slots = full();
    let other = ContentId::Blake3([8; 32]);
    upload_slots.join(at(50), &ID, source(7));
    upload_slots.join(at(70), &other, source(8));
    assert_eq!(upload_slots.by_id[&ID].getters.keys().copied().collect::<Vec<_>>(), [source(7)]);
    upload_slots.join(at(131), &other, source(8));
    assert_eq!(upload_slots.by_id.keys().collect::<Vec<_>>(), [&other]);
}

#[test]
fn a_flood_of_askers_and_contents_takes_little_memory_and_the_others_stay() {
    let mut upload_slots = UploadSlots::default();
    (0..4).for_each(|host| upload_slots.join(at(0), &ID, other(host)));
    for n in 0..20_000u32 {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_le_bytes());
        upload_slots.join(at(0), &ContentId::Blake3(hash), source(n as u16));
        upload_slots.join(at(0), &ID, source((n * 3) as u16));
    }
    let count = upload_slots.by_id.values().map(|contended| contended.getters.len()).sum::<usize>();
    assert_eq!((upload_slots.by_id.len(), count), upload_slots.lengths());
    assert!(upload_slots.by_id.len() <= MAX_CONTENTS && count <= MAX_GETTERS, "{:?}", upload_slots.lengths());
    assert!((0..4).all(|host| upload_slots.by_id[&ID].getters.contains_key(&other(host))));
}
