//! cjp2p-serve and a router that speaks PCP or NAT-PMP, scripted, on loopback. No test asks the one of the machine.

#![expect(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, ChildStderr, ChildStdout, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use cjp2p_tests::real::tool;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Where routers are asked, by both protocols.
const PORT: u16 = 5351;
/// The port that the routers give.
const GIVEN: u16 = 40_123;
const OUTSIDE: [u8; 4] = [198, 51, 100, 9];

/// A request for the port of a server, as either protocol has it.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    port: u16,
    lifetime: u32,
}

/// What a router answers, and what it takes the request for.
type Answer = (Vec<u8>, Option<Asked>);

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// Answers as a router of the older protocol does, which gives the port for two seconds each time.
fn nat_pmp(request: &[u8]) -> Answer {
    let epoch = [0, 0, 0, 9];
    match request {
        [0, 0] => ([&[0, 128, 0, 0][..], &epoch, &OUTSIDE].concat(), None),
        [0, 1, _, _, port @ .., _, _, _, _, _, _] if port.len() == 2 => {
            let lifetime = number(&request[8..12]);
            let (given, granted) = if lifetime == 0 { (0, 0) } else { (GIVEN, 2u32) };
            let answer = [&[0, 129, 0, 0][..], &epoch, port, &given.to_be_bytes(), &granted.to_be_bytes()];
            (answer.concat(), Some(Asked { port: number(port) as u16, lifetime }))
        }
        // Any other version is not known.
        _ => ([&[0, 128 | request[1], 0, 1][..], &epoch].concat(), None),
    }
}

/// The same by the newer one.
fn pcp(request: &[u8]) -> Answer {
    assert_eq!((request[0], request[1], request.len()), (2, 1, 60), "{request:?}");
    let lifetime = number(&request[4..8]);
    let granted = lifetime.min(2);
    let mut answer = [&[2, 129, 0, 0][..], &granted.to_be_bytes(), &[0, 0, 0, 9], &[0; 12]].concat();
    // The nonce, the protocol and the port as they came.
    answer.extend(&request[24..42]);
    answer.extend(if lifetime == 0 { 0 } else { GIVEN }.to_be_bytes());
    answer.extend(Ipv4Addr::from(OUTSIDE).to_ipv6_mapped().octets());
    (answer, Some(Asked { port: number(&request[40..42]) as u16, lifetime }))
}

/// Refuses.
fn stern(request: &[u8]) -> Answer {
    let mut answer = request.to_vec();
    answer[1] |= 128;
    // Not authorized.
    answer[3] = 2;
    (answer, None)
}

/// A router at an address of loopback, as long as the test runs.
struct Router {
    address: Ipv4Addr,
    asked: Receiver<Asked>,
}

impl Router {
    fn start(answer: fn(&[u8]) -> Answer) -> Router {
        // Tests run side by side, and each has its own router.
        let bind = |n: u8| {
            let address = Ipv4Addr::new(127, 53, 51, n);
            UdpSocket::bind((address, PORT)).ok().map(|socket| (address, socket))
        };
        let (address, socket) = (1..=254).find_map(bind).expect("a free address");
        let (sender, asked) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 1100];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let (answer, asked) = answer(&buffer[..length]);
                socket.send_to(&answer, from).unwrap();
                asked.into_iter().for_each(|asked| sender.send(asked).unwrap_or(()));
            }
        });
        Router { address, asked }
    }

    fn next(&self) -> Asked {
        self.asked.recv_timeout(Duration::from_secs(60)).expect("the router is asked")
    }
}

struct Server {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: BufReader<ChildStderr>,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(router: Ipv4Addr) -> Server {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("share")).unwrap();
        let mut child = tool("cjp2p-serve", &folder.path().join("state"))
            .args(["--json", "--listen", "127.0.0.1:0", &format!("--map-port={router}")])
            .arg(folder.path().join("share"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut server = Server { child, lines, stderr, port: 0, _folder: folder };
        let address = server.wait_for("listening")["address"].clone();
        server.port = address.as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
        server
    }

    fn wait_for(&mut self, event: &str) -> Value {
        loop {
            let line = self.lines.next().expect("it goes on").unwrap();
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["event"] == event {
                return value;
            }
        }
    }

    fn end(mut self) -> (ExitStatus, String) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let mut told = String::new();
        self.stderr.read_to_string(&mut told).unwrap();
        (self.child.wait().unwrap(), told)
    }
}

#[test]
fn a_port_of_the_router_is_asked_for_renewed_and_given_back_by_either_protocol() {
    for answer in [nat_pmp, pcp] {
        let router = Router::start(answer);
        let mut server = Server::start(router.address);
        let port = server.port;
        let mapped = server.wait_for("mapped");
        assert_eq!((&mapped["address"], &mapped["port"]), (&"198.51.100.9".into(), &GIVEN.into()));
        let first = router.next();
        assert_eq!(first.port, port);
        assert!(first.lifetime >= 600, "{first:?}");
        // Before the two seconds are over.
        let again = router.next();
        assert!(again.port == port && again.lifetime > 0, "{again:?}");
        let (_, told) = server.end();
        while router.next().lifetime > 0 {}
        assert!(!told.contains("map-port"), "{told}");
    }
}

#[test]
fn a_router_that_gives_no_port_is_told_of_once_and_sharing_goes_on() {
    let router = Router::start(stern);
    let silent = Ipv4Addr::new(127, 53, 50, 1);
    let _silent = UdpSocket::bind((silent, PORT)).unwrap();
    for address in [router.address, silent] {
        let mut server = Server::start(address);
        server.wait_for("ready");
        let mut told = String::new();
        while !told.contains("--map-port") {
            assert!(server.stderr.read_line(&mut told).unwrap() > 0, "{told}");
        }
        let (status, more) = server.end();
        told += &more;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
        let lines: Vec<&str> = told.lines().filter(|line| line.contains("--map-port")).collect();
        assert_eq!(lines.len(), 1, "{told}");
        assert!(lines[0].contains(": --map-port: the router gives no port: "), "{told}");
    }
}
