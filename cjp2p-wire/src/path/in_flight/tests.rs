//! Answers that come late, out of order, cut, or never.

use std::collections::VecDeque;

use super::*;

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

/// A request for a single block.
fn one(request: Sequence) -> RequestedBlock {
    RequestedBlock { request, nth: 0 }
}

/// A path of 10 ms, with `count` requests numbered from 0 sent at 100 ms.
fn path_with(count: u64) -> InFlight<u64> {
    let mut path = InFlight::new(1000);
    for n in 0..10 {
        let sequence = path.on_sent(at(n * 10), n, Answers::one(1000), Again::No);
        path.on_answer(at(n * 10 + 10), one(sequence), true);
    }
    for n in 0..count {
        path.on_sent(at(100), n, Answers::one(1000), Again::No);
    }
    path
}

#[test]
fn a_request_is_lost_when_three_later_ones_are_answered() {
    let mut path = path_with(5);
    let first = path.oldest(|n| *n == 0).unwrap().request;
    path.on_answer(at(109), one(first + 1), true);
    path.on_answer(at(109), one(first + 2), true);
    assert!(path.detect_losses(at(109)).is_empty());
    path.on_answer(at(109), one(first + 3), true);
    assert_eq!(path.detect_losses(at(109)), [(0, 0..1)]);
    assert_eq!(path.live(), 1);
}

#[test]
fn an_overtaken_request_is_lost_after_a_little_more_than_a_round_trip() {
    let mut path = path_with(2);
    let first = path.oldest(|n| *n == 0).unwrap().request;
    path.on_answer(at(110), one(first + 1), true);
    let due = path.next_check_at();
    assert!(at(111) < due && due < at(113), "{due:?}");
    assert!(path.detect_losses(at(111)).is_empty());
    assert_eq!(path.detect_losses(due), [(0, 0..1)]);
}

#[test]
fn answers_that_keep_coming_hold_off_the_probe_timeout() {
    let mut path = path_with(20);
    let first = path.oldest(|n| *n == 0).unwrap().request;
    for n in 0..19 {
        // A source that limits its rate: ever later, but never silent.
        let now = at(110 + n * 15);
        assert!(path.detect_losses(now).is_empty(), "request {n}");
        path.on_answer(now, one(first + n), true);
    }
    assert_eq!((path.pto_count(), path.live()), (0, 1));
}

#[test]
fn a_probe_timeout_asks_again_for_little_and_the_third_gives_up() {
    let mut path = path_with(20);
    let first = path.next_check_at();
    assert_eq!(path.detect_losses(first).len(), PROBES);
    assert_eq!((path.pto_count(), path.live()), (1, 20 - PROBES));
    for _ in 0..PROBES {
        assert!(path.allowance(first, true) > 0);
        path.on_sent(first, 99, Answers::one(1000), Again::Since(at(100)));
    }
    assert_eq!(path.allowance(first, true), 0);
    let second = path.next_check_at();
    assert_eq!(path.detect_losses(second).len(), PROBES);
    assert!(path.allowance(second, true) > 0);
    let third = path.next_check_at();
    assert!(third.since(first) > second.since(first));
    assert_eq!(path.detect_losses(third).len(), 20 - PROBES);
    assert!(path.is_gone() && path.live() == 0);
    assert!(path.allowance(third, true) > 0);
}

#[test]
fn a_probe_timeout_is_no_measure_of_the_rate() {
    let mut path = path_with(20);
    let newest = path.oldest(|n| *n == 19).unwrap();
    for _ in 0..2 {
        path.detect_losses(path.next_check_at());
    }
    let now = path.next_check_at();
    assert!(path.on_answer(now, newest, true).is_some());
    assert_eq!((path.pto_count(), path.congestion.rate()), (0, 0.0));
    path.detect_losses(now);
    assert!(path.allowance(now, true) > 0);
}

#[test]
fn after_an_outage_in_which_all_was_lost_everything_is_asked_for_anew_soon() {
    // The queue stood as long as anything was measured, so later answers come sooner than seems possible.
    let mut path = InFlight::new(1000);
    for n in 0..200 {
        let sequence = path.on_sent(at(n * 10), n, Answers::one(1000), Again::No);
        path.on_answer(at(n * 10 + 80), one(sequence), true);
    }
    let asked = at(2100);
    let mut open: BTreeMap<u64, RequestedBlock> =
        (0..300).map(|n| (n, one(path.on_sent(asked, n, Answers::one(1000), Again::No)))).collect();
    let round_trip = Duration::from_millis(40);
    let mut coming: VecDeque<(Time, u64)> = VecDeque::new();
    let (mut now, mut lost, mut next) = (asked, VecDeque::new(), 300);
    while open.keys().any(|n| *n < 300) {
        now += Duration::from_millis(1);
        assert!(now < at(6000), "{} of them are still missing", open.range(..300).count());
        while coming.front().is_some_and(|(sent, _)| *sent + round_trip <= now) {
            let (_, n) = coming.pop_front().unwrap();
            if let Some(asked) = open.remove(&n) {
                path.on_answer(now, asked, true);
            }
        }
        lost.extend(path.detect_losses(now).into_iter().map(|(n, _)| n));
        while path.allowance(now, false) > 0 {
            let n = lost.pop_front().unwrap_or(next);
            next += u64::from(n == next);
            let again = open.get(&n).map_or(Again::No, |earlier| path.supersede(*earlier).unwrap());
            open.insert(n, one(path.on_sent(now, n, Answers::one(1000), again)));
            // The outage lasts for 200 ms.
            if now > asked + Duration::from_millis(200) {
                coming.push_back((now, n));
            }
        }
    }
}

#[test]
fn a_path_that_became_much_slower_is_measured_anew_and_then_nothing_is_asked_for_twice() {
    let mut path = path_with(20);
    let round_trip = Duration::from_millis(100);
    let mut again = 0;
    // When each request came to the peer, which answers in that order.
    let mut coming: VecDeque<(Time, u64)> = (0..20).map(|n| (at(100), n)).collect();
    let mut in_request: BTreeMap<u64, RequestedBlock> =
        (0..20).map(|n| (n, path.oldest(|other| *other == n).unwrap())).collect();
    let mut now = at(100);
    while now < at(2000) {
        now += Duration::from_millis(1);
        while coming.front().is_some_and(|(sent, _)| *sent + round_trip <= now) {
            let (_, n) = coming.pop_front().unwrap();
            if let Some(asked) = in_request.remove(&n) {
                path.on_answer(now, asked, true);
            }
            let request = path.on_sent(now, n + 20, Answers::one(1000), Again::No);
            in_request.insert(n + 20, one(request));
            coming.push_back((now, n + 20));
        }
        for (n, _) in path.detect_losses(now) {
            again += 1;
            let first = path.supersede(in_request[&n]).unwrap();
            in_request.insert(n, one(path.on_sent(now, n, Answers::one(1000), first)));
        }
    }
    assert!(again <= 3 * PROBES, "{again}");
    assert!(path.rtt.smoothed() > round_trip * 3 / 4);
}

#[test]
fn a_late_answer_counts_as_reordering_and_ends_the_probe_timeouts() {
    let mut path = path_with(8);
    let first = path.oldest(|n| *n == 0).unwrap().request;
    for later in 1..=6 {
        path.on_answer(at(109), one(first + later), true);
    }
    assert_eq!(path.detect_losses(at(109)), [(0, 0..1)]);
    assert_eq!(path.on_answer(at(110), one(first), true), Some((0, true)));
    // From now on six may overtake one.
    for n in 100..108 {
        path.on_sent(at(120), n, Answers::one(1000), Again::No);
    }
    let next = path.oldest(|n| *n == 100).unwrap().request;
    for later in 1..=5 {
        path.on_answer(at(129), one(next + later), true);
    }
    assert!(path.detect_losses(at(129)).iter().all(|(n, _)| *n != 100));
}

#[test]
fn an_answer_to_a_repeated_request_that_is_a_little_quicker_than_all_before_is_not_taken_for_a_late_one() {
    let mut path = path_with(1);
    let timeout = path.rtt.timeout(0);
    let first = path.oldest(|_| true).unwrap();
    let again = path.supersede(first).unwrap();
    let repeated = path.on_sent(at(200), 0, Answers::one(1000), again);
    path.on_answer(at(210) - Duration::from_micros(50), one(repeated), true);
    assert_eq!(path.rtt.timeout(0), timeout, "the wait from the first request on was measured");
}

#[test]
fn each_block_of_a_request_is_answered_or_lost_by_itself() {
    let mut path = path_with(0);
    let answers = Answers { blocks: 64, bytes: 1000, last: 100 };
    let request = path.on_sent(at(100), 7, answers, Again::No);
    assert_eq!((path.live(), path.congestion.in_flight()), (64, 63_100));
    let asked = |nth| RequestedBlock { request, nth };
    for nth in (0..64).filter(|nth| ![2, 3, 9, 63].contains(nth)) {
        assert_eq!(path.on_answer(at(110), asked(nth), true), Some((7, false)));
        assert_eq!(path.on_answer(at(110), asked(nth), true), None, "twice");
    }
    assert_eq!(path.detect_losses(at(110)), [(7, 2..4), (7, 9..10)]);
    assert_eq!((path.live(), path.congestion.in_flight()), (1, 100));
    assert_eq!(path.supersede(asked(2)), Some(Again::Since(at(100))));
    assert_eq!((path.supersede(asked(2)), path.supersede(asked(0))), (None, None));
    assert_eq!(path.on_answer(at(111), asked(2), true), None);
    assert_eq!(path.on_answer(at(111), asked(3), true), Some((7, false)));
    assert_eq!(path.oldest(|_| true), Some(asked(63)));
    assert_eq!(path.on_answer(at(111), asked(63), true), Some((7, false)));
    assert_eq!((path.live(), path.congestion.in_flight(), path.remembered()), (0, 0, 1));
    assert_eq!(path.on_answer(at(111), asked(9), true), Some((7, true)));
    assert_eq!(path.remembered(), 0);
}

/// The round trip that a path shows for an answer after 40 ms, of which it was here for `here` and waited at the peer for `told`.
fn shortest_with(here: u64, told: Option<u64>) -> Duration {
    let mut path = InFlight::new(1000);
    let number = path.ask_wait(at(100)).unwrap();
    let request = path.on_sent(at(100), 0, Answers::one(1000), Again::No);
    if let Some(told) = told {
        path.on_waited(number, Duration::from_millis(told));
    }
    path.set_waited_here(Duration::from_millis(here));
    path.on_answer(at(140), one(request), true);
    assert_eq!(path.rtt.smoothed(), Duration::from_millis(40));
    path.rtt.min()
}

#[test]
fn what_a_request_and_its_answer_waited_is_no_part_of_the_path() {
    let found = [(0, None), (10, None), (0, Some(25)), (10, Some(25))].map(|(here, told)| {
        let shortest = shortest_with(here, told);
        shortest.as_millis()
    });
    assert_eq!(found, [40, 30, 15, 5]);
}

#[test]
fn a_wait_that_is_longer_than_the_answer_took_is_not_believed() {
    assert_eq!(shortest_with(10, Some(31)), Duration::from_millis(30));
}

#[test]
fn a_wait_counts_only_for_the_requests_that_it_is_about() {
    let mut path = InFlight::new(1000);
    let number = path.ask_wait(at(100)).unwrap();
    assert_eq!(path.ask_wait(at(100)), None, "once for all that leave together");
    let first = path.on_sent(at(100), 0, Answers::one(1000), Again::No);
    let second = path.on_sent(at(110), 1, Answers::one(1000), Again::No);
    path.on_waited(number, Duration::from_millis(25));
    path.on_answer(at(140), one(second), true);
    assert_eq!(path.rtt.min(), Duration::from_millis(30));
    path.on_answer(at(141), one(first), true);
    assert_eq!(path.rtt.min(), Duration::from_millis(16));
}
