//! The list of what a peer shares, part by part over the simulated network.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::sim::peer::config;
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::node::{Answer, Event, ListEnd, Query};

const ASKER: SocketAddr = at(1);
const SHARER: SocketAddr = at(2);

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, n), 24254))
}

fn ids(count: u64) -> Vec<ContentId> {
    let mut ids: Vec<_> =
        (0..count).map(|n| ContentId::Blake3(*blake3::hash(&n.to_le_bytes()).as_bytes())).collect();
    ids.sort();
    ids
}

/// What is listed by a peer with this list, how the list ends, and the datagrams that the asker sent. The links become such as
/// soon as the first of it is here.
fn asked(
    listed: Vec<ContentId>,
    link: Link,
    act: impl Fn(&mut World),
) -> (Vec<String>, Option<ListEnd>, u64) {
    let mut world = World::new(7);
    world.add(ASKER, Link::default(), Peer::new(1));
    let mut sharer = Peer::new(2);
    sharer.store.listed = Some(listed);
    world.add(SHARER, Link::default(), sharer);
    world.with_peer(ASKER, |peer, now| peer.node.query(now, SHARER, Query::List, false));
    let has_begun = |world: &World| {
        world.peer(ASKER).events.iter().any(|(_, event)| matches!(event, Event::Answer { .. }))
    };
    assert!(world.run_until(Duration::from_secs(10), has_begun));
    world.set_link(ASKER, link);
    world.set_link(SHARER, link);
    act(&mut world);
    let over =
        world.run_until(Duration::from_secs(600), |world| world.peer(ASKER).node.open_questions() == 0);
    assert!(over, "it asks for ever");
    let (mut all, mut end) = (Vec::new(), None);
    for (_, event) in &world.peer(ASKER).events {
        match event {
            Event::Answer { answer: Answer::List(list), .. } => {
                all.extend(list.iter().map(|(id, _)| id.clone()))
            }
            Event::Answer { answer: Answer::ListEnd(how), .. } => assert!(end.replace(*how).is_none()),
            _ => {}
        }
    }
    (all, end, world.traffic(ASKER).datagrams_out)
}

fn texts(ids: &[ContentId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[test]
fn lists_of_every_length_come_whole_whatever_is_lost() {
    // Both links lose as much, so that of questions a third have no answer, and a list ends for want of one in eight seconds.
    for loss in [0.0, 0.1] {
        for count in [0, 1, 15, 16, 17, 127, 128, 129, 1000, 10_000] {
            let link = Link { loss, ..Link::default() };
            let all = ids(count);
            let (listed, end, questions) = asked(all.clone(), link, |_| {});
            assert_eq!(end, Some(ListEnd::Complete), "{count} with {loss} lost");
            assert!(listed == texts(&all), "{count} with {loss} lost");
            if loss == 0.0 {
                assert!(questions <= 3 + count / 128, "{questions} questions for {count}");
            }
        }
    }
}

#[test]
fn a_peer_that_goes_away_is_told_with_what_is_missing() {
    let link = Link::rated(1, 20, 64 << 10);
    let (listed, end, _) = asked(ids(10_000), link, |world| {
        world.run_for(Duration::from_secs(2));
        world.set_up(SHARER, false);
    });
    let came = listed.len() as u64;
    assert!((100..9_000).contains(&came), "{came}");
    assert_eq!(end, Some(ListEnd::Missing { total: 10_000, came }));
}

#[test]
fn who_tells_nobody_says_so() {
    let mut world = World::new(7);
    world.add(ASKER, Link::default(), Peer::new(1));
    let mut config = config(2);
    config.lists = false;
    let mut sharer = Peer::with_config(config);
    sharer.store.listed = Some(ids(5));
    world.add(SHARER, Link::default(), sharer);
    world.with_peer(ASKER, |peer, now| peer.node.query(now, SHARER, Query::List, false));
    world.run_for(Duration::from_secs(20));
    let events = &world.peer(ASKER).events;
    let withheld =
        |event: &Event| matches!(event, Event::Answer { answer: Answer::ListEnd(ListEnd::Withheld), .. });
    assert_eq!(events.iter().filter(|(_, event)| withheld(event)).count(), 1, "{events:?}");
    assert_eq!(world.peer(ASKER).node.open_questions(), 0);
}
