//! A gateway with many clients: idle ones, slow ones, ones that send what is no request, and a thousand that read at once.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cjp2p_tests::fuzz::mutate::mutated;
use cjp2p_tests::lab::Error;
use cjp2p_tests::real::server::{descriptors, resident_memory};
use cjp2p_tests::{row, table};
use clap::Args;

use crate::bench::{Bench, allow_descriptors};

/// MiB of the content that all read.
const LARGE: u64 = 256;
/// Somebody who waits longer is not served.
const LIMIT: Duration = Duration::from_secs(30);
/// Malformed requests between two that are answered.
const BETWEEN: u64 = 1000;
/// Bytes that a client reads at once.
const READ_AT_ONCE: usize = 64 << 10;
/// The marks, in MiB and shares.
const MOST_IDLE: f64 = 64.0;
const MOST_READING: f64 = 96.0;
const MOST_MALFORMED: f64 = 4.0;
const LEAST_SHARE: f64 = 0.5;

/// See the help.
#[derive(Args)]
pub(crate) struct Gateway {
    /// How many clients stay connected without asking for anything
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// How many read at the same time
    #[arg(long, default_value_t = 1000)]
    readers: usize,
    /// For how many seconds they read
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How many requests that are none to send
    #[arg(long, default_value_t = 100_000)]
    malformed: u64,
    /// Where these follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A running gateway. Killed when dropped.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(bench: &Bench) -> Result<Running, Error> {
        let mut child = bench.gateway().stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().ok_or("no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().trim_start_matches("http://").trim_end_matches('/').parse();
        let address = address.map_err(|_| format!("cjp2p-http printed {line:?}"))?;
        Ok(Running { child, address })
    }

    fn mib(&self) -> f64 {
        resident_memory(self.child.id()) as f64 / f64::from(1 << 20)
    }

    fn connect(&self) -> Result<TcpStream, Error> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    /// Asks for the first byte of a content, and gives how long that took.
    fn ask(&self, stream: &mut TcpStream, id: &str) -> Result<Duration, Error> {
        let begun = Instant::now();
        let request = format!("GET /{id} HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-0\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = stream.read(&mut buffer)?;
            answer.extend_from_slice(&buffer[..count]);
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
            match end {
                Some(end) if answer.len() == end + 5 && answer.starts_with(b"HTTP/1.1 206") => {
                    return Ok(begun.elapsed());
                }
                _ if count > 0 => {}
                _ => return Err(format!("answered {:?}", String::from_utf8_lossy(&answer)).into()),
            }
        }
    }
}

impl Gateway {
    pub(crate) fn run(&self) -> Result<bool, Error> {
        allow_descriptors(self.idle.max(self.readers) + 100)?;
        let bench = Bench::start(LARGE)?;
        let gateway = Running::start(&bench)?;
        let id = &bench.large[0];
        // All of it is in the cache, and the memory is what it needs for that.
        let mut first = gateway.connect()?;
        read_all(&mut first, id)?;
        println!("{}", table::head(&["what", "promised", "measured"]));
        println!("{}", row!["memory with nobody there, MiB", "", format!("{:.1}", gateway.mib())]);
        let open = descriptors(gateway.child.id());
        let mut met = self.idle(&gateway, id)?;
        met &= self.malformed(&gateway, id)?;
        met &= self.slow(&gateway, id)?;
        met &= self.read(&gateway, id)?;
        let after = settled(&gateway, open);
        println!("{}", row!["descriptors more at the end", "0", after]);
        Ok(met && after == 0)
    }

    /// Clients that ask once, and stay.
    fn idle(&self, gateway: &Running, id: &str) -> Result<bool, Error> {
        let before = gateway.mib();
        let mut clients = Vec::with_capacity(self.idle);
        for _ in 0..self.idle {
            let mut client = gateway.connect()?;
            gateway.ask(&mut client, id)?;
            clients.push(client);
        }
        let more = gateway.mib() - before;
        let others = gateway.ask(&mut gateway.connect()?, id)?;
        println!("{}", row!["clients that asked once and stayed", "", clients.len()]);
        println!("{}", row!["memory more with them, MiB", format!("≤ {MOST_IDLE}"), format!("{more:.1}")]);
        println!("{}", row!["one more is answered after, ms", "", others.as_millis()]);
        Ok(more <= MOST_IDLE)
    }

    /// Requests that are none, most of them, each on a connection of its own; and some that are between them.
    fn malformed(&self, gateway: &Running, id: &str) -> Result<bool, Error> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let request = format!(
            "PUT /{id}?download HTTP/1.1\r\nHost: localhost:1\r\nRange: bytes=0-1,5-,-7\r\nIf-Range: \"a\"\r\n\
             Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        let other = "GET http://localhost/../folder/%00 HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 9\r\n\r\n";
        let (mut base, mut worst) = (None, Duration::ZERO);
        for n in 0..self.malformed {
            if n % BETWEEN == 0 {
                worst = worst.max(gateway.ask(&mut gateway.connect()?, id)?);
            }
            if n == self.malformed / 10 {
                base = Some(gateway.mib());
            }
            let mut client = gateway.connect()?;
            let bytes = mutated(request.as_bytes(), other.as_bytes(), &mut random);
            // It may end the connection before all is sent.
            let _ = client.write_all(&bytes).and_then(|()| client.shutdown(std::net::Shutdown::Write));
            drain(&mut client)?;
        }
        let more = gateway.mib() - base.unwrap_or_else(|| gateway.mib());
        println!("{}", row!["connections with what is no request", "", self.malformed]);
        println!(
            "{}",
            row![
                "memory more after them than after a tenth, MiB",
                format!("≤ {MOST_MALFORMED}"),
                format!("{more:.1}")
            ]
        );
        println!("{}", row!["the longest that others waited meanwhile, ms", "", worst.as_millis()]);
        Ok(more <= MOST_MALFORMED)
    }

    /// Clients that send half a request.
    fn slow(&self, gateway: &Running, id: &str) -> Result<bool, Error> {
        let mut clients = Vec::with_capacity(self.idle);
        for _ in 0..self.idle {
            let mut client = gateway.connect()?;
            client.write_all(b"GET / HTTP/1.1\r\nHost: local")?;
            clients.push(client);
        }
        let mut worst = Duration::ZERO;
        let begun = Instant::now();
        let mut asked = 0;
        while begun.elapsed() < Duration::from_secs(5) {
            worst = worst.max(gateway.ask(&mut gateway.connect()?, id)?);
            asked += 1;
        }
        println!("{}", row!["clients that sent half a request", "", clients.len()]);
        println!("{}", row!["requests of others beside them", "", asked]);
        println!("{}", row!["the longest that they waited, ms", "≤ 1000", worst.as_millis()]);
        Ok(worst <= Duration::from_secs(1))
    }

    /// Clients that read the same content at once, as fast as they get it, again and again.
    fn read(&self, gateway: &Running, id: &str) -> Result<bool, Error> {
        let counts: Vec<AtomicU64> = (0..self.readers).map(|_| AtomicU64::new(0)).collect();
        let is_over = AtomicBool::new(false);
        let mut most = 0.0;
        let failed = AtomicU64::new(0);
        std::thread::scope(|scope| -> Result<(), Error> {
            for count in &counts {
                let client = gateway.connect()?;
                let (is_over, failed) = (&is_over, &failed);
                let reader = move || {
                    // Broken off at the end, it is no failure.
                    if read_on(client, id, count, is_over).is_err() && !is_over.load(Ordering::Relaxed) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                };
                std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, reader)?;
            }
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(self.seconds) {
                std::thread::sleep(Duration::from_millis(100));
                most = gateway.mib().max(most);
            }
            is_over.store(true, Ordering::Relaxed);
            Ok(())
        })?;
        let mut counts: Vec<u64> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        counts.sort_unstable();
        let all: u64 = counts.iter().sum();
        let mean = all as f64 / counts.len() as f64;
        let share = |at: usize| counts[at] as f64 / mean;
        let (least, hundredth) = (share(0), share(counts.len() / 100));
        let failed = failed.into_inner();
        println!(
            "{}",
            row!["clients that read at once, for seconds", "", format!("{}, {}", self.readers, self.seconds)]
        );
        println!("{}", row!["all together, MB/s", "", all / self.seconds / 1_000_000]);
        println!(
            "{}",
            row![
                "who got least and the hundredth of them, by the mean",
                format!("≥ {LEAST_SHARE}"),
                format!("{least:.2}, {hundredth:.2}")
            ]
        );
        println!("{}", row!["that were broken off", "0", failed]);
        println!("{}", row!["memory at most, MiB", format!("≤ {MOST_READING}"), format!("{most:.1}")]);
        Ok(failed == 0 && least >= LEAST_SHARE && most <= MOST_READING)
    }
}

/// Asks for all of a content.
fn ask_for(stream: &mut TcpStream, id: &str) -> Result<(), Error> {
    Ok(stream.write_all(format!("GET /{id} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?)
}

fn read_all(stream: &mut TcpStream, id: &str) -> Result<(), Error> {
    ask_for(stream, id)?;
    let mut buffer = vec![0; READ_AT_ONCE];
    let mut left = LARGE << 20;
    while left > 0 {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err("it was broken off".into());
        }
        // The head is a little more.
        left = left.saturating_sub(count as u64);
    }
    Ok(())
}

/// Reads it again and again, until it is over.
fn read_on(mut stream: TcpStream, id: &str, count: &AtomicU64, is_over: &AtomicBool) -> Result<(), Error> {
    let mut buffer = vec![0; READ_AT_ONCE];
    while !is_over.load(Ordering::Relaxed) {
        ask_for(&mut stream, id)?;
        let mut left = LARGE << 20;
        while left > 0 && !is_over.load(Ordering::Relaxed) {
            let got = stream.read(&mut buffer)? as u64;
            if got == 0 {
                return Err("it was broken off".into());
            }
            left = left.saturating_sub(got);
            count.fetch_add(got, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Reads what comes until the end.
fn drain(stream: &mut TcpStream) -> Result<(), Error> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(format!("it neither answers nor ends: {error}").into()),
        }
    }
}

/// Descriptors that stay open beyond those of before, once those of clients that are gone are closed.
fn settled(gateway: &Running, before: usize) -> usize {
    let begun = Instant::now();
    loop {
        let more = descriptors(gateway.child.id()).saturating_sub(before);
        if more == 0 || begun.elapsed() > LIMIT {
            return more;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
