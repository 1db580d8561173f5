//! The real programs while they are killed, while their writes fail, and on disks that are full: a sample of what the program
//! `faults` does at length.

use std::collections::BTreeSet;

use cjp2p_tests::faults::full::{self, rooms};
use cjp2p_tests::faults::jobs::JOBS;
use cjp2p_tests::faults::kills::VICTIMS;
use cjp2p_tests::faults::{Bench, writes};
use cjp2p_tests::real::strace;

/// Bytes that are fetched where writes fail.
const SMALL: usize = 2_500_000;

/// Another one each time: it is shown where a test fails.
fn seed() -> u64 {
    let seed = fastrand::u64(..1 << 32);
    eprintln!("seed {seed}");
    seed
}

fn kill(tool: &str) {
    let bench = Bench::new(12 << 20, Some("50M")).expect("a bench");
    let seed = seed();
    for victim in VICTIMS.iter().filter(|victim| victim.name.starts_with(tool)) {
        let tally = victim.kill(&bench, 10, seed).expect("it runs");
        assert!(tally.wrong.is_empty(), "{}: {:#?}", victim.name, tally.wrong);
        assert!(tally.kills >= 10);
    }
}

#[test]
fn a_fetch_killed_at_any_instant_leaves_nothing_wrong_and_goes_on() {
    kill("get");
}

#[test]
fn a_change_of_the_peer_table_is_there_or_not_whenever_tools_are_killed() {
    kill("peers");
}

#[test]
fn a_server_killed_at_any_instant_remembers_no_wrong_id() {
    kill("serve");
}

/// Fails some calls of each writer of this tool.
fn fail_writes(tool: &str, most: usize) {
    if let Some(why) = strace::unavailable() {
        eprintln!("skipped, since no call can be made to fail here: {why}");
        return;
    }
    let bench = Bench::new(SMALL, None).expect("a bench");
    let seed = seed();
    for job in JOBS.iter().filter(|job| job.tool == tool) {
        let tally = writes::fail_each(&bench, job, Some(most), seed).expect("it runs");
        assert!(tally.wrong.is_empty(), "{}: {:#?}", job.name, tally.wrong);
        assert!(tally.points > 5, "{}: only {} calls were found", job.name, tally.points);
    }
}

#[test]
fn a_fetch_whose_writes_fail_says_so_and_the_next_one_goes_on() {
    fail_writes("cjp2p-get", 4);
}

#[test]
fn a_peer_table_that_cannot_be_written_stays_as_it_was() {
    fail_writes("cjp2p-peers", 30);
}

#[test]
fn a_server_whose_writes_fail_serves_what_is_right() {
    fail_writes("cjp2p-serve", 4);
}

#[test]
fn a_tree_file_that_cannot_be_written_gets_no_name() {
    fail_writes("cjp2p-hash", 30);
}

#[test]
fn a_full_disk_is_a_message_and_no_harm() {
    if let Some(why) = full::unavailable() {
        eprintln!("skipped, since no small disk can be mounted here: {why}");
        return;
    }
    let bench = Bench::new(SMALL, None).expect("a bench");
    let mut random = fastrand::Rng::with_seed(seed());
    for job in JOBS {
        let chosen: BTreeSet<usize> = (0..1).map(|_| random.usize(..6)).collect();
        for (name, room) in chosen.into_iter().map(|nth| rooms(SMALL)[nth]) {
            full::run(&bench, job, room).unwrap_or_else(|what| panic!("{}, {name}: {what}", job.name));
        }
    }
}

#[test]
fn a_network_that_is_gone_for_a_while_ends_no_fetch() {
    if let Some(why) = strace::unavailable() {
        eprintln!("skipped, since no call can be made to fail here: {why}");
        return;
    }
    let bench = Bench::new(SMALL, None).expect("a bench");
    for error in ["ENETUNREACH", "ENETDOWN", "EHOSTUNREACH", "EPERM", "ENOBUFS", "ECONNREFUSED"] {
        writes::fail_sending(&bench, &JOBS[0], error).unwrap_or_else(|what| panic!("{error}: {what}"));
    }
}
