//! The wires between the hosts of a lab: the links of the simulation, for whole packets, with time as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use cjp2p_wire::time::Time;

use super::packet::{self, End};
use crate::sim::Link;
use crate::sim::event_queue::EventQueue;
use crate::sim::link::Wire;

/// How many hosts there can be.
pub const MOST_HOSTS: usize = 250;

/// How far a port moves when a router gives it a new one.
const PORT_STEP: u16 = 1000;

/// The address of the host of this number.
pub fn address(host: usize) -> Ipv4Addr {
    debug_assert!(host < MOST_HOSTS);
    Ipv4Addr::new(10, 77, 0, host as u8 + 1)
}

/// What a host sent and received: bytes of packets, headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of UDP that it sent, whatever became of them.
    pub udp_out: u64,
    /// Bytes of UDP that reached it.
    pub udp_in: u64,
    /// Bytes of TCP that reached it.
    pub tcp_in: u64,
}

struct Host {
    link: Link,
    up: Wire,
    down: Wire,
    is_up: bool,
    traffic: Traffic,
    queueing: Vec<Duration>,
    router: Option<Router>,
}

/// A router that has forgotten its mappings once: ports look different from outside since then.
#[derive(Default)]
struct Router {
    inside: BTreeMap<u16, u16>,
}

impl Router {
    fn outward(&mut self, packet: &mut [u8]) {
        if let Some(port) = packet::udp_port(packet, End::Source) {
            let outside = port.wrapping_add(PORT_STEP);
            self.inside.insert(outside, port);
            packet::set_udp_port(packet, End::Source, outside);
        }
    }

    /// Returns whether it lets the packet in.
    fn inward(&self, packet: &mut [u8]) -> bool {
        let Some(port) = packet::udp_port(packet, End::Destination) else {
            return true;
        };
        let Some(inside) = self.inside.get(&port) else {
            return false;
        };
        packet::set_udp_port(packet, End::Destination, *inside);
        true
    }
}

/// A packet on its way.
struct Flight {
    to: usize,
    /// Whether it has passed the receiver's own link too.
    arrives: bool,
    packet: Vec<u8>,
}

/// A star of hosts. A packet passes the uplink of its sender, then the downlink of its receiver.
///
/// Each direction of each link has a queue of its own. What changes holds for packets that come after.
pub struct Wires {
    hosts: Vec<Host>,
    flights: EventQueue<Flight>,
    apart: BTreeSet<(usize, usize)>,
    random: fastrand::Rng,
}

impl Wires {
    /// Hosts with these links, numbered from zero. Which packets are lost follows from `seed` and the packets.
    pub fn new(links: &[Link], seed: u64) -> Wires {
        let host = |link: &Link| Host {
            link: *link,
            up: Wire::default(),
            down: Wire::default(),
            is_up: true,
            traffic: Traffic::default(),
            queueing: Vec::new(),
            router: None,
        };
        Wires {
            hosts: links.iter().map(host).collect(),
            flights: EventQueue::default(),
            apart: BTreeSet::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Changes the link of a host.
    pub fn change(&mut self, host: usize, change: impl FnOnce(&mut Link)) {
        change(&mut self.hosts[host].link);
    }

    /// Unplugs a host, or plugs it in again. What is queued or on its way to it is lost when it would arrive.
    pub fn set_up(&mut self, host: usize, is_up: bool) {
        self.hosts[host].is_up = is_up;
    }

    /// From now on no packet gets from either of two hosts to the other.
    pub fn separate(&mut self, one: usize, other: usize) {
        self.apart.extend([(one, other), (other, one)]);
    }

    /// From now on the UDP ports of a host look different to all others, and what is sent to the old ones is lost, as
    /// behind a router that has forgotten its mappings.
    pub fn rebind_ports(&mut self, host: usize) {
        self.hosts[host].router = Some(Router::default());
    }

    /// What a host sent and received.
    pub fn traffic(&self, host: usize) -> Traffic {
        self.hosts[host].traffic
    }

    /// How long packets waited to leave a host, and left, in the middle of all since this was last asked.
    pub fn take_median_queueing(&mut self, host: usize) -> Duration {
        let mut all = std::mem::take(&mut self.hosts[host].queueing);
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    }

    /// A host sends a packet. What is not for another host of the lab is dropped.
    pub fn send(&mut self, now: Time, from: usize, mut packet: Vec<u8>) {
        let Some([10, 77, 0, last]) = packet::destination(&packet) else {
            return;
        };
        let to = usize::from(last).wrapping_sub(1);
        if to >= self.hosts.len() || to == from || self.apart.contains(&(from, to)) {
            return;
        }
        let host = &mut self.hosts[from];
        if packet::protocol(&packet) == packet::UDP {
            host.traffic.udp_out += packet.len() as u64;
        }
        if !host.is_up {
            return;
        }
        if let Some(router) = &mut host.router {
            router.outward(&mut packet);
        }
        let Some(left) = host.up.send_bytes(now, packet.len(), &host.link) else {
            return;
        };
        host.queueing.push(left.since(now));
        if host.link.loses_packet(packet.len(), &mut self.random) {
            return;
        }
        let at = left + host.link.delay(&mut self.random);
        if self.random.f64() < host.link.duplication {
            self.fly(at, to, false, packet.clone());
        }
        self.fly(at, to, false, packet);
    }

    /// The next packet that has arrived by now, and the host to give it to. Ask until there is none.
    pub fn receive(&mut self, now: Time) -> Option<(usize, Vec<u8>)> {
        while let Some((at, mut flight)) = self.flights.take(now) {
            let host = &mut self.hosts[flight.to];
            if !host.is_up {
                continue;
            }
            let bytes = flight.packet.len();
            if !flight.arrives {
                if !host.link.loses_packet(bytes, &mut self.random)
                    && let Some(through) = host.down.send_bytes(at, bytes, &host.link)
                {
                    let at = through + host.link.delay;
                    self.fly(at, flight.to, true, flight.packet);
                }
                continue;
            }
            if let Some(router) = &host.router
                && !router.inward(&mut flight.packet)
            {
                continue;
            }
            match packet::protocol(&flight.packet) {
                packet::UDP => host.traffic.udp_in += bytes as u64,
                packet::TCP => host.traffic.tcp_in += bytes as u64,
                _ => {}
            }
            return Some((flight.to, flight.packet));
        }
        None
    }

    /// When [`Wires::receive`] is to be asked next.
    pub fn next_due(&self) -> Option<Time> {
        self.flights.next_time()
    }

    fn fly(&mut self, at: Time, to: usize, arrives: bool, packet: Vec<u8>) {
        self.flights.add(at, Flight { to, arrives, packet });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::packet::tests::udp;
    use proptest::prelude::*;

    const FAST: Link = Link {
        up: None,
        rate: None,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        duplication: 0.0,
        queue: 1 << 20,
        mtu: 1500,
        swallows_above: usize::MAX,
    };

    /// Sends a numbered packet of so many bytes each, at such times, from host 0 to host 1; what arrives, and when.
    fn pass(wires: &mut Wires, sent: &[(Time, usize)]) -> Vec<(Time, usize, u32)> {
        let mut arrived = Vec::new();
        let mut until = |wires: &mut Wires, now: Time| {
            while let Some(at) = wires.next_due().filter(|at| *at <= now) {
                while let Some((to, packet)) = wires.receive(at) {
                    assert_eq!(to, 1);
                    let number = packet[28..32].try_into().expect("four bytes");
                    arrived.push((at, packet.len(), u32::from_be_bytes(number)));
                }
            }
        };
        for (number, (at, bytes)) in sent.iter().enumerate() {
            until(wires, *at);
            let mut payload = vec![0; bytes - 28];
            payload[..4].copy_from_slice(&(number as u32).to_be_bytes());
            wires.send(*at, 0, udp((1, 5), (2, 6), &payload));
        }
        until(wires, Time::NEVER);
        arrived
    }

    fn arrivals() -> impl Strategy<Value = Vec<(Time, usize)>> {
        proptest::collection::vec((0u64..2_000_000, 40usize..1500), 1..300).prop_map(|sent| {
            let mut now = 0;
            let timed = |(gap, bytes)| {
                now += gap;
                (Time::from_nanos(now), bytes)
            };
            sent.into_iter().map(timed).collect()
        })
    }

    proptest! {
        #[test]
        fn no_rate_is_exceeded_and_no_order_changed(sent in arrivals(), rate in 100_000u64..10_000_000, queue in 1500u64..60_000) {
            let slow = Link { rate: Some(rate), queue, delay: Duration::from_millis(7), ..FAST };
            let mut wires = Wires::new(&[slow, FAST], 1);
            let arrived = pass(&mut wires, &sent);
            prop_assert!(arrived.is_sorted_by_key(|(at, _, number)| (*at, *number)));
            for (first, (begun, _, _)) in arrived.iter().enumerate() {
                let mut bytes = 0;
                for (at, length, _) in &arrived[first + 1..] {
                    bytes += length;
                    let carried = at.since(*begun).as_secs_f64() * rate as f64;
                    prop_assert!(bytes as f64 <= carried + 1.0, "{bytes} bytes where {carried:.0} fit");
                }
            }
            for (at, _, number) in &arrived {
                let on_its_way = at.since(sent[*number as usize].0).as_secs_f64();
                // Bytes that wait are counted whole.
                let longest = 0.007 + (queue + 1) as f64 / rate as f64;
                prop_assert!(on_its_way <= longest + 1e-6, "waited longer than in a full queue");
            }
        }

        #[test]
        fn a_queue_that_is_long_enough_loses_nothing(sent in arrivals(), rate in 100_000u64..10_000_000) {
            let slow = Link { rate: Some(rate), ..FAST };
            let mut wires = Wires::new(&[slow, FAST], 1);
            prop_assert_eq!(pass(&mut wires, &sent).len(), sent.len());
        }
    }

    #[test]
    fn the_share_of_lost_packets_is_as_told_on_either_link() {
        let sent: Vec<_> = (0..20_000).map(|n| (Time::from_millis(n), 100)).collect();
        let lossy = Link { loss: 0.05, ..FAST };
        for links in [[lossy, FAST], [FAST, lossy]] {
            let arrived = pass(&mut Wires::new(&links, 3), &sent).len();
            assert!((18_800..19_200).contains(&arrived), "{arrived} of 20000");
        }
    }

    #[test]
    fn long_packets_vanish_where_the_path_got_narrow_and_others_pass() {
        let narrow = Link { swallows_above: 1280, ..FAST };
        let sent = [1280, 1281, 1500, 100].map(|bytes| (Time::ZERO, bytes));
        let arrived: Vec<_> = pass(&mut Wires::new(&[narrow, FAST], 1), &sent).iter().map(|a| a.2).collect();
        assert_eq!(arrived, [0, 3]);
    }

    #[test]
    fn nothing_passes_an_unplugged_host_and_all_after_it() {
        let mut wires = Wires::new(&[FAST, FAST], 1);
        wires.set_up(1, false);
        assert!(pass(&mut wires, &[(Time::ZERO, 100)]).is_empty());
        wires.set_up(1, true);
        assert_eq!(pass(&mut wires, &[(Time::ZERO, 100)]).len(), 1);
    }

    #[test]
    fn a_changed_rate_holds_from_then_on() {
        let slow = Link { rate: Some(1_000_000), ..FAST };
        let mut wires = Wires::new(&[slow, FAST], 1);
        let last = |arrived: Vec<(Time, usize, u32)>| arrived.last().map(|a| a.0.as_nanos() / 1_000_000);
        assert_eq!(last(pass(&mut wires, &[(Time::ZERO, 1000); 10])), Some(10));
        wires.change(0, |link| link.rate = Some(500_000));
        let sent = [(Time::from_millis(100), 1000); 10];
        assert_eq!(last(pass(&mut wires, &sent)), Some(120));
    }

    #[test]
    fn what_is_not_for_a_host_of_the_lab_goes_nowhere() {
        let mut wires = Wires::new(&[FAST, FAST], 1);
        let mut outside = udp((1, 5), (2, 6), b"1234");
        outside[16..20].copy_from_slice(&[192, 0, 2, 1]);
        wires.send(Time::ZERO, 0, outside);
        wires.send(Time::ZERO, 0, udp((1, 5), (3, 6), b"1234"));
        wires.send(Time::ZERO, 0, udp((1, 5), (0, 6), b"1234"));
        wires.separate(0, 1);
        wires.send(Time::ZERO, 0, udp((1, 5), (2, 6), b"1234"));
        assert_eq!(wires.next_due(), None);
    }

    #[test]
    fn behind_a_router_that_forgot_ports_change_and_answers_find_the_way_back() {
        let mut wires = Wires::new(&[FAST, FAST], 1);
        let arrive = |wires: &mut Wires, from, packet| {
            wires.send(Time::ZERO, from, packet);
            wires.receive(Time::ZERO).map(|(_, packet)| packet)
        };
        wires.rebind_ports(0);
        let old = arrive(&mut wires, 1, udp((2, 6), (1, 5), b""));
        assert_eq!(old, None, "nobody is known under the old port");
        let seen = arrive(&mut wires, 0, udp((1, 5), (2, 6), b"")).expect("it arrives");
        let port = packet::udp_port(&seen, End::Source).expect("it is UDP");
        assert_ne!(port, 5);
        let answer = arrive(&mut wires, 1, udp((2, 6), (1, port), b"")).expect("it arrives");
        assert_eq!(answer, udp((2, 6), (1, 5), b""));
    }
}
