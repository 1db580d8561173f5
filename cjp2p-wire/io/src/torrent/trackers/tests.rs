//! Trackers that answer, refuse, lie and never end, on loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::peer_id::PeerId;
use cjp2p_torrent::tracker::{Announce, Moment, TrackerError};

use super::{http, udp};

const LOOPBACK: &str = "127.0.0.1:0";

fn announce() -> Announce {
    Announce {
        info_hash: InfoHash::from_bytes([1; 20]),
        peer_id: PeerId::from_bytes([2; 20]),
        port: 6881,
        uploaded: 0,
        downloaded: 0,
        left: 9,
        moment: Some(Moment::Started),
        want: 50,
        key: 7,
        tracker_id: None,
    }
}

/// A server that answers each request, by its first line, for as long as the test runs.
fn server(answer: impl Fn(&str, SocketAddr) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
            // Whoever has had enough closes.
            let _ = stream.write_all(&answer(&first, address));
        }
    });
    address
}

fn ok(body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    answer
}

#[test]
fn a_tracker_is_asked_and_answers_also_behind_a_redirect() {
    let tracker = server(|first, address| match first.contains("/announce?") {
        true if first.contains("info_hash=%01%01") && first.contains("event=started") => {
            ok(b"d8:intervali60e5:peers6:\x7f\0\0\x01\x1a\xe1e")
        }
        true => ok(b"d14:failure reason7:unknowne"),
        false => {
            let to =
                format!("http://{address}/announce?{}", first.split(['?', ' ']).nth(2).unwrap_or_default());
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
        }
    });
    for path in ["announce", "elsewhere"] {
        let answer = http::ask(&format!("http://{tracker}/{path}"), &announce(), true).unwrap();
        assert_eq!(answer.peers, ["127.0.0.1:6881".parse().unwrap()]);
        assert_eq!(answer.interval, Some(Duration::from_secs(60)));
    }
}

#[test]
fn trackers_of_strangers_are_not_asked_where_only_our_own_network_is() {
    let asked = server(|_, _| ok(b"de"));
    for url in [format!("http://{asked}/"), format!("http://localhost:{}/", asked.port())] {
        assert!(http::ask(&url, &announce(), false).is_err(), "{url}");
    }
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    socket.set_nonblocking(true).unwrap();
    let url = format!("udp://{}/", socket.local_addr().unwrap());
    assert!(udp::ask(&url, &announce(), false).is_err());
    assert!(socket.recv(&mut [0; 100]).is_err(), "something was sent");
}

#[test]
fn what_is_no_answer_or_never_ends_is_an_error() {
    let tracker = server(|first, address| match first {
        first if first.contains("/for-ever") => {
            format!("HTTP/1.1 302 Found\r\nLocation: http://{address}/for-ever\r\nContent-Length: 0\r\n\r\n")
                .into()
        }
        first if first.contains("/big") => {
            let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n".to_vec();
            answer.resize(4 << 20, b'd');
            answer
        }
        first if first.contains("/headers") => {
            let mut answer = b"HTTP/1.1 200 OK\r\n".to_vec();
            answer.extend(b"X: y\r\n".repeat(1 << 20));
            answer
        }
        first if first.contains("/missing") => {
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nde".to_vec()
        }
        first if first.contains("/tls") => {
            b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec()
        }
        first if first.contains("/refuses") => ok(b"d14:failure reason2:noe"),
        _ => b"what?".to_vec(),
    });
    let ask = |path: &str| http::ask(&format!("http://{tracker}/{path}"), &announce(), true);
    for path in ["for-ever", "big", "headers", "missing", "tls", "what"] {
        assert!(matches!(ask(path), Err(TrackerError::Unreachable(_))), "{path}: {:?}", ask(path));
    }
    assert_eq!(ask("refuses"), Err(TrackerError::Refused("no".to_string())));
    assert!(http::ask("http://127.0.0.1:1/", &announce(), true).is_err());
    assert!(
        http::ask("http://", &announce(), true).is_err() && udp::ask("udp://x", &announce(), true).is_err()
    );
}

#[test]
fn a_tracker_by_udp_is_asked_again_until_it_answers() {
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut question = [0; 200];
        let mut seen = 0;
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            seen += 1;
            if seen == 1 {
                // Lost on its way.
                continue;
            }
            let mut answer = question[8..16].to_vec();
            if length == 16 {
                answer.extend([9; 8]);
            } else {
                answer.extend([0, 0, 0, 60, 0, 0, 0, 1, 0, 0, 0, 2, 127, 0, 0, 1, 0, 5]);
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    let answer = udp::ask(&format!("udp://{address}/announce"), &announce(), true).unwrap();
    assert_eq!(answer.peers, ["127.0.0.1:5".parse().unwrap()]);
    assert_eq!((answer.leechers, answer.seeders), (Some(1), Some(2)));
}
