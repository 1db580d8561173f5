//! Answering others while fetching.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::net::UdpSocket;

use cjp2p_tests::content::{self, blake3_id, sha256_id};

use crate::support::{Bench, Ended, Host, assert_content, wait_until, written};

/// A port of the loopback interface that is free.
fn free_address() -> String {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn what_is_here_of_a_download_in_progress_is_shared() {
    let bytes = content::bytes(60, 12 << 20);
    let host = Host::limited(&[&bytes], Some(4 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let address = free_address();
    let mut first = bench.tool();
    first.args(["--listen", &address, "--peer", &host.address.to_string(), &id, "-o", "first"]);
    let mut first = first.spawn().unwrap();
    wait_until(|| bench.path("first.cjp2p-resume").exists());
    // The second knows nobody but the first, and goes as fast as that one has it.
    let ended = bench.run(&[], &[&*id, "--peer", &address, "-o", "second", "--json"]);
    let first_ended = first.wait().unwrap();
    assert!(first_ended.success());
    // The first ends when it is complete: what the second has by then is kept.
    assert!([Some(0), Some(4)].contains(&ended.code), "{}", ended.stderr);
    let second = if ended.code == Some(0) { "second" } else { "second.cjp2p-part" };
    let there = written(&bench, second, &bytes);
    assert!(there > 2 << 20, "{there} bytes came by way of the first");
}

#[test]
fn what_goes_to_standard_output_is_shared_with_who_fetches_it_at_the_same_time() {
    let bytes = content::bytes(66, 12 << 20);
    let host = Host::limited(&[&bytes], Some(4 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let address = free_address();
    let mut first = bench.tool();
    first.args(["--listen", &address, "--peer", &host.address.to_string(), &id]);
    let mut first = first.stdout(fs::File::create(bench.path("first")).unwrap()).spawn().unwrap();
    wait_until(|| written(&bench, "first", &bytes) > 1 << 20);
    let ended = bench.run(&[], &[&*id, "--peer", &address, "--stall", "2s"]);
    assert!(first.wait().unwrap().success());
    assert_content(&bench.path("first"), &bytes);
    // The first ends when it has written everything.
    assert!([Some(0), Some(4)].contains(&ended.code), "{}", ended.stderr);
    assert!(bytes.starts_with(&ended.stdout) && ended.stdout.len() > 2 << 20, "{} bytes", ended.stdout.len());
}

#[test]
fn what_is_finished_is_shared_as_long_as_the_tool_runs() {
    let small: Vec<Vec<u8>> = vec![content::bytes(61, 3000), content::bytes(62, 700_000)];
    let large = content::bytes(63, 16 << 20);
    let host = Host::limited(&[&small[0], &small[1], &large], Some(8 << 20));
    let bench = Bench::new();
    let address = free_address();
    let mut first = bench.tool();
    first.args(["--listen", &address, "--peer", &host.address.to_string(), "-o", "dir"]);
    first.arg(sha256_id(&small[0]).to_string()).arg(blake3_id(&small[1]).to_string());
    first.arg(blake3_id(&large).to_string());
    let mut first = first.spawn().unwrap();
    let there = |id: &str| bench.path(&format!("dir/{id}"));
    wait_until(|| {
        there(&sha256_id(&small[0]).to_string()).exists() && there(&blake3_id(&small[1]).to_string()).exists()
    });
    drop(host);
    for (id, bytes) in [(sha256_id(&small[0]), &small[0]), (blake3_id(&small[1]), &small[1])] {
        let ended = bench.run(&[], &[&*id.to_string(), "--peer", &address]).done();
        assert!(ended.stdout == *bytes, "{id}");
    }
    // A file that was changed since is not that content any more.
    fs::write(there(&blake3_id(&small[1]).to_string()), "changed").unwrap();
    let id = blake3_id(&small[1]).to_string();
    bench.run(&[], &[&*id, "--peer", &address, "--timeout", "1s"]).failed(3, "no peer offered");
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn what_was_fetched_by_its_sha256_hash_is_told_on_by_its_other_id_and_shared_with_its_tree() {
    let bytes = content::bytes(67, 3 << 20);
    let large = content::bytes(68, 32 << 20);
    let host = Host::limited(&[&bytes, &large], Some(8 << 20));
    let bench = Bench::new();
    let address = free_address();
    let (id, other) = (sha256_id(&bytes).to_string(), blake3_id(&bytes).to_string());
    let mut first = bench.tool();
    first.args(["--listen", &address, "--peer", &host.address.to_string(), "-o", "dir", &id]);
    let mut first = first.arg(sha256_id(&large).to_string()).spawn().unwrap();
    wait_until(|| bench.path(&format!("dir/{id}")).exists());
    drop(host);
    let told = bench.run(&[], &[&*id, "--peer", &address, "-v", "-o", "by-sha256"]);
    assert!(told.code == Some(0) && told.stderr.contains(&other), "{}", told.stderr);
    assert_content(&bench.path("by-sha256"), &bytes);
    let by_tree = bench.run(&[], &[&*other, "--peer", &address]).done();
    assert!(by_tree.stdout == bytes);
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn nothing_is_shared_where_that_is_not_wanted() {
    let bytes = content::bytes(64, 12 << 20);
    let host = Host::limited(&[&bytes], Some(4 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let address = free_address();
    let mut first = bench.tool();
    first.args(["--listen", &address, "--peer", &host.address.to_string(), &id, "-o", "first", "--no-share"]);
    let mut first = first.spawn().unwrap();
    wait_until(|| bench.path("first.cjp2p-resume").exists());
    bench.run(&[], &[&*id, "--peer", &address, "--timeout", "1s"]).failed(3, "no peer offered");
    first.kill().unwrap();
    Ended::of(first.wait_with_output().unwrap());
}

#[test]
fn a_ring_of_getters_ends_with_the_content_everywhere() {
    let bytes = content::bytes(65, 6 << 20);
    let host = Host::limited(&[&bytes], Some(6 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let addresses = [free_address(), free_address()];
    let getters: Vec<_> = (0..2)
        .map(|n| {
            let mut getter = bench.tool();
            getter.args(["--listen", &addresses[n], "--peer", &addresses[1 - n]]);
            getter.args(["--peer", &host.address.to_string(), &id, "-o", &n.to_string()]);
            getter.spawn().unwrap()
        })
        .collect();
    for mut getter in getters {
        assert!(getter.wait().unwrap().success());
    }
    for n in ["0", "1"] {
        assert_content(&bench.path(n), &bytes);
    }
}
