//! Millions of datagrams of unvalidated sources.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use cjp2p_tests::lab::Error;
use cjp2p_tests::real::server::resident_memory;
use cjp2p_tests::sim::corpus::{conversation, mutate};
use cjp2p_tests::sim::liars::odd;
use cjp2p_tests::{row, table};
use cjp2p_wire::node::AMPLIFICATION;
use clap::Args;

use crate::bench::Bench;

/// Sources at a time, and datagrams from each.
const SOURCES: usize = 250;
const EACH: usize = 80;
/// So many may wait to be read: more would be lost in the socket's buffer and test nothing.
const TOGETHER: usize = 1000;
/// No datagram can be longer.
const LONGEST: usize = 65_507;
/// An answer that has not come by then does not come.
const QUIET: Duration = Duration::from_millis(20);
/// The marks.
const MOST_MEMORY: i64 = 8 << 20;
const LEAST_RATE: f64 = 0.9;
/// MiB of the file that is fetched to see how fast that is.
const LARGE: u64 = 256;

/// See the help.
#[derive(Args)]
pub(crate) struct Flood {
    /// How many datagrams to send
    #[arg(long, default_value_t = 10_000_000)]
    datagrams: u64,
    /// Where the datagrams that are made up follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// One source, and what passed.
struct Source {
    socket: UdpSocket,
    /// What it says again and again, if it does.
    always: Option<Vec<u8>>,
    sent: u64,
    received: u64,
}

#[derive(Default)]
struct Sum {
    sources: u64,
    datagrams: u64,
    bytes: u64,
    answers: u64,
    answer_bytes: u64,
    worst: f64,
}

impl Flood {
    pub(crate) fn run(&self) -> Result<bool, Error> {
        let (bench, spared) = (Bench::start(LARGE)?, Bench::start(LARGE)?);
        let pid = bench.server.pid();
        let mut ids: Vec<String> = bench.small.clone();
        ids.extend(bench.large.clone());
        ids.push(bench.large[0].replace("blake3/", "blake3_tree_v2/"));
        ids.extend(["small3", "large", "nothing of this name", "../../etc/passwd"].map(String::from));
        let said: Vec<Vec<u8>> = conversation(100_000).into_iter().filter(|d| d.len() > 2).collect();
        // Once, so that buffers and caches are what they are in use.
        bench.rates_beside(&spared, 3)?;
        for id in bench.small.iter().chain([&bench.large[1]]) {
            bench.getter(id)?.wait()?;
        }
        let memory_before = resident_memory(pid);
        let begun = Instant::now();
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut sum = Sum::default();
        let mut early = None;
        while sum.datagrams < self.datagrams {
            round(&mut random, bench.server.address, &ids, &said, &mut sum)?;
            if sum.datagrams >= self.datagrams / 10 {
                early.get_or_insert_with(|| resident_memory(pid));
            }
            if sum.sources.is_multiple_of(50 * SOURCES as u64) {
                eprintln!("load: {} datagrams, {:.0} s", sum.datagrams, begun.elapsed().as_secs_f64());
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let dropped = drops(bench.server.address)?;
        let memory_after = resident_memory(pid);
        // In turns, for what the machine gives changes from minute to minute.
        let (rate, rate_of_spared) = bench.rates_beside(&spared, 11)?;
        let ratio = rate / rate_of_spared;
        let grown = memory_after as i64 - memory_before as i64;
        let mib = |bytes: f64| bytes / (1 << 20) as f64;
        println!("{}", table::head(&["what", "promised", "measured"]));
        println!("{}", row!["datagrams sent, none with a cookie of the server's", "", sum.datagrams]);
        println!("{}", row!["from so many addresses and ports of 127.0.0.0/8", "", sum.sources]);
        println!("{}", row!["lost in the server's socket buffer", "", dropped]);
        println!(
            "{}",
            row![
                "sent, MiB; answered, MiB in datagrams",
                "",
                format!(
                    "{:.0}; {:.0} in {}",
                    mib(sum.bytes as f64),
                    mib(sum.answer_bytes as f64),
                    sum.answers
                )
            ]
        );
        println!(
            "{}",
            row![
                "worst ratio for one source, UDP payload",
                format!("≤ {AMPLIFICATION}.000"),
                format!("{:.3}", sum.worst)
            ]
        );
        println!(
            "{}",
            row![
                "rate of a fetch after it, by that from a server that was spared",
                format!("≥ {LEAST_RATE}"),
                format!("{ratio:.2}")
            ]
        );
        println!("{}", row!["memory before, MiB", "", format!("{:.1}", mib(memory_before as f64))]);
        let early = early.unwrap_or(memory_after) as i64 - memory_before as i64;
        println!(
            "{}",
            row!["memory more after a tenth of them, MiB", "", format!("{:.1}", mib(early as f64))]
        );
        println!("{}", row!["memory more after it, MiB", "≤ 8", format!("{:.1}", mib(grown as f64))]);
        println!("{}", row!["seconds", "", format!("{seconds:.0}")]);
        Ok(sum.worst <= AMPLIFICATION as f64
            && grown <= MOST_MEMORY
            && ratio >= LEAST_RATE
            && sum.answers > sum.datagrams / 10)
    }
}

/// What an unvalidated source may send: what our own nodes say, that with changes, and what nobody should say.
fn says(random: &mut fastrand::Rng, ids: &[String], said: &[Vec<u8>]) -> Vec<u8> {
    let mut datagram = any(random, ids, said);
    datagram.truncate(LONGEST);
    datagram
}

fn any(random: &mut fastrand::Rng, ids: &[String], said: &[Vec<u8>]) -> Vec<u8> {
    let id = &ids[random.usize(0..ids.len())];
    match random.u16(0..1000) {
        0..500 => odd::question(random, ids),
        500..520 => odd::numbers(random, id),
        520..540 => odd::ids(random, id),
        540..542 => odd::oversized(random, id),
        542..600 => said[random.usize(0..said.len())].clone(),
        _ => {
            let mut datagram = match random.bool() {
                true => said[random.usize(0..said.len())].clone(),
                false => odd::question(random, ids),
            };
            mutate(random, &mut datagram, said);
            datagram
        }
    }
}

/// Datagrams from some sources, each with a socket of its own, until all answers have come.
fn round(
    random: &mut fastrand::Rng,
    server: SocketAddr,
    ids: &[String],
    said: &[Vec<u8>],
    sum: &mut Sum,
) -> Result<(), Error> {
    let mut sources = Vec::new();
    for _ in 0..SOURCES {
        let address = Ipv4Addr::new(127, random.u8(1..255), random.u8(..), random.u8(1..255));
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_nonblocking(true)?;
        let always = random.bool().then(|| says(random, ids, said));
        sources.push(Source { socket, always, sent: 0, received: 0 });
    }
    let mut buffer = vec![0; 65_536];
    let mut waiting = 0;
    for _ in 0..EACH {
        for source in &mut sources {
            let datagram = source.always.clone().unwrap_or_else(|| says(random, ids, said));
            source.socket.send_to(&datagram, server)?;
            source.sent += datagram.len() as u64;
            sum.datagrams += 1;
            sum.bytes += datagram.len() as u64;
            // One that is long takes the room of many.
            waiting += 1 + datagram.len() / 1000;
            if waiting >= TOGETHER {
                waiting = 0;
                while queue(server)?.0 > 0 {
                    std::thread::yield_now();
                }
            }
        }
        take_answers(&mut sources, &mut buffer, sum)?;
    }
    let mut last = Instant::now();
    while last.elapsed() < QUIET {
        if take_answers(&mut sources, &mut buffer, sum)? {
            last = Instant::now();
        }
    }
    for source in &sources {
        sum.sources += 1;
        sum.worst = sum.worst.max(source.received as f64 / source.sent as f64);
    }
    Ok(())
}

/// Reads what came; returns whether anything did.
fn take_answers(sources: &mut [Source], buffer: &mut [u8], sum: &mut Sum) -> Result<bool, Error> {
    let mut any = false;
    for source in sources {
        loop {
            match source.socket.recv(buffer) {
                Ok(length) => {
                    any = true;
                    source.received += length as u64;
                    sum.answers += 1;
                    sum.answer_bytes += length as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(any)
}

fn drops(server: SocketAddr) -> Result<u64, Error> {
    Ok(queue(server)?.1)
}

/// Bytes that wait to be read at the server's socket, and how many datagrams found no room there.
fn queue(server: SocketAddr) -> Result<(u64, u64), Error> {
    let local = format!(":{:04X}", server.port());
    let table = std::fs::read_to_string("/proc/net/udp")?;
    let line = table.lines().find(|line| {
        line.split_whitespace().nth(1).is_some_and(|address| address == format!("0100007F{local}"))
    });
    let fields: Vec<&str> = line.ok_or("the server's socket is gone")?.split_whitespace().collect();
    let waiting =
        fields.get(4).and_then(|queues| queues.split(':').nth(1)).ok_or("no queue in /proc/net/udp")?;
    let dropped = fields.last().ok_or("no drops in /proc/net/udp")?;
    Ok((u64::from_str_radix(waiting, 16)?, dropped.parse()?))
}
