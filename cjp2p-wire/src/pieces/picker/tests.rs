//! Which range goes to which source, and when it passes to another.

use std::time::Duration;

use super::*;
use crate::pieces::NoProofs;

const UNIT: u64 = 4096;
const EXTENT: u64 = 4 * UNIT;

fn source(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 24254))
}

/// Content of so many extents.
fn picker(extents: u64) -> Picker {
    let shape = Shape { length: extents * EXTENT, unit: UNIT, least_extent: EXTENT, is_one: false };
    Picker::new(shape, vec![0..shape.length], RangeSet::new())
}

/// A source that sends `rate` bytes in a second over a short path, a unit for each request.
fn terms(n: u8, rate: f64, refused: &RangeSet) -> Terms<'_> {
    let round_trip = Duration::from_millis(10);
    Terms { refused: Some(refused), round_trip, rate, ..Terms::new(source(n), UNIT, EXTENT) }
}

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

/// Asks for as much as there is to ask of this source. Returns how many bytes that is.
fn ask_all(picker: &mut Picker, now: Time, terms: &Terms<'_>) -> u64 {
    let mut asked = 0;
    while let Some(wanted) = picker.next_wanted(now, terms, &NoProofs) {
        asked += wanted.range.end - wanted.range.start;
        #[cfg(debug_assertions)]
        picker.check_invariants();
    }
    asked
}

const FAST: f64 = 10e6;
const SLOW: f64 = 10e3;

#[test]
fn a_source_with_nothing_left_to_begin_takes_what_another_would_bring_much_later() {
    let nothing = RangeSet::new();
    let mut picker = picker(2);
    // One extent of the two is as much as the slow one may ask for.
    assert!((0..4).all(|_| picker.next_wanted(at(0), &terms(1, SLOW, &nothing), &NoProofs).is_some()));
    let partial = Terms { aligned: true, ..terms(2, FAST, &nothing) };
    assert_eq!(ask_all(&mut picker, at(1), &partial), EXTENT, "it may have nothing of the other");
    assert_eq!(ask_all(&mut picker, at(1), &terms(2, FAST, &nothing)), EXTENT);
    assert_eq!(ask_all(&mut picker, at(2), &terms(3, FAST, &nothing)), 0, "it would not be sooner");
    assert_eq!(ask_all(&mut picker, at(2), &terms(1, SLOW, &nothing)), 0);
}

#[test]
fn what_a_source_does_not_have_it_is_not_asked_for_in_place_of_another() {
    let nothing = RangeSet::new();
    let mut picker = picker(2);
    assert_eq!(ask_all(&mut picker, at(0), &terms(1, SLOW, &nothing)), 2 * EXTENT);
    let refused: RangeSet = std::iter::once(UNIT..2 * UNIT).collect();
    assert_eq!(ask_all(&mut picker, at(1), &terms(2, FAST, &refused)), EXTENT, "it refused the first");
    let has: RangeSet = std::iter::once(0..UNIT).collect();
    let some = Terms { has: Some(&has), ..terms(3, FAST, &nothing) };
    assert_eq!(ask_all(&mut picker, at(2), &some), UNIT, "it has no more of it");
}

#[test]
fn what_must_come_from_one_source_goes_to_one_that_has_all_of_it_and_begins_anew() {
    let nothing = RangeSet::new();
    let mut picker = picker(1);
    let key = (Space::Content, 0);
    picker.next_wanted(at(0), &terms(1, SLOW, &nothing), &NoProofs);
    let asked_of_one = |extent: &mut Extent| {
        extent.start_over();
        extent.entrust(at(0), source(1), Duration::from_secs(2));
    };
    picker.gathering.change(key, asked_of_one).expect("it is being gathered");
    picker.fill(key, source(1), 0, Slices::new(&[&[1; UNIT as usize]]));
    assert_eq!(ask_all(&mut picker, at(1), &terms(1, SLOW, &nothing)), 3 * UNIT);
    let has: RangeSet = std::iter::once(0..3 * UNIT).collect();
    let some = Terms { has: Some(&has), ..terms(2, FAST, &nothing) };
    assert_eq!(ask_all(&mut picker, at(1), &some), 0, "it has not all");
    assert_eq!(ask_all(&mut picker, at(1), &terms(3, FAST, &nothing)), EXTENT);
    let extent = picker.gathering.get(key).unwrap();
    assert!(extent.sole && extent.owner == Some(source(3)));
}

#[test]
fn what_was_given_back_is_asked_of_another_only_if_that_one_can_send_it() {
    let nothing = RangeSet::new();
    let mut picker = picker(1);
    assert_eq!(ask_all(&mut picker, at(0), &terms(1, SLOW, &nothing)), EXTENT);
    picker.give_back(source(1), Space::Content, &(UNIT..2 * UNIT), true);
    let refused: RangeSet = std::iter::once(UNIT..2 * UNIT).collect();
    assert_eq!(ask_all(&mut picker, at(1), &terms(2, FAST, &refused)), 0);
    let has: RangeSet = std::iter::once(2 * UNIT..4 * UNIT).collect();
    let some = Terms { has: Some(&has), ..terms(2, SLOW, &nothing) };
    assert_eq!(ask_all(&mut picker, at(1), &some), 0, "what it has was asked for");
    assert_eq!(ask_all(&mut picker, at(1), &terms(3, SLOW, &nothing)), UNIT);
}
