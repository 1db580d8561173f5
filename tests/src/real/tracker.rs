//! A tracker of one torrent, by HTTP and by UDP (BEP 3, 15, 23), that names everybody to everybody; or one that does harm.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// No client needs longer for a question.
const PATIENCE: Duration = Duration::from_secs(10);
/// A request's first line is not longer.
const MAX_LINE: u64 = 8 << 10;
/// What [`Manner::Floods`] sends at most, in bytes.
const FLOOD: usize = 1 << 30;
/// What a client proves by that the address it names is its own.
const CONNECTION: u64 = 0x1122_3344_5566_7788;
/// When clients are to ask again, in seconds: none does within a test.
const INTERVAL: u32 = 1800;

/// How it answers by HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Names everybody that asked to everybody else.
    Honest,
    /// Says that peers are where there can be none, and at services of the one that asks.
    Lies,
    /// Answers with what is no answer.
    Babbles,
    /// Takes each question and says nothing, for longer than anybody should wait.
    Hangs,
    /// Sends everybody on to itself, each time by another name.
    Redirects,
    /// Sends 1 GiB.
    Floods,
}

/// A running tracker. Ends when dropped.
pub struct Tracker {
    http: SocketAddr,
    udp: SocketAddr,
    known: Arc<Known>,
}

/// What all threads of it know.
#[derive(Default)]
struct Known {
    peers: Mutex<BTreeSet<(Ipv4Addr, u16)>>,
    asked: Mutex<Vec<String>>,
    has_ended: AtomicBool,
    sent: Mutex<u64>,
}

impl Known {
    /// The others, as BEP 23 has it. This one is one of them from now on.
    fn others(&self, address: IpAddr, port: u16, has_stopped: bool) -> Vec<u8> {
        let IpAddr::V4(address) = address.to_canonical() else { return Vec::new() };
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        match has_stopped || port == 0 {
            true => _ = peers.remove(&(address, port)),
            false => _ = peers.insert((address, port)),
        }
        let others = peers.iter().filter(|&&peer| peer != (address, port));
        others.flat_map(|(address, port)| [&address.octets()[..], &port.to_be_bytes()].concat()).collect()
    }

    fn note(&self, question: String) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(question);
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }
}

impl Tracker {
    /// One that is honest, on free ports of this address of the namespace that this thread is in.
    ///
    /// # Errors
    ///
    /// Where there is no such address.
    pub fn start(address: Ipv4Addr) -> io::Result<Tracker> {
        Tracker::with_manner(address, Manner::Honest)
    }

    /// One that answers so by HTTP, and honestly by UDP.
    ///
    /// # Errors
    ///
    /// Where there is no such address.
    pub fn with_manner(address: Ipv4Addr, manner: Manner) -> io::Result<Tracker> {
        let listener = TcpListener::bind((address, 0))?;
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let (http, udp) = (listener.local_addr()?, socket.local_addr()?);
        let known: Arc<Known> = Arc::default();
        let of_http = known.clone();
        thread::Builder::new().spawn(move || {
            for stream in listener.incoming() {
                let Some(stream) = stream.ok().filter(|_| !of_http.has_ended()) else { return };
                let known = of_http.clone();
                // A client that goes, or stays silent, is no matter of the others.
                let serve = move || _ = answer_http(stream, &known, manner);
                if thread::Builder::new().spawn(serve).is_err() {
                    return;
                }
            }
        })?;
        let of_udp = known.clone();
        thread::Builder::new().spawn(move || {
            let mut datagram = [0; 2048];
            while !of_udp.has_ended() {
                let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
                if let Some(answer) = answer_udp(&datagram[..length], from, &of_udp) {
                    // What is lost is asked for again.
                    let _ = socket.send_to(&answer, from);
                }
            }
        })?;
        Ok(Tracker { http, udp, known })
    }

    /// Where it is asked by HTTP.
    pub fn http(&self) -> String {
        format!("http://{}/announce", self.http)
    }

    /// Where it is asked by UDP.
    pub fn udp(&self) -> String {
        format!("udp://{}/announce", self.udp)
    }

    /// What it was asked, in words of a question by HTTP.
    pub fn asked(&self) -> Vec<String> {
        self.known.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes that somebody took of what it sends without end.
    pub fn flooded(&self) -> u64 {
        *self.known.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it was asked something with this in it.
    ///
    /// # Panics
    ///
    /// Where it is not within a minute.
    pub fn wait_for(&self, text: &str) {
        let begun = Instant::now();
        while !self.asked().iter().any(|line| line.contains(text)) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{text}: {:?}", self.asked());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.known.has_ended.store(true, Ordering::Relaxed);
        // It waits for somebody. In another namespace it is not reached, and waits until the process ends.
        let _ = TcpStream::connect_timeout(&self.http, Duration::from_millis(100));
    }
}

fn answer_http(mut stream: TcpStream, known: &Known, manner: Manner) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let from = stream.peer_addr()?;
    let mut line = String::new();
    let mut head = BufReader::new(stream.try_clone()?).take(MAX_LINE);
    head.read_line(&mut line)?;
    // A connection that is closed while something of the head is unread would be reset, and our answer lost.
    loop {
        let mut rest = String::new();
        if head.read_line(&mut rest)? == 0 || rest.trim().is_empty() {
            break;
        }
    }
    let value = |name: &str| {
        let rest = line.split(['?', '&', ' ']).find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        rest.map(str::to_owned)
    };
    let port = value("port").and_then(|port| port.parse().ok());
    known.note(line.trim().to_owned());
    let bencoded = |peers: &[u8]| {
        let mut body = format!("d8:intervali{INTERVAL}e5:peers{}:", peers.len()).into_bytes();
        body.extend_from_slice(peers);
        body.push(b'e');
        body
    };
    let (status, body) = match (manner, port) {
        (Manner::Honest, Some(port)) => {
            let has_stopped = value("event").as_deref() == Some("stopped");
            ("200 OK", bencoded(&known.others(from.ip(), port, has_stopped)))
        }
        (Manner::Honest, None) => ("404 Not Found", Vec::new()),
        (Manner::Lies, _) => {
            let nobody = [0, 0, 0, 0, 0, 0, 127, 0, 0, 1, 0, 22, 10, 0, 0, 1, 0, 80, 224, 0, 0, 1, 0, 9];
            ("200 OK", bencoded(&nobody))
        }
        (Manner::Babbles, _) => ("200 OK", vec![b'l'; 100_000]),
        (Manner::Hangs, _) => {
            let begun = Instant::now();
            while !known.has_ended() && begun.elapsed() < Duration::from_secs(300) {
                thread::sleep(Duration::from_millis(50));
            }
            return Ok(());
        }
        (Manner::Redirects, _) => {
            let nth = known.asked.lock().unwrap_or_else(PoisonError::into_inner).len();
            let to = format!("http://{}/announce{nth}", stream.local_addr()?);
            let head = format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            return stream.write_all(head.as_bytes());
        }
        (Manner::Floods, _) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {FLOOD}\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes())?;
            let part = vec![b'd'; 64 << 10];
            for _ in 0..FLOOD / part.len() {
                stream.write_all(&part)?;
                *known.sent.lock().unwrap_or_else(PoisonError::into_inner) += part.len() as u64;
            }
            return Ok(());
        }
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())
        .into_bytes();
    stream.write_all(&[head, body].concat())
}

/// An answer to a question by UDP, if it is one.
fn answer_udp(datagram: &[u8], from: SocketAddr, known: &Known) -> Option<Vec<u8>> {
    let number = |at: usize| Some(u32::from_be_bytes(datagram.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_be_bytes(datagram.get(at..at + 8)?.try_into().ok()?));
    let (action, transaction) = (number(8)?, number(12)?);
    let mut answer = Vec::new();
    match action {
        0 if long(0)? == 0x0417_2710_1980 => {
            answer.extend(0u32.to_be_bytes());
            answer.extend(transaction.to_be_bytes());
            answer.extend(CONNECTION.to_be_bytes());
        }
        1 if long(0)? == CONNECTION && datagram.len() >= 98 => {
            let event = ["none", "completed", "started", "stopped"].get(number(80)? as usize)?;
            let port = u16::from_be_bytes([datagram[96], datagram[97]]);
            known.note(format!("udp port={port}&left={}&event={event}&", long(64)?));
            answer.extend(1u32.to_be_bytes());
            answer.extend(transaction.to_be_bytes());
            for number in [INTERVAL, 0, 1] {
                answer.extend(number.to_be_bytes());
            }
            answer.extend(known.others(from.ip(), port, *event == "stopped"));
        }
        _ => {
            answer.extend(3u32.to_be_bytes());
            answer.extend(transaction.to_be_bytes());
            answer.extend(b"not here");
        }
    }
    Some(answer)
}
