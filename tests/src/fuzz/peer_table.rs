//! The peer table: whatever the file says, the table keeps to its limits, and what is written reads back the same.

use std::net::SocketAddr;

use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::peers::table::{Limits, ParsedTable, PeerTable};

use super::input::Input;

pub(super) fn body(bytes: &[u8]) {
    // What follows the text, after a zero byte, is done with the table.
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (text, steps) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(text) = str::from_utf8(text) else { return };
    let ParsedTable { mut table, problems, trimmed } = PeerTable::parse(text);
    let lines = text.matches('\n').count() + 1;
    assert!(problems.iter().all(|problem| problem.line >= 1 && problem.line <= lines), "{problems:?}");
    assert!(problems.iter().all(|problem| !problem.to_string().contains('\n')), "{problems:?}");
    assert!(trimmed <= text.len());
    check(&table);
    let mut input = Input::new(steps);
    while !input.is_empty() {
        step(&mut table, &mut input);
    }
    check(&table);
}

fn step(table: &mut PeerTable, input: &mut Input<'_>) {
    let kind = input.byte();
    let address: SocketAddr = match kind & 3 {
        // Public, of few networks; private; mapped; anything.
        0 => ([81, 2, input.byte() & 1, input.byte()], 24254).into(),
        1 => ([10, 0, 0, input.byte()], 24254).into(),
        2 => ([0, 0, 0, 0, 0, 0xffff, 0x5102, input.byte().into()], 24254).into(),
        _ => {
            let mut octets = [0; 16];
            let given = input.take(16);
            octets[..given.len()].copy_from_slice(given);
            (octets, input.below(1 << 16) as u16).into()
        }
    };
    match kind >> 2 & 7 {
        0..3 => {
            let (now, round_trip) = (input.number(), input.number() as f64 - 8.0);
            table.heard(address, now, Some(round_trip), Origin::Incoming);
        }
        3 => {
            table.suggest(address, Origin::Referral(([81, 2, 0, 1], 5000).into()));
        }
        4 => {
            table.suggest(address, Origin::Added);
        }
        5 => table.unanswered(address),
        6 => drop(table.remove(address)),
        _ => {
            let (count, now) = (input.byte().into(), input.number());
            let best = table.best(count, now);
            assert_eq!(best.len(), table.len().min(count));
            assert!(best.iter().all(|address| table.get(*address).is_some()));
            let recent = table.heard_within(input.number(), now);
            assert!(recent.into_iter().all(|peer| peer.is_verified()));
        }
    }
}

fn check(table: &PeerTable) {
    let limits = Limits::default();
    let verified = table.iter().filter(|peer| peer.is_verified()).count();
    assert!(verified <= limits.verified && table.len() - verified <= limits.suggested);
    for peer in table.iter() {
        assert_eq!(table.get(peer.address()), Some(peer));
        assert!(peer.round_trip_ms().is_none_or(|ms| ms.is_finite() && ms >= 0.0));
    }
    for written in [table.to_json(), table.to_json_lines()] {
        let again = PeerTable::parse(&written);
        assert!(again.problems.is_empty() && again.trimmed == 0, "{:?}: {written}", again.problems);
        assert_eq!(again.table.to_json(), table.to_json(), "it reads back otherwise");
    }
}
