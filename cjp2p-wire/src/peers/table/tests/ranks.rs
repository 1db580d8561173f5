//! Who is asked first, who makes room, and who is asked whether he is still there.

use super::*;

#[test]
fn the_best_peers_answer_were_heard_recently_and_are_near() {
    let mut table = PeerTable::new();
    let now = 10_000 * MINUTE;
    table.suggest(a("20.0.0.1:24254"), Origin::Incoming);
    table.suggest(a("20.0.0.2:24254"), Origin::CommandLine);
    table.heard(a("20.1.0.1:24254"), now - 10 * MINUTE, Some(80.0), Origin::Incoming);
    table.heard(a("20.1.0.2:24254"), now - 12 * MINUTE, Some(8.0), Origin::Incoming);
    table.heard(a("20.1.0.3:24254"), now - 5_000 * MINUTE, Some(1.0), Origin::Incoming);
    table.heard(a("20.1.0.4:24254"), now - MINUTE, Some(1.0), Origin::Incoming);
    for _ in 0..3 {
        table.unanswered(a("20.1.0.4:24254"));
    }
    let order = [
        "20.1.0.2:24254",
        "20.1.0.1:24254",
        "20.1.0.3:24254",
        "20.0.0.2:24254",
        "20.0.0.1:24254",
        "20.1.0.4:24254",
    ];
    assert_eq!(table.best(100, now), order.map(a));
    assert_eq!(table.best(2, now), [a(order[0]), a(order[1])]);
}

#[test]
fn who_sent_us_something_comes_before_who_was_heard_from_a_little_later() {
    let mut table = PeerTable::new();
    let now = 100_000 * MINUTE;
    let (near, useful, gone) = (a("20.1.0.1:24254"), a("20.1.0.2:24254"), a("20.1.0.3:24254"));
    table.heard(near, now, Some(1.0), Origin::Incoming);
    table.heard(useful, now - 50 * MINUTE, Some(90.0), Origin::Incoming);
    table.heard(gone, now - 10_000 * MINUTE, Some(1.0), Origin::Incoming);
    assert_eq!(table.best(3, now), [near, useful, gone]);
    table.useful(useful, now - 200 * MINUTE);
    table.useful(gone, now - 10_000 * MINUTE);
    assert_eq!(table.best(3, now), [useful, near, gone]);
    table.useful(useful, now - 8 * 24 * 60 * MINUTE);
    assert_eq!(table.get(useful).unwrap().useful_ms(), Some(now - 200 * MINUTE), "the last time counts");
    let later = now + 8 * 24 * 60 * MINUTE;
    assert_eq!(table.best(3, later)[0], near, "what was long ago counts no more");
    assert_eq!(PeerTable::parse(&table.to_json()).table, table);
}

#[test]
fn of_those_that_may_make_room_the_one_that_was_never_of_use_does() {
    let mut table = PeerTable::new();
    let at = |host: u8| SocketAddr::from(([198, 51, 100, host], 24254));
    for host in 1..=8 {
        table.heard(at(host), 1000 + u64::from(host), None, Origin::Incoming);
        table.unanswered(at(host));
        if host != 5 {
            table.useful(at(host), 1000);
        }
    }
    assert_eq!(table.heard(at(9), 2000, None, Origin::Incoming), Admission::Added);
    assert!(table.get(at(5)).is_none());
}

#[test]
fn those_not_heard_from_for_a_day_are_worth_a_question() {
    let mut table = PeerTable::new();
    let day = 24 * 60 * MINUTE;
    for (host, heard) in [(1, 10 * day), (2, 9 * day), (3, 8 * day), (4, 11 * day + 1)] {
        table.heard(SocketAddr::from(([20, 1, host, 1], 24254)), heard, None, Origin::Incoming);
    }
    table.suggest(a("20.1.9.1:24254"), Origin::Added);
    assert_eq!(table.doubtful(2, 12 * day), [a("20.1.3.1:24254"), a("20.1.2.1:24254")]);
    for _ in 0..3 {
        table.unanswered(a("20.1.3.1:24254"));
    }
    assert_eq!(table.doubtful(9, 12 * day), [a("20.1.2.1:24254"), a("20.1.1.1:24254")]);
}
