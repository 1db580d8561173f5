//! The table within its limits, damaged, and beside a naive model.

use proptest::prelude::*;

use super::*;

mod ranks;

const MINUTE: u64 = 60_000;

fn a(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl PeerTable {
    /// Panics unless every invariant written at the fields holds.
    fn check_invariants(&self) {
        assert!(self.verified.len() <= self.limits.verified);
        assert!(self.suggested.len() <= self.limits.suggested);
        assert!(self.verified.values().all(|peer| peer.verified));
        assert!(self.suggested.values().all(|peer| !peer.verified));
        let mut narrow: BTreeMap<Prefix, usize> = BTreeMap::new();
        let mut wide: BTreeMap<Prefix, usize> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (key, peer) in self.verified.iter().chain(&self.suggested) {
            assert_eq!(*key, peer.address);
            assert_eq!(address::canonical(*key), *key);
            assert_ne!(Scope::of(*key), Scope::Unusable);
            assert!(seen.insert(*key), "{key} is in both maps");
            if Scope::of(*key) == Scope::Public {
                *narrow.entry(Prefix::narrow(key.ip())).or_default() += 1;
                *wide.entry(Prefix::wide(key.ip())).or_default() += 1;
            }
        }
        assert!(narrow.values().all(|count| *count <= self.limits.per_narrow_prefix));
        assert!(wide.values().all(|count| *count <= self.limits.per_wide_prefix));
    }
}

#[test]
fn a_suggestion_becomes_a_peer_when_it_is_heard_from() {
    let mut table = PeerTable::new();
    let referral = Origin::Referral(a("203.0.113.1:24254"));
    assert_eq!(table.suggest(a("198.51.100.7:24254"), referral.clone()), Admission::Added);
    assert!(!table.get(a("198.51.100.7:24254")).unwrap().is_verified());
    let admission = table.heard(a("[::ffff:198.51.100.7]:24254"), 5, Some(2.5), Origin::Incoming);
    assert_eq!(admission, Admission::Known);
    let peer = table.get(a("198.51.100.7:24254")).unwrap();
    assert!(peer.is_verified());
    assert_eq!(peer.origin(), &referral);
    assert_eq!(
        (peer.first_heard_ms(), peer.last_heard_ms(), peer.round_trip_ms()),
        (Some(5), Some(5), Some(2.5))
    );
    table.heard(a("198.51.100.7:24254"), 9, None, Origin::Incoming);
    let peer = table.get(a("198.51.100.7:24254")).unwrap();
    assert_eq!(
        (peer.first_heard_ms(), peer.last_heard_ms(), peer.round_trip_ms()),
        (Some(5), Some(9), Some(2.5))
    );
    table.check_invariants();
}

#[test]
fn an_address_that_no_peer_can_have_is_never_stored() {
    let mut table = PeerTable::new();
    for text in ["0.0.0.0:1", "224.0.0.1:24254", "198.51.100.7:0"] {
        assert_eq!(table.suggest(a(text), Origin::Added), Admission::Unusable);
        assert_eq!(table.heard(a(text), 1, None, Origin::Incoming), Admission::Unusable);
    }
    assert!(table.is_empty());
}

#[test]
fn a_neighbourhood_is_limited_and_a_suggestion_gives_way_to_a_verified_peer() {
    let mut table = PeerTable::new();
    let at = |host: u8| SocketAddr::from(([198, 51, 100, host], 24254));
    for host in 1..=8 {
        assert_eq!(table.suggest(at(host), Origin::Incoming), Admission::Added);
    }
    assert!(matches!(table.suggest(at(9), Origin::Incoming), Admission::Full));
    assert_eq!(table.heard(at(10), 1, None, Origin::Incoming), Admission::Added);
    assert_eq!(table.len(), 8);
    table.check_invariants();
}

#[test]
fn a_wide_neighbourhood_is_limited_too() {
    let mut table = PeerTable::new();
    let admitted = (0..=255u8)
        .filter(|net| {
            let address = SocketAddr::from(([198, 51, *net, 1], 24254));
            table.heard(address, 1, None, Origin::Incoming) == Admission::Added
        })
        .count();
    assert_eq!(admitted, 32);
    table.check_invariants();
}

#[test]
fn private_and_loopback_neighbourhoods_are_not_limited() {
    let mut table = PeerTable::new();
    for port in 1..=300 {
        assert_eq!(
            table.suggest(SocketAddr::from(([127, 0, 0, 1], port)), Origin::Incoming),
            Admission::Added
        );
    }
    table.check_invariants();
}

#[test]
fn a_verified_peer_is_given_up_only_after_it_did_not_answer() {
    let mut table = PeerTable::new();
    let at = |host: u8| SocketAddr::from(([198, 51, 100, host], 24254));
    for host in 1..=8 {
        table.heard(at(host), u64::from(host), None, Origin::Incoming);
    }
    assert_eq!(table.heard(at(9), 100, None, Origin::Incoming), Admission::Full);
    table.unanswered(at(1));
    assert_eq!(table.heard(at(9), 101, None, Origin::Incoming), Admission::Added);
    assert!(table.get(at(1)).is_none());
    assert_eq!(table.len(), 8);
}

#[test]
fn a_verified_peer_is_given_up_after_a_week_of_silence() {
    let mut table = PeerTable::new();
    let at = |host: u8| SocketAddr::from(([198, 51, 100, host], 24254));
    let week = 7 * 24 * 60 * MINUTE;
    for host in 1..=8 {
        table.heard(at(host), u64::from(host), None, Origin::Incoming);
    }
    assert_eq!(table.heard(at(9), week, None, Origin::Incoming), Admission::Full);
    assert_eq!(table.heard(at(9), week + 1, None, Origin::Incoming), Admission::Added);
    assert!(table.get(at(1)).is_none());
}

#[test]
fn a_suggestion_never_displaces_a_verified_peer() {
    let mut table = PeerTable::new();
    let at = |host: u8| SocketAddr::from(([198, 51, 100, host], 24254));
    for host in 1..=8 {
        table.heard(at(host), 1, None, Origin::Incoming);
        table.unanswered(at(host));
    }
    assert!(matches!(table.suggest(at(9), Origin::Added), Admission::Full));
}

#[test]
fn our_own_choice_takes_the_place_of_a_strangers() {
    let mut table = PeerTable::new();
    let at = |host: u8| SocketAddr::from(([198, 51, 100, host], 24254));
    for host in 1..=8 {
        table.suggest(at(host), Origin::Incoming);
    }
    assert_eq!(table.suggest(at(9), Origin::CommandLine), Admission::Added);
    assert_eq!(table.get(at(9)).unwrap().origin(), &Origin::CommandLine);
    assert_eq!(table.len(), 8);
}

#[test]
fn long_lived_anchors_outlast_a_flood_of_verified_strangers() {
    let limits = Limits { verified: 20, ..Limits::default() };
    let mut table = PeerTable::with_limits(limits);
    let anchor = |net: u8| SocketAddr::from(([20, net, 1, 1], 24254));
    for net in 1..=8 {
        table.heard(anchor(net), 0, None, Origin::Incoming);
        table.heard(anchor(net), 1_000 * MINUTE, None, Origin::Incoming);
        // Two lost questions are no reason to give up an old acquaintance.
        table.unanswered(anchor(net));
        table.unanswered(anchor(net));
    }
    for n in 0..5_000u32 {
        let [_, _, high, low] = n.to_be_bytes();
        let stranger = SocketAddr::from(([30 + high, low, 1, 1], 24254));
        table.heard(stranger, 2_000 * MINUTE + u64::from(n), None, Origin::Incoming);
        table.unanswered(stranger);
    }
    assert!((1..=8).all(|net| table.get(anchor(net)).is_some()));
    table.check_invariants();
}

#[test]
fn a_flood_of_suggestions_leaves_the_table_within_its_limits() {
    let mut table = PeerTable::new();
    let friend = a("203.0.113.1:24254");
    table.heard(friend, 1, None, Origin::CommandLine);
    for n in 0..100_000u32 {
        let ip = std::net::Ipv4Addr::from_bits(0x1400_0000 + n * 1_021);
        table.suggest(SocketAddr::from((ip, 24254)), Origin::Incoming);
    }
    assert_eq!(table.len(), 513);
    assert!(table.get(friend).is_some());
    table.check_invariants();
}

#[test]
fn only_verified_peers_heard_from_lately_are_passed_on() {
    let mut table = PeerTable::new();
    table.suggest(a("20.0.0.1:24254"), Origin::Added);
    table.heard(a("20.1.0.1:24254"), 100, None, Origin::Incoming);
    table.heard(a("20.1.0.2:24254"), 50, None, Origin::Incoming);
    let passed_on: Vec<_> = table.heard_within(60, 120).map(Peer::address).collect();
    assert_eq!(passed_on, [a("20.1.0.1:24254")]);
}

#[test]
fn fields_of_later_versions_and_unknown_origins_survive() {
    let text =
        r#"[{"address":"20.1.0.1:24254","verified":true,"origin":"carrier pigeon","mood":{"good":[1,2]}}]"#;
    let parsed = PeerTable::parse(text);
    assert_eq!(parsed.problems, []);
    let again = parsed.table.to_json();
    assert!(again.contains(r#""mood":{"good":[1,2]}"#), "{again}");
    assert!(again.contains("carrier pigeon"), "{again}");
}

#[test]
fn objects_one_after_the_other_are_a_table_too() {
    let mut table = PeerTable::new();
    table.heard(a("20.1.0.1:24254"), 1, Some(0.5), Origin::Bootstrap);
    table.suggest(a("[2001:db8::1]:24254"), Origin::Referral(a("20.1.0.1:24254")));
    for text in [table.to_json(), table.to_json_lines()] {
        let parsed = PeerTable::parse(&text);
        assert_eq!(parsed.problems, []);
        assert_eq!(parsed.table, table);
    }
}

#[test]
fn round_trips_and_unknown_numbers_read_back_to_the_last_digit() {
    let mut table = PeerTable::new();
    table.heard(a("20.1.0.1:24254"), 1, Some(2_251_799_813_685_239.2), Origin::Incoming);
    let text = table.to_json().replace("\"origin\"", "\"later\":2251799813685239.2,\"origin\"");
    let parsed = PeerTable::parse(&text).table;
    assert_eq!(parsed.get(a("20.1.0.1:24254")).and_then(Peer::round_trip_ms), Some(2_251_799_813_685_239.2));
    assert_eq!(parsed.to_json().matches("2251799813685239.2").count(), 2, "{}", parsed.to_json());
}

#[test]
fn what_cannot_be_read_is_told_with_its_place_and_the_rest_is_kept() {
    let text = "[\n{\"address\":\"20.1.0.1:24254\"},\n\n{\"address\":\"20.1.0.1\"},\n{\"verified\":true},17,\
                {\"address\":\"0.0.0.0:1\"},{\"address\":\"20.1.0.2:24254\",\"round_trip_ms\":-1}]";
    let parsed = PeerTable::parse(text);
    assert_eq!(parsed.table.len(), 1);
    let places: Vec<_> = parsed.problems.iter().map(|problem| (problem.entry, problem.line)).collect();
    assert_eq!(places, [(Some(1), 4), (Some(2), 5), (Some(3), 5), (Some(4), 5), (Some(5), 5)]);
    let told = parsed.problems[0].to_string();
    assert!(told.starts_with("line 4: entry 1: \"20.1.0.1\" is not an address"), "{told}");
}

#[test]
fn text_that_is_no_table_is_one_problem() {
    for (text, line) in
        [("nonsense", 1), ("[\n{\"address\":", 2), ("\n{\"version\":2}\n}", 3), ("17", 1), ("[][]", 1)]
    {
        let parsed = PeerTable::parse(text);
        assert!(parsed.table.is_empty());
        assert_eq!(parsed.problems.len(), 1, "{text}");
        assert_eq!((parsed.problems[0].entry, parsed.problems[0].line), (None, line), "{text}");
    }
    assert_eq!(PeerTable::parse(" \n").problems, []);
    let nested = "[".repeat(100_000);
    assert_eq!(PeerTable::parse(&nested).problems.len(), 1);
}

#[test]
fn a_tear_or_a_hole_costs_the_lines_that_it_is_in() {
    let mut table = PeerTable::new();
    for host in 1..=9 {
        table.suggest(SocketAddr::from(([10, 0, 0, host], 24254)), Origin::Added);
    }
    let whole = table.to_json();
    let torn = &whole[..whole.len() - 40];
    let with_hole = whole.replace("10.0.0.5", "10\u{1}\"0");
    let longer = format!("{whole}{{\"addr");
    for (text, left) in [(torn, 8), (&with_hole, 8), (&longer, 9)] {
        let parsed = PeerTable::parse(text);
        assert_eq!((parsed.table.len(), parsed.problems.len()), (left, 1), "{text}");
    }
}

#[test]
fn a_table_read_from_a_file_is_trimmed_to_the_limits() {
    let lines: Vec<String> = (0..=255)
        .map(|host| format!(r#"{{"address":"20.1.0.{host}:24254","verified":true,"last_heard_ms":{host}}}"#))
        .collect();
    let parsed = PeerTable::parse(&format!("[{}]", lines.join(",")));
    assert_eq!(parsed.trimmed, 248);
    let kept: Vec<_> = parsed.table.iter().filter_map(Peer::last_heard_ms).collect();
    assert_eq!(kept, [248, 249, 250, 251, 252, 253, 254, 255], "the stalest go first");
    parsed.table.check_invariants();
}

#[derive(Clone, Debug)]
enum Step {
    Suggest(SocketAddr, Origin),
    Heard(SocketAddr, u64),
    Unanswered(SocketAddr),
    Remove(SocketAddr),
}

fn any_peer_address() -> impl Strategy<Value = SocketAddr> {
    let public = (0..3u8, 0..3u8, 0..4u8).prop_map(|(b, c, d)| SocketAddr::from(([20, b, c, d], 24254)));
    let public_v6 = (0..2u16, 0..2u16, 0..3u16)
        .prop_map(|(b, c, d)| SocketAddr::from(([0x2001, b, c, 0, 0, 0, 0, d], 24254)));
    let private = (0..6u8).prop_map(|d| SocketAddr::from(([10, 0, 0, d], 24254)));
    prop_oneof![4 => public, 2 => public_v6, 1 => private]
}

fn any_origin() -> impl Strategy<Value = Origin> {
    prop_oneof![Just(Origin::Added), Just(Origin::Incoming), any_peer_address().prop_map(Origin::Referral),]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any_peer_address(), any_origin()).prop_map(|(address, origin)| Step::Suggest(address, origin)),
        (any_peer_address(), 0..1000u64).prop_map(|(address, now)| Step::Heard(address, now)),
        any_peer_address().prop_map(Step::Unanswered),
        any_peer_address().prop_map(Step::Remove),
    ]
}

/// The table without limits, plainly.
#[derive(Default)]
struct Model {
    peers: Vec<Peer>,
}

impl Model {
    fn position(&self, address: SocketAddr) -> Option<usize> {
        self.peers.iter().position(|peer| peer.address == address)
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Suggest(address, origin) => match self.position(*address) {
                None => self.peers.push(Peer::new(*address, origin.clone())),
                Some(at) => {
                    let peer = &mut self.peers[at];
                    if !peer.verified && origin.is_local() && !peer.origin.is_local() {
                        peer.origin = origin.clone();
                    }
                }
            },
            Step::Heard(address, now) => {
                let at = self.position(*address).unwrap_or_else(|| {
                    self.peers.push(Peer::new(*address, Origin::Incoming));
                    self.peers.len() - 1
                });
                let peer = &mut self.peers[at];
                peer.verified = true;
                peer.first_heard_ms = peer.first_heard_ms.or(Some(*now));
                peer.last_heard_ms = Some(*now);
                peer.unanswered = 0;
            }
            Step::Unanswered(address) => {
                if let Some(at) = self.position(*address) {
                    self.peers[at].unanswered += 1;
                }
            }
            Step::Remove(address) => self.peers.retain(|peer| peer.address != *address),
        }
    }
}

fn apply(table: &mut PeerTable, step: &Step) {
    match step {
        Step::Suggest(address, origin) => {
            table.suggest(*address, origin.clone());
        }
        Step::Heard(address, now) => {
            table.heard(*address, *now, None, Origin::Incoming);
        }
        Step::Unanswered(address) => table.unanswered(*address),
        Step::Remove(address) => {
            table.remove(*address);
        }
    }
}

const SMALL: Limits = Limits { verified: 9, suggested: 5, per_narrow_prefix: 2, per_wide_prefix: 4 };

const ROOMY: Limits =
    Limits { verified: 1000, suggested: 1000, per_narrow_prefix: 1000, per_wide_prefix: 1000 };

fn table_after(steps: &[Step], limits: Limits) -> PeerTable {
    let mut table = PeerTable::with_limits(limits);
    for step in steps {
        apply(&mut table, step);
    }
    table
}

proptest! {
    #[test]
    fn within_its_limits_the_table_is_what_happened(steps in prop::collection::vec(any_step(), 0..200)) {
        let mut table = PeerTable::with_limits(ROOMY);
        let mut model = Model::default();
        for step in &steps {
            apply(&mut table, step);
            model.apply(step);
        }
        model.peers.sort_by_key(|peer| (!peer.verified, peer.address));
        let found: Vec<Peer> = table.iter().cloned().collect();
        prop_assert_eq!(found, model.peers);
        table.check_invariants();
    }

    #[test]
    fn no_history_breaks_the_limits_or_displaces_who_answers(steps in prop::collection::vec(any_step(), 0..300)) {
        let mut table = PeerTable::with_limits(SMALL);
        for step in &steps {
            let answering: Vec<SocketAddr> = table
                .iter()
                .filter(|peer| peer.verified && peer.unanswered == 0)
                .map(Peer::address)
                .collect();
            apply(&mut table, step);
            table.check_invariants();
            for address in answering {
                let removed = matches!(step, Step::Remove(gone) if *gone == address);
                prop_assert!(removed || table.get(address).is_some(), "{address} was displaced");
            }
        }
    }

    #[test]
    fn records_of_one_peer_merge_in_any_order(
        ours in prop::collection::vec(any_step(), 0..60),
        theirs in prop::collection::vec(any_step(), 0..60),
    ) {
        let (ours, theirs) = (table_after(&ours, ROOMY), table_after(&theirs, ROOMY));
        for peer in ours.iter() {
            let Some(other) = theirs.get(peer.address) else { continue };
            let (mut one, mut two) = (peer.clone(), other.clone());
            one.merge(other);
            two.merge(peer);
            prop_assert_eq!(&one, &two);
            let before = one.clone();
            one.merge(other);
            prop_assert_eq!(one, before, "a second merge changes nothing");
        }
        let twice = ours.to_json_lines() + &theirs.to_json_lines();
        let once = theirs.to_json_lines() + &ours.to_json_lines();
        prop_assert_eq!(PeerTable::parse(&twice).table, PeerTable::parse(&once).table);
    }

    #[test]
    fn a_table_survives_json(steps in prop::collection::vec(any_step(), 0..100)) {
        let table = table_after(&steps, Limits::default());
        let parsed = PeerTable::parse(&table.to_json());
        prop_assert_eq!(parsed.problems, vec![]);
        prop_assert_eq!(parsed.table, table);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        PeerTable::parse(&text);
        PeerTable::parse(&format!("[{text}]"));
        PeerTable::parse(&format!("{{{text}}}"));
    }
}
