//! How exact the emulated wires are on this machine, now.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use cjp2p_tests::lab::{Error, Lab};
use cjp2p_tests::sim::Link;
use cjp2p_tests::table::{Figure, Mark};

use crate::bench::Bench;

/// Packets that are sent, and the time between two.
const PACKETS: u32 = 20_000;
const GAP: Duration = Duration::from_micros(100);

/// Bytes of a datagram: about what the tools send.
const LENGTH: usize = 1200;

/// One way.
const DELAY: Duration = Duration::from_millis(10);

pub(crate) fn lateness(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let link = Link { delay: DELAY / 2, ..Link::default() };
    let lab = Lab::start(&[link, link], bench.count())?;
    let (from, to) = (lab.address(0), lab.address(1));
    let begun = Instant::now();
    let receiver = lab.run(1, move || std::thread::spawn(move || receive(to, begun)))?;
    let sender = lab.run(0, move || std::thread::spawn(move || send(from, to, begun)))?;
    sender.join().map_err(|_| "the sender panicked")??;
    let mut late = receiver.join().map_err(|_| "the receiver panicked")??;
    late.sort_unstable();
    let nth = |share: f64| late.get((late.len() as f64 * share) as usize).copied().unwrap_or_default();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(vec![
        Figure::new("too late, median, µs", Mark::None, micros(nth(0.5))),
        Figure::new("too late, one in a hundred, µs", Mark::None, micros(nth(0.99))),
        Figure::new("lost", Mark::None, f64::from(PACKETS) - late.len() as f64),
    ])
}

/// This thread is about the wires, and not about what else the machine does.
fn hurry() -> std::io::Result<()> {
    Ok(rustix::process::setpriority_process(None, -20)?)
}

/// Each datagram says when it was sent.
fn send(from: SocketAddr, to: SocketAddr, begun: Instant) -> std::io::Result<()> {
    hurry()?;
    let socket = UdpSocket::bind(from)?;
    // The receiver is there by then.
    let first = begun.elapsed() + Duration::from_millis(200);
    let mut datagram = vec![0; LENGTH];
    for n in 0..PACKETS {
        while begun.elapsed() < first + GAP * n {
            std::thread::sleep(GAP / 4);
        }
        let now = begun.elapsed().as_nanos() as u64;
        datagram[..8].copy_from_slice(&now.to_be_bytes());
        socket.send_to(&datagram, to)?;
    }
    Ok(())
}

/// How much later than it should each datagram came.
fn receive(at: SocketAddr, begun: Instant) -> std::io::Result<Vec<Duration>> {
    hurry()?;
    let socket = UdpSocket::bind(at)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut late = Vec::new();
    let mut datagram = [0; LENGTH];
    // The last is followed by silence.
    while late.len() < PACKETS as usize && socket.recv_from(&mut datagram).is_ok() {
        let now = begun.elapsed();
        let sent = u64::from_be_bytes(std::array::from_fn(|n| datagram[n]));
        late.push((now - Duration::from_nanos(sent)).saturating_sub(DELAY));
    }
    Ok(late)
}
