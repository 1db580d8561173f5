//! Which addresses are kept, which are forgotten, and which are named to others.

use super::contact::FRESH;
use super::*;

const A_MINUTE: Duration = Duration::from_secs(60);

fn at(n: u32) -> SocketAddr {
    SocketAddr::from((n.to_be_bytes(), 24254))
}

/// For how long it has been the same that is validated there.
fn stay(contacts: &Contacts, address: SocketAddr) -> Duration {
    let known = contacts.acquaintances().find(|known| known.address == address).unwrap();
    known.last_heard.since(known.validated_since.unwrap())
}

/// One that comes, is told our cookie, and returns it from then on.
fn come(contacts: &mut Contacts, now: Time, address: SocketAddr) {
    contacts.on_unvalidated(now, address);
    contacts.on_always_returned(now, address, Validation::Current);
    contacts.get_mut(address).unwrap().cookies.theirs = Some("7".into());
    contacts.on_asked(address);
    contacts.on_always_returned(now, address, Validation::Current);
}

#[test]
fn getters_one_after_another_at_the_same_port_are_none_that_stays() {
    for apart in [Duration::from_secs(1), A_MINUTE, A_MINUTE * 5, A_MINUTE * 30] {
        let mut contacts = Contacts::default();
        for n in 0..100 {
            let now = Time::ZERO + apart * n;
            come(&mut contacts, now, at(1));
            contacts.on_always_returned(now + Duration::from_millis(500), at(1), Validation::Current);
            assert_eq!(stay(&contacts, at(1)), Duration::from_millis(500), "after {apart:?}");
        }
    }
}

#[test]
fn one_that_shows_up_every_five_minutes_stays_also_where_it_returns_cookies_only_when_asked() {
    let mut contacts = Contacts::default();
    come(&mut contacts, Time::ZERO, at(1));
    contacts.on_returned(Time::ZERO, at(2), Validation::None);
    for n in 1..=100 {
        let now = Time::ZERO + A_MINUTE * 5 * n;
        contacts.on_always_returned(
            now,
            at(1),
            if n % 2 == 0 { Validation::Current } else { Validation::Previous },
        );
        contacts.on_unvalidated(now, at(2));
        contacts.on_returned(now, at(2), Validation::None);
        assert_eq!([stay(&contacts, at(1)), stay(&contacts, at(2))], [A_MINUTE * 5 * n; 2]);
    }
    let later = Time::ZERO + A_MINUTE * 600;
    contacts.on_always_returned(later, at(1), Validation::Current);
    contacts.on_unvalidated(later, at(2));
    contacts.on_returned(later, at(2), Validation::None);
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
    for n in 1..=10_000 {
        come(&mut contacts, Time::from_millis(n), at(n as u32));
    }
    assert_eq!(contacts.len(), MAX_CONTACTS);
}

#[test]
fn of_one_host_with_many_ports_the_latest_are_known_and_all_of_other_hosts() {
    let mut contacts = Contacts::default();
    let v4 = |port| SocketAddr::from(([10, 0, 0, 1], port));
    // A network of 64 bits counts as one.
    let v6 = |n: u16| SocketAddr::from((Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(n)), n));
    (1..=100).for_each(|n| come(&mut contacts, Time::ZERO, at(n)));
    contacts.entry(Time::ZERO, v4(60_000)).suggested = true;
    contacts.on_always_returned(Time::ZERO, v4(60_001), Validation::Current);
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

#[test]
fn so_many_are_looked_at_and_one_that_may_not_be_told_of_is_not_drawn_twice() {
    let mut contacts = Contacts::default();
    let mut random = fastrand::Rng::with_seed(1);
    for n in 0..3000u32 {
        let address = SocketAddr::from(((0x1400_0000 + (n << 8)).to_be_bytes(), 24254));
        contacts.on_always_returned(Time::ZERO, address, Validation::Current);
        contacts.get_mut(address).unwrap().banned = n % 3 > 0;
    }
    assert_eq!(contacts.tellable.len(), 3000);
    let asker = SocketAddr::from(([198, 51, 100, 1], 5000));
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..2000 {
        let some = contacts.some_presentable(Time::ZERO, asker, 12, &mut random);
        assert!(some.len() <= 12);
        assert!(some.iter().all(|&peer| contacts.get(peer).is_some_and(|peer| !peer.banned)));
        told.extend(some);
    }
    assert_eq!(told.len(), 1000, "each is drawn some time");
    assert_eq!(contacts.tellable.len(), 1000, "the others are looked at no more");
    // Those that have gone are forgotten here too, and come back when they are heard.
    let later = Time::ZERO + FRESH + SWEEP_EVERY;
    assert!(contacts.some_presentable(later, asker, 5000, &mut random).is_empty());
    contacts.forget_gone(later, |_| false);
    assert_eq!(contacts.tellable.len(), 0);
    for n in 1..=100 {
        contacts.on_always_returned(later, at(0x1400_0000 + n), Validation::Current);
    }
    for n in 1..=50 {
        contacts.remove(at(0x1400_0000 + 2 * n));
    }
    let some = contacts.some_presentable(later, asker, 100, &mut random);
    assert_eq!(some.len(), 50);
    assert!(some.iter().all(|&peer| contacts.get(peer).is_some()));
}

#[test]
fn nobody_is_told_of_what_is_nearer_than_it_is_or_of_another_family() {
    let mut contacts = Contacts::default();
    let mut random = fastrand::Rng::with_seed(1);
    let all = ["127.0.0.1:9000", "10.0.0.1:9000", "20.0.0.1:9000", "[fe80::1%3]:9000", "[2a00::1]:9000"];
    let all = all.map(|text| text.parse::<SocketAddr>().unwrap());
    all.iter().for_each(|&address| contacts.on_always_returned(Time::ZERO, address, Validation::Current));
    for to in ["127.0.0.2:1", "10.0.0.2:1", "20.0.0.2:1", "[::1]:1", "[fe80::2%3]:1", "[2a00::2]:1"] {
        let to: SocketAddr = to.parse().unwrap();
        let may = |peer: &SocketAddr| {
            (to.is_ipv6() || peer.is_ipv4()) && crate::peers::address::may_suggest(to, *peer)
        };
        let mut expected: Vec<SocketAddr> = all.iter().copied().filter(may).collect();
        let mut told = contacts.some_presentable(Time::ZERO, to, 10, &mut random);
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "{to}");
    }
}
