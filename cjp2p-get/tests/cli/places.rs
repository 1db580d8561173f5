//! More ids than are fetched side by side.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::io::{BufRead, BufReader};

use cjp2p_tests::content::blake3_id;

use crate::support::{Bench, Host, assert_content};

#[test]
fn ids_that_nobody_has_do_not_hold_up_the_one_that_somebody_has() {
    let bench = Bench::new();
    let host = Host::sharing(&[b"here it is"]);
    let mut ids: Vec<String> = (0..300u32).map(|n| blake3_id(&n.to_le_bytes()).to_string()).collect();
    ids.push(blake3_id(b"here it is").to_string());
    // Each of these has that long, but not while others wait: then it would come after four minutes.
    let options = ["--timeout", "50s", "--into", "there", "--json"].map(str::to_owned);
    let mut child = bench.begin(&[&host], &[&options[..], &ids].concat());
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("\"complete\"") && line.contains(&ids[300]), "{line}");
    assert_content(&bench.path("there").join(&ids[300]), b"here it is");
}

#[test]
fn each_of_many_ids_that_nobody_has_fails_when_its_time_is_over_and_nothing_is_left() {
    let bench = Bench::new();
    let host = Host::sharing(&[b"something else"]);
    let ids: Vec<String> = (0..100u32).map(|n| blake3_id(&n.to_le_bytes()).to_string()).collect();
    let options = ["--timeout", "3s", "--into", "there", "--json"].map(str::to_owned);
    let ended = bench.run(&[&host], &[&options[..], &ids].concat());
    assert_eq!(ended.code, Some(3));
    let failed = ended.json().iter().filter(|line| line["event"] == "failed").count();
    assert_eq!(failed, 100, "{}", ended.stderr);
    assert_eq!(bench.files(), [""; 0]);
}
