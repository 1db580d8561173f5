//! Sources that had the content and no longer do: a fetch ends when it is in vain, and only then, whatever liars say.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::{HostBehaviour, Link, Outbox, Peer, World};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram::{self, Encoder};
use cjp2p_wire::message::Message;
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

const GETTER: SocketAddr = at(1);
const SOURCE: SocketAddr = at(2);
const OTHER: SocketAddr = at(3);

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, n), 24254))
}

/// Says of everything that it had it, and no longer does; it returns cookies as honest nodes do.
struct Withdrawer;

impl HostBehaviour for Withdrawer {
    fn handle_datagram(&mut self, _: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let mut encoder = Encoder::new();
        let mut asked = false;
        for message in datagram::decode(bytes).unwrap_or_default() {
            match message {
                Message::PleaseAlwaysReturnThisMessage(value) => encoder.value("AlwaysReturned", value.get()),
                Message::PleaseReturnThisMessage(value) => encoder.value("ReturnedMessage", value.get()),
                Message::PleaseSendContent(request) => {
                    asked = true;
                    encoder.withdrawal(&request.id, &[]);
                }
                _ => {}
            }
        }
        if asked {
            out.push((from, encoder.finish(0)));
        }
    }
}

struct Bench {
    world: World,
    bytes: Vec<u8>,
    id: ContentId,
    job: JobId,
}

/// A getter that fetches 4 MiB from those at `sources`, of which [`SOURCE`] has the content, at a megabyte a second.
fn fetching(sha256: bool, others: impl FnOnce(&mut World, &[u8]), sources: &[SocketAddr]) -> Bench {
    let bytes = content::bytes(90, 4 << 20);
    let id = if sha256 { content::sha256_id(&bytes) } else { content::blake3_id(&bytes) };
    let mut world = World::new(90);
    let link = Link::rated(8, 10, 64 << 10);
    world.add(GETTER, link, Peer::new(1));
    let mut source = Peer::new(2);
    source.store.share(bytes.clone(), None);
    world.add(SOURCE, link, source);
    others(&mut world, &bytes);
    let job = world.with_peer(GETTER, |peer, now| peer.fetch(now, &id, sources));
    Bench { world, bytes, id, job }
}

impl Bench {
    /// Waits until a megabyte is here.
    fn until_under_way(&mut self) {
        let job = self.job;
        let under_way =
            move |world: &World| world.peer(GETTER).node.progress(job).is_some_and(|p| p.done > 1 << 20);
        assert!(self.world.run_until(Duration::from_secs(20), under_way));
    }

    fn withdraw(&mut self) {
        self.world.with_peer(SOURCE, |peer, _| peer.store.withdraw_all());
    }

    /// Why it failed, and after how many seconds; `None` where it is complete and right.
    fn outcome(&mut self) -> (Option<String>, f64) {
        let (begun, job) = (self.world.now(), self.job);
        assert!(self.world.run_until(Duration::from_secs(60), |world| world.peer(GETTER).is_over(job)));
        let failure = self.world.peer(GETTER).failure(job);
        if failure.is_none() {
            assert!(self.world.peer(GETTER).fetched(job) == self.bytes);
        }
        (failure, self.world.now().since(begun).as_secs_f64())
    }
}

fn share(world: &mut World, address: SocketAddr, bytes: &[u8]) {
    let mut peer = Peer::new(address.port().into());
    peer.store.share(bytes.to_vec(), None);
    world.add(address, Link::rated(8, 10, 64 << 10), peer);
}

#[test]
fn what_its_only_source_withdraws_is_told_within_seconds() {
    for sha256 in [false, true] {
        let mut bench = fetching(sha256, |_, _| {}, &[SOURCE]);
        bench.until_under_way();
        bench.withdraw();
        let (failure, seconds) = bench.outcome();
        assert_eq!(failure.as_deref(), Some("Withdrawn"));
        assert!((4.0..9.0).contains(&seconds), "{seconds} s");
    }
}

#[test]
fn what_another_source_has_is_fetched_whoever_withdraws_it() {
    for sha256 in [false, true] {
        let mut bench = fetching(sha256, |world, bytes| share(world, OTHER, bytes), &[SOURCE, OTHER]);
        bench.until_under_way();
        bench.withdraw();
        assert_eq!(bench.outcome().0, None);
    }
}

#[test]
fn what_comes_back_in_a_moment_is_fetched_to_the_end() {
    let mut bench = fetching(false, |_, _| {}, &[SOURCE]);
    bench.until_under_way();
    bench.withdraw();
    bench.world.run_for(Duration::from_secs(3));
    let bytes = bench.bytes.clone();
    bench.world.with_peer(SOURCE, |peer, _| peer.store.share(bytes, None));
    assert_eq!(bench.outcome().0, None);
}

#[test]
fn a_liar_that_withdraws_everything_ends_nothing() {
    let with_liar = |world: &mut World, _: &[u8]| world.add(OTHER, Link::default(), Withdrawer);
    // Beside a source that serves.
    let mut bench = fetching(false, with_liar, &[OTHER, SOURCE]);
    assert_eq!(bench.outcome().0, None);
    // Beside one that gave some and is silent: it may come back.
    let mut bench = fetching(false, with_liar, &[OTHER, SOURCE]);
    bench.until_under_way();
    bench.world.set_up(SOURCE, false);
    assert_eq!(bench.outcome().0.as_deref(), Some("Stalled"));
    // Alone, where nobody gave anything: it is not known that anybody ever had it.
    let mut bench = fetching(false, with_liar, &[OTHER]);
    let (failure, seconds) = bench.outcome();
    assert_eq!(failure.as_deref(), Some("NoSource"));
    assert!(seconds > 29.0, "{seconds} s");
}

#[test]
fn what_a_named_peer_says_counts_though_it_gave_nothing_yet() {
    for (named, of_both, failure) in
        [(true, false, "Withdrawn"), (false, false, "Withdrawn"), (true, true, "NoSource")]
    {
        let mut bench = fetching(false, |_, _| {}, &[SOURCE, OTHER]);
        bench.withdraw();
        bench.world.with_peer(GETTER, |peer, _| {
            peer.node.rely_on(bench.job, SOURCE, named);
            if of_both {
                // This one is off, and may have it.
                peer.node.rely_on(bench.job, OTHER, true);
            }
        });
        assert_eq!(bench.outcome().0.as_deref(), Some(failure), "{named} {of_both}");
    }
}

#[test]
fn nobody_withdraws_anything_in_the_name_of_others() {
    let mut bench = fetching(false, |_, _| {}, &[SOURCE]);
    bench.until_under_way();
    bench.world.set_up(SOURCE, false);
    for _ in 0..100 {
        let mut encoder = Encoder::new();
        encoder.withdrawal(&bench.id.to_string(), &[]);
        bench.world.inject(SOURCE, GETTER, encoder.finish(0));
        let mut encoder = Encoder::new();
        encoder.cookie("AlwaysReturned", "AAAAAAAAAAAAAAAAAAAAAA");
        encoder.withdrawal(&bench.id.to_string(), &[]);
        bench.world.inject(SOURCE, GETTER, encoder.finish(0));
        bench.world.run_for(Duration::from_millis(50));
    }
    assert_eq!(bench.outcome().0.as_deref(), Some("Stalled"));
}
