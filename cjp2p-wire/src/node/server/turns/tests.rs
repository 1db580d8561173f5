//! Hosts and ports that ask for more than there is, in turns.

use super::*;

fn request(n: u64) -> Request {
    let id = ContentId::Sha256([1; 32]);
    Request {
        offset: n,
        length: 1000,
        block: 1000,
        wire_id: id.to_string(),
        id,
        handle: None,
        tells_length: true,
        wants_wait: None,
    }
}

fn pop(turns: &mut Turns, now: Time) -> Option<(SocketAddr, Request)> {
    turns.pop(now, |_| 1)
}

fn source(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], n))
}

#[test]
fn a_source_with_many_requests_does_not_keep_others_waiting() {
    let mut turns = Turns::new(None, None);
    for n in 0..100 {
        assert!(turns.push(source(1), Request { length: QUANTUM / 2, ..request(n * QUANTUM as u64) }));
    }
    assert!(turns.push(source(2), request(0)));
    let order: Vec<u16> = (0..5).map(|_| turns.pop(Time::ZERO, |_| 1000).unwrap().0.port()).collect();
    assert_eq!(order, [1, 1, 2, 1, 1]);
}

#[test]
fn raw_blocks_that_say_the_length_do_not_go_together_with_others() {
    let popped = |handle: Option<Handle>| {
        let mut turns = Turns::new(None, None);
        assert!(turns.push(source(1), Request { handle, ..request(0) }));
        assert!(turns.push(source(1), Request { handle, tells_length: false, ..request(1000) }));
        assert!(turns.push(source(1), Request { handle, tells_length: false, ..request(2000) }));
        [1, 2].map(|_| turns.pop(Time::ZERO, |_| 10).map(|(_, request)| request.length))
    };
    assert_eq!(popped(Handle::parse(b"a")), [Some(1000), Some(2000)]);
    assert_eq!(popped(None), [Some(3000), None]);
}

#[test]
fn turns_are_longer_between_sources_within_the_machine() {
    for (ip, quantum) in [([192, 0, 2, 1], QUANTUM), ([127, 0, 0, 1], QUANTUM_LOCAL)] {
        let mut turns = Turns::new(None, None);
        let block = 64 << 10;
        for n in 0..64 {
            let from = SocketAddr::from((ip, n % 2 + 1));
            let next = Request { length: block, block, ..request(u64::from(n) * block as u64) };
            assert!(turns.push(from, next));
        }
        let first = turns.pop(Time::ZERO, |_| 1).unwrap().0;
        let turn = (1..).find(|_| turns.pop(Time::ZERO, |_| 1).unwrap().0 != first).unwrap();
        assert!((quantum..quantum + block).contains(&(turn * (block + BLOCK_COST))), "{turn}");
    }
}

/// Whom the next bytes go to, by the last byte of the address, for so many turns.
fn shares(turns: &mut Turns, count: usize) -> BTreeMap<u8, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        let (from, request) = turns.pop(Time::ZERO, |_| 1000).unwrap();
        let IpAddr::V4(ip) = from.ip() else { panic!("{from}") };
        *shares.entry(ip.octets()[3]).or_insert(0) += request.length;
        assert!(turns.push(from, Request { offset: request.offset + (1 << 40), ..request }));
    }
    shares
}

#[test]
fn a_host_with_a_hundred_ports_gets_no_more_than_one_with_one() {
    let mut turns = Turns::new(None, None);
    let honest = SocketAddr::from(([192, 0, 2, 2], 1));
    for n in 0..400 {
        let length = if n % 3 == 0 { 1000 } else { QUANTUM / 3 };
        assert!(turns.push(source(n % 100), Request { length, ..request(u64::from(n) << 20) }));
        if n < 8 {
            assert!(turns.push(honest, Request { length: QUANTUM / 4, ..request(u64::from(n) << 20) }));
        }
    }
    let shares = shares(&mut turns, 5000);
    let ratio = shares[&2] as f64 / shares[&1] as f64;
    assert!((0.8..1.25).contains(&ratio), "{ratio}");
}

#[test]
fn a_host_alone_may_have_everything_and_gives_way_when_another_wants_some() {
    let mut turns = Turns::new(None, None);
    let sources = (0..5000).filter(|&n| turns.push(source(n), request(0))).count();
    assert_eq!(sources, MAX_WAITING_SOURCES);
    for n in 0..u64::from(u16::MAX) {
        turns.push(source((n % 400) as u16), request(n * 1000));
    }
    assert_eq!(turns.len(), MAX_WAITING);
    let other = |port| SocketAddr::from(([192, 0, 2, 2], port));
    for port in 0..MAX_WAITING_SOURCES as u16 / 2 {
        assert!(turns.push(other(port), request(0)), "{port}");
        assert!(turns.push(other(port), request(1000)), "{port}");
    }
    assert!(!turns.push(other(9999), request(0)), "each has half of the places");
    assert_eq!(
        (turns.sources, turns.len()),
        (MAX_WAITING_SOURCES, turns.hosts.values().map(|h| h.total).sum())
    );
    let mut left = 0;
    while pop(&mut turns, Time::ZERO).is_some() {
        left += 1;
    }
    assert!((MAX_WAITING_SOURCES..=MAX_WAITING).contains(&left), "{left}");
    assert_eq!((turns.sources, turns.len(), turns.order.len()), (0, 0, 0));
}

#[test]
fn what_was_parked_gives_way_too() {
    let mut turns = Turns::new(None, None);
    for n in 0..MAX_WAITING_SOURCES as u16 {
        turns.push(source(n), request(0));
        let (from, request) = pop(&mut turns, Time::ZERO).unwrap();
        turns.park(from, request);
    }
    assert!(turns.push(SocketAddr::from(([192, 0, 2, 2], 1)), request(0)));
    turns.unpark();
    assert_eq!(std::iter::from_fn(|| pop(&mut turns, Time::ZERO)).count(), MAX_WAITING_SOURCES);
}

#[test]
fn at_a_low_rate_an_answer_holds_what_is_sent_in_a_second_and_little_waits() {
    let mut turns = Turns::new(Some(4096), None);
    let blocks = Request { length: 64 * 40_960, block: 40_960, ..request(0) };
    assert!(turns.push(source(1), blocks));
    let waits = |turns: &Turns, n| {
        turns.hosts[&host_of(source(n))].waiting[&source(n)].iter().map(|r| r.length).sum::<usize>()
    };
    assert_eq!(waits(&turns, 1), 3 * 40_960);
    for n in 0..3 {
        let (_, cut) = pop(&mut turns, Time::ZERO).unwrap();
        assert_eq!((cut.offset, cut.length), (n * 40_960, 2877));
    }
    assert_eq!(turns.len(), 0);
    // Two share the rate. Each has blocks of its own waiting, and no more than come in time.
    for from in [source(1), source(2)] {
        let taken = (0..1000).filter(|&n| turns.push(from, request(n * 1000))).count();
        assert!(taken < 200 && waits(&turns, from.port()) <= 4096 * WAITS_SECONDS, "{taken}");
    }
    let longest = std::iter::from_fn(|| pop(&mut turns, Time::ZERO)).map(|(_, request)| request.length).max();
    assert_eq!(longest, Some(1000));
}

#[test]
fn all_of_a_network_of_64_bits_is_one_host() {
    let host = |text: &str| host_of(text.parse().unwrap());
    assert_eq!(host("[2001:db8:1:2:3::4]:1"), host("[2001:db8:1:2:ffff::]:2"));
    assert_ne!(host("[2001:db8:1:2::]:1"), host("[2001:db8:1:3::]:1"));
    assert_eq!(host("192.0.2.1:1"), host("192.0.2.1:2"));
    assert_ne!(host("192.0.2.1:1"), host("192.0.2.2:1"));
}

#[test]
fn the_rate_of_each_host_is_kept_and_the_others_do_not_wait_for_it() {
    let mut turns = Turns::new(None, Some(100_000));
    let other = SocketAddr::from(([192, 0, 2, 2], 1));
    let mut sent = BTreeMap::new();
    for ms in 0..5_000 {
        let now = Time::from_millis(ms);
        for from in [source(1), source(2), other] {
            turns.push(from, request(ms * 1000));
        }
        while let Some((from, _)) = pop(&mut turns, now) {
            turns.on_sent(now, from, 1_500);
            *sent.entry(host_of(from)).or_insert(0) += 1_500;
        }
    }
    assert_eq!(sent.len(), 2);
    assert!(sent.values().all(|sent| (500_000..510_000).contains(sent)), "{sent:?}");
}

#[test]
fn a_request_that_waits_already_is_not_answered_twice() {
    let mut turns = Turns::new(None, None);
    assert!(turns.push(source(1), request(1)) && turns.push(source(1), request(1)));
    assert!(turns.push(source(2), request(1)));
    assert_eq!(turns.len(), 2);
}

#[test]
fn of_a_request_that_waits_in_part_only_the_rest_is_queued() {
    let mut turns = Turns::new(None, None);
    let blocks = |offset, length| Request { length, block: 100, ..request(offset) };
    for asked in [blocks(0, 300), blocks(500, 100), blocks(100, 600), blocks(0, 700)] {
        assert!(turns.push(source(1), asked));
    }
    let taken: Vec<(u64, usize)> = std::iter::from_fn(|| turns.pop(Time::ZERO, |_| 9))
        .map(|(_, request)| (request.offset, request.length))
        .collect();
    assert_eq!(taken, [(0, 300), (500, 100), (300, 200), (600, 100)]);
}

#[test]
fn requests_beyond_the_bounds_are_dropped() {
    let mut turns = Turns::new(None, None);
    let taken = (0..1000).filter(|&n| turns.push(source(1), request(n * 1000))).count();
    assert_eq!(taken, MAX_WAITING_PER_SOURCE);
    let elsewhere = |n: u16| SocketAddr::from(([192, 0, 3, (n % 4) as u8], n));
    let sources = (2..5000).filter(|&n| turns.push(elsewhere(n), request(0))).count();
    assert_eq!(sources, MAX_WAITING_SOURCES - 1);
    assert_eq!(turns.len(), taken + sources);
}

#[test]
fn the_rate_is_kept_over_time() {
    let mut turns = Turns::new(Some(100_000), None);
    let mut sent = 0;
    for ms in 0..10_000 {
        let now = Time::from_millis(ms);
        turns.push(source(1), request(ms * 1000));
        while pop(&mut turns, now).is_some() {
            turns.on_sent(now, source(1), 1_500);
            sent += 1_500;
            turns.push(source(1), request(ms * 1000));
        }
    }
    assert!((1_000_000..1_010_000).contains(&sent), "{sent}");
}

#[test]
fn a_source_whose_request_is_put_back_waits_with_all_of_them_and_in_order() {
    let mut turns = Turns::new(None, None);
    for n in 0..3 {
        turns.push(source(1), request(n * 1000));
    }
    turns.push(source(2), request(7));
    let (from, first) = pop(&mut turns, Time::ZERO).unwrap();
    turns.park(from, first);
    turns.push(source(1), request(3000));
    assert_eq!(pop(&mut turns, Time::ZERO).unwrap().0, source(2));
    assert_eq!(pop(&mut turns, Time::ZERO), None);
    assert_eq!(turns.len(), 4);
    turns.unpark();
    let order: Vec<u64> = std::iter::from_fn(|| pop(&mut turns, Time::ZERO)).map(|(_, r)| r.offset).collect();
    assert_eq!(order, [0, 1000, 2000, 3000]);
    assert_eq!(turns.len(), 0);
}

#[test]
fn blocks_that_go_on_one_after_another_leave_together_and_others_have_their_turn_between() {
    let mut turns = Turns::new(None, None);
    // Four of them are a turn's worth.
    const BLOCK: usize = QUANTUM / 4;
    let blocks = |offset, halves| {
        let offset = (offset * BLOCK / 2) as u64;
        Request { length: halves * BLOCK / 2, block: BLOCK, ..request(offset) }
    };
    for asked in [blocks(0, 6), blocks(6, 5), blocks(11, 6), blocks(100, 2)] {
        assert!(turns.push(source(1), asked));
    }
    turns.push(source(2), request(7));
    let halves = |bytes| bytes / (BLOCK / 2);
    let taken: Vec<(u16, usize, usize)> = std::iter::from_fn(|| turns.pop(Time::ZERO, |_| 4))
        .map(|(from, request)| (from.port(), halves(request.offset as usize), halves(request.length)))
        .collect();
    // The shorter block at the end of the second request ends a datagram of its own, so nothing goes on after it.
    let expected = [(1, 0, 8), (2, 0, 0), (1, 8, 3), (1, 11, 6), (1, 100, 2)];
    assert_eq!(taken, expected);
    assert_eq!(turns.len(), 0);
}

#[test]
fn requests_that_are_split_and_parked_again_and_again_are_no_more_than_may_wait() {
    let mut turns = Turns::new(None, None);
    for n in 0..40 {
        for m in 0..MAX_WAITING_PER_SOURCE as u64 {
            turns.push(source(n), Request { length: 8000, ..request(m * 10_000) });
        }
    }
    assert_eq!(turns.len(), MAX_WAITING);
    for _ in 0..5 {
        for _ in 0..40 {
            let Some((from, first)) = pop(&mut turns, Time::ZERO) else { break };
            turns.park(from, first);
            assert!(turns.len() <= MAX_WAITING && turns.waiting_of(from) <= MAX_WAITING_PER_SOURCE);
        }
        turns.unpark();
    }
    let hosts = &turns.hosts;
    let waiting: usize = hosts.values().flat_map(|host| host.waiting.values()).map(VecDeque::len).sum();
    assert_eq!((waiting, turns.len()), (MAX_WAITING, MAX_WAITING));
}

#[test]
fn a_host_whose_requests_are_dropped_leaves_the_next_one_its_whole_turn() {
    let mut turns = Turns::new(None, None);
    let of = |host| SocketAddr::from(([192, 0, 2, host], 1));
    for n in 0..400 {
        assert!((1..=3).all(|host| turns.push(of(host), request(n * 1000))));
    }
    let in_a_turn = QUANTUM.div_ceil(request(0).length + BLOCK_COST);
    for _ in 0..in_a_turn - 10 {
        assert_eq!(pop(&mut turns, Time::ZERO).unwrap().0, of(1));
    }
    turns.forget_source(host_of(of(1)), of(1));
    for host in [2, 3] {
        for nth in 0..in_a_turn {
            assert_eq!(pop(&mut turns, Time::ZERO).unwrap().0, of(host), "{nth}");
        }
    }
}
