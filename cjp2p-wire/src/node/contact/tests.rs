use super::slab::ROOM;
use super::*;

const A_MINUTE: Duration = Duration::from_secs(60);

fn at(n: u32) -> SocketAddr {
    SocketAddr::from((n.to_be_bytes(), 24254))
}

/// For how long it has been the same that proves itself there.
fn stay(contacts: &Contacts, address: SocketAddr) -> Duration {
    let known = contacts.acquaintances().find(|known| known.address == address).unwrap();
    known.last_heard.since(known.proved_since.unwrap())
}

/// One that comes, is told our cookie, and returns it from then on.
fn come(contacts: &mut Contacts, now: Time, address: SocketAddr) {
    contacts.on_unproved(now, address);
    contacts.on_always_returned(now, address, true);
    contacts.get_mut(address).unwrap().cookie = Some("7".into());
    contacts.on_asked(address);
    contacts.on_always_returned(now, address, true);
}

#[test]
fn getters_one_after_another_at_the_same_port_are_none_that_stays() {
    for apart in [Duration::from_secs(1), A_MINUTE, A_MINUTE * 5, A_MINUTE * 30] {
        let mut contacts = Contacts::default();
        for n in 0..100 {
            let now = Time::ZERO + apart * n;
            come(&mut contacts, now, at(1));
            contacts.on_always_returned(now + Duration::from_millis(500), at(1), true);
            assert_eq!(stay(&contacts, at(1)), Duration::from_millis(500), "after {apart:?}");
        }
    }
}

#[test]
fn one_that_shows_up_every_five_minutes_stays_also_where_it_returns_cookies_only_when_asked() {
    let mut contacts = Contacts::default();
    come(&mut contacts, Time::ZERO, at(1));
    contacts.on_returned(Time::ZERO, at(2), Proof::None);
    for n in 1..=100 {
        let now = Time::ZERO + A_MINUTE * 5 * n;
        contacts.on_always_returned(now, at(1), n % 2 == 0);
        contacts.on_unproved(now, at(2));
        contacts.on_returned(now, at(2), Proof::None);
        assert_eq!([stay(&contacts, at(1)), stay(&contacts, at(2))], [A_MINUTE * 5 * n; 2]);
    }
    let later = Time::ZERO + A_MINUTE * 600;
    contacts.on_always_returned(later, at(1), true);
    contacts.on_unproved(later, at(2));
    contacts.on_returned(later, at(2), Proof::None);
    assert_eq!([stay(&contacts, at(1)), stay(&contacts, at(2))], [Duration::ZERO; 2], "they were away");
}

#[test]
fn who_only_asked_is_forgotten_and_who_was_of_use_or_is_asked_or_banned_is_not() {
    let mut contacts = Contacts::default();
    let [useful, measured, banned, asked] = [1, 2, 3, 4].map(at);
    for n in 1..=3600 * 3 {
        let now = Time::ZERO + Duration::from_secs(n);
        contacts.forget_gone(now, |address| address == asked);
        come(&mut contacts, now, at(n as u32));
        if n == 4 {
            contacts.get_mut(useful).unwrap().useful_at = Some(now);
            contacts.on_round_trip(measured, Duration::from_millis(1));
            contacts.get_mut(banned).unwrap().banned = true;
        }
        assert!(contacts.len() <= (FRESH + SWEEP_EVERY).as_secs() as usize + 4, "{}", contacts.len());
    }
    assert!([useful, measured, banned, asked].iter().all(|&address| contacts.get(address).is_some()));
    assert!(contacts.get(at(5)).is_none());
}

#[test]
fn many_addresses_take_little_memory_and_no_more_than_there_are() {
    assert!(size_of::<Contact>() <= 160, "{}", size_of::<Contact>());
    let mut contacts = Contacts::default();
    let mut first = None;
    for n in 1..=10_000 {
        come(&mut contacts, Time::from_millis(n), at(n as u32));
        let rooms = &contacts.contacts.rooms;
        let room: usize = rooms.iter().map(Vec::capacity).sum();
        assert!(room < contacts.len() + ROOM);
        // The old places would be left behind, in memory that is used for little else.
        let (before, now) = (first, contacts.contacts.get(0).map(std::ptr::from_ref));
        assert_eq!(before.or(now), now, "moved when there were {n}");
        first = now;
    }
    assert_eq!(contacts.len(), MAX_CONTACTS);
    assert_eq!(contacts.contacts.rooms.iter().map(Vec::len).sum::<usize>(), MAX_CONTACTS);
}

#[test]
fn of_one_host_with_many_ports_the_latest_are_known_and_all_of_other_hosts() {
    let mut contacts = Contacts::default();
    let v4 = |port| SocketAddr::from(([10, 0, 0, 1], port));
    // A network of 64 bits counts as one.
    let v6 = |n: u16| SocketAddr::from((Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(n)), n));
    (1..=100).for_each(|n| come(&mut contacts, Time::ZERO, at(n)));
    contacts.entry(Time::ZERO, v4(60_000)).suggested = true;
    contacts.on_always_returned(Time::ZERO, v4(60_001), true);
    contacts.get_mut(v4(60_001)).unwrap().useful_at = Some(Time::ZERO);
    for n in 1..=5000 {
        come(&mut contacts, Time::from_millis(n.into()), v4(n));
        come(&mut contacts, Time::from_millis(n.into()), v6(n));
    }
    // The two that are of use count too.
    assert_eq!(contacts.len(), 100 + 2 * MAX_CONTACTS_OF_HOST);
    let latest = 5000 - MAX_CONTACTS_OF_HOST as u16 + 3..=5000;
    let known = latest.flat_map(|n| [v4(n), v6(n)]).chain((1..=100).map(at)).chain([v4(60_000), v4(60_001)]);
    assert!(known.into_iter().all(|address| contacts.get(address).is_some()));
}
