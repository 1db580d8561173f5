//! Requests in the name of a bystander: what reaches it is bounded by what the attacker sends, whatever it answers.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::foreign::RustFebruary;
use cjp2p_tests::reflection::{Victim, run};
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::node::{ECHO_FACTOR, ECHO_RATE_OF_HOST};

/// A victim that knows permanent cookies is sent at most twice what the attacker sent, beside what it would be sent without.
fn at_most_twice_reaches_those_who_know_permanent_cookies(datagrams: u64) {
    for victim in Victim::KNOW_COOKIES {
        let alone = run(victim, datagrams, false, 1);
        let outcome = run(victim, datagrams, true, 1);
        // Its own fetch may have something lost among what is forged, and asks for that again.
        let own = alone.reached + alone.reached / 10;
        let ratio = outcome.reached.saturating_sub(alone.reached) as f64 / outcome.forged as f64;
        eprintln!("{victim:?}: {ratio:.3} times {} bytes in {datagrams} datagrams", outcome.forged);
        assert!(outcome.reached <= own + 2 * outcome.forged, "{victim:?}: {outcome:?}, alone {alone:?}");
        assert!(
            outcome.reached > alone.reached + outcome.forged / 3,
            "{victim:?}: the forger has no answers"
        );
    }
}

#[test]
fn forged_requests_bring_bystanders_at_most_twice_the_attackers_bytes() {
    at_most_twice_reaches_those_who_know_permanent_cookies(20_000);
}

#[test]
#[ignore = "minutes: cargo test --release -p cjp2p-tests --test sim reflection -- --ignored --nocapture"]
fn a_million_forged_requests_bring_bystanders_at_most_twice_the_attackers_bytes() {
    at_most_twice_reaches_those_who_know_permanent_cookies(1_000_000);
}

#[test]
fn whoever_can_only_echo_is_sent_64_kib_a_second_for_forged_requests() {
    for victim in [Victim::February, Victim::Ruby] {
        let outcome = run(victim, 20_000, true, 2);
        let seconds = outcome.simulated.as_secs_f64();
        let most = 2 * outcome.forged + (seconds * ECHO_RATE_OF_HOST as f64) as u64;
        assert!(outcome.reached <= most, "{victim:?}: {outcome:?}");
        // The node is served: otherwise none of its kind could fetch.
        assert!(outcome.reached > most / 8, "{victim:?}: {outcome:?}");
    }
}

#[test]
fn a_february_node_fetches_64_mib_at_the_rate_of_echoes() {
    const LENGTH: usize = 64 << 20;
    let (server, theirs): (SocketAddr, SocketAddr) =
        ("10.0.0.1:24254".parse().unwrap(), "10.0.0.2:24254".parse().unwrap());
    let bytes = content::bytes(1, LENGTH);
    let mut world = World::new(1);
    let mut peer = Peer::new(7);
    peer.store.share(bytes.clone(), Some("64M"));
    world.add(server, Link::default(), peer);
    world.add(theirs, Link::default(), RustFebruary::new().fetch("64M", &[server]));
    let done = world.run_until(Duration::from_secs(3000), |world| {
        world.host::<RustFebruary>(theirs).file("64M").is_some()
    });
    assert!(done, "not there after {:?}", world.now());
    assert!(world.host::<RustFebruary>(theirs).file("64M") == Some(&bytes));
    let seconds = world.now().as_secs_f64();
    let least = LENGTH as f64 * 4.0 / 3.0 / ECHO_RATE_OF_HOST as f64;
    assert!((least..least * 1.25).contains(&seconds), "{seconds} s");
    let traffic = world.traffic(theirs);
    assert!(traffic.bytes_in <= ECHO_FACTOR as u64 * traffic.bytes_out, "{traffic:?}");
    println!(
        "{seconds:.0} s, {:.1} bytes for each of its own",
        traffic.bytes_in as f64 / traffic.bytes_out as f64
    );
}
