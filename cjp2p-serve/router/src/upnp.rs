//! A port of the router by UPnP, by the crate `igd-next`.
//!
//! UPnP says by a datagram where to connect to, and anybody on the link may send one. So the question is asked here: only the
//! router's own answer counts, and only if it leads to the router. The crate then gets no answer but that one, and
//! is told to connect to no other address whatever it reads.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::str;
use std::thread;
use std::time::{Duration, Instant};

use igd_next::{AddPortError, Gateway, PortMappingProtocol, SearchOptions, search_gateway};

/// Where all devices hear that somebody looks for them.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const PORT: u16 = 1900;
/// What is looked for. A router answers to one of them at least.
const TARGETS: [&str; 3] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];
/// How often is asked, as datagrams get lost, and how long to wait for an answer: a device may take a second.
const TRIES: usize = 3;
const WAIT: Duration = Duration::from_millis(1200);
/// How long the router may take to describe itself.
const DESCRIPTION_WITHIN: Duration = Duration::from_secs(5);
/// What the router shows its owner beside the port.
const LABEL: &str = "cjp2p-serve";

/// A port that the router passes on to this machine.
pub(super) struct Mapping {
    gateway: Gateway,
    outside: NonZeroU16,
    inside: SocketAddr,
    lifetime: u32,
    /// For how many seconds it is asked for; 0: for ever, of routers that know nothing else.
    lease: u32,
}

impl Mapping {
    /// Asks the router for its port `port`, or another where that one is taken, for so many seconds.
    pub(super) fn new(
        router: Ipv4Addr,
        here: IpAddr,
        port: NonZeroU16,
        lifetime: u32,
    ) -> Result<Mapping, String> {
        let gateway = describe(router, &find(router, here)?)?;
        let inside = SocketAddr::new(here, port.get());
        let mut mapping = Mapping { gateway, outside: port, inside, lifetime, lease: lifetime };
        match mapping.ask() {
            Err(AddPortError::PortInUse) => {
                let given =
                    mapping.gateway.add_any_port(PortMappingProtocol::UDP, inside, mapping.lease, LABEL);
                let given = given.map_err(|error| error.to_string())?;
                mapping.outside = NonZeroU16::new(given).ok_or("it gave port 0")?;
            }
            result => result.map_err(|error| error.to_string())?,
        }
        Ok(mapping)
    }

    fn ask(&mut self) -> Result<(), AddPortError> {
        let ask = |lease| {
            let outside = self.outside.get();
            self.gateway.add_port(PortMappingProtocol::UDP, outside, self.inside, lease, LABEL)
        };
        match ask(self.lease) {
            Err(AddPortError::OnlyPermanentLeasesSupported) if self.lease > 0 => {
                self.lease = 0;
                ask(0)
            }
            result => result,
        }
    }

    /// Asks for it anew. One that was given for ever too: a router that starts again forgets it.
    pub(super) fn renew(&mut self) -> Result<(), String> {
        self.ask().map_err(|error| error.to_string())
    }

    pub(super) fn port(&self) -> NonZeroU16 {
        self.outside
    }

    /// For how long it was asked for.
    pub(super) fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime.into())
    }

    /// The address of the router to the outside, if it tells it.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.gateway.get_external_ip().ok()
    }

    pub(super) fn give_back(self) {
        // There is nobody left to be told if that fails.
        let _ = self.gateway.remove_port(PortMappingProtocol::UDP, self.outside.get());
    }
}

/// Where the router describes itself, asked of it and of all devices on the link: some hear only the one, some only the other.
fn find(router: Ipv4Addr, here: IpAddr) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    // From this address it goes out on the link on which the router is.
    let socket = UdpSocket::bind((here, 0)).map_err(failed)?;
    let mut elsewhere = None;
    let mut buffer = [0; 1500];
    for _ in 0..TRIES {
        for target in TARGETS {
            let question = format!(
                "M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}:{PORT}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\n\r\n"
            );
            // Where there is no way to the one there may be to the other.
            for to in [router, GROUP] {
                let _ = socket.send_to(question.as_bytes(), (to, PORT));
            }
        }
        let until = Instant::now() + WAIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left)).map_err(failed)?;
            // The time is over, or nobody is there: either way the clock decides.
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            if from.ip() != IpAddr::V4(router) {
                continue;
            }
            match location(&buffer[..length]) {
                Some(url) if leads_to(url, router) => return Ok(url.to_owned()),
                Some(url) => elsewhere = Some(url.to_owned()),
                None => {}
            }
        }
    }
    Err(elsewhere.map_or("no answer".into(), |url| format!("not followed to another address: {url}")))
}

/// The URL that an answer names.
fn location(answer: &[u8]) -> Option<&str> {
    let lines = str::from_utf8(answer).ok()?.lines();
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    fields.find(|(name, _)| name.trim().eq_ignore_ascii_case("location")).map(|(_, url)| url.trim())
}

/// Whether this URL names the router, by its address. The crate looks again, with a parser of URLs.
fn leads_to(url: &str, router: Ipv4Addr) -> bool {
    let host = url.strip_prefix("http://").and_then(|rest| rest.split(['/', ':', '?', '#']).next());
    host.is_some_and(|host| host.parse() == Ok(router))
}

/// Has the crate read how the router describes itself there. It asks for devices by itself, so it is told to ask us.
fn describe(router: Ipv4Addr, url: &str) -> Result<Gateway, String> {
    let failed = |error: std::io::Error| error.to_string();
    let desk = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    desk.set_read_timeout(Some(DESCRIPTION_WITHIN)).map_err(failed)?;
    let mut options = SearchOptions::default();
    options.bind_addr = (Ipv4Addr::LOCALHOST, 0).into();
    options.broadcast_address = desk.local_addr().map_err(failed)?;
    options.timeout = Some(DESCRIPTION_WITHIN);
    // Beside these it would trust the sender of the answer, which is us, but never an address of loopback.
    options.allowed_gateway_ips = vec![router.into()];
    let answer = format!("HTTP/1.1 200 OK\r\nLOCATION: {url}\r\n\r\n");
    thread::scope(|scope| {
        let answering = thread::Builder::new().spawn_scoped(scope, || {
            if let Ok((_, asker)) = desk.recv_from(&mut [0; 1500]) {
                // Without an answer it gives up.
                let _ = desk.send_to(answer.as_bytes(), asker);
            }
        });
        answering.map_err(failed)?;
        search_gateway(options).map_err(|_| format!("no description of a router at {url}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_at_the_router_itself_are_followed() {
        let router = Ipv4Addr::new(192, 168, 1, 1);
        for url in ["http://192.168.1.1/", "http://192.168.1.1:5000/root.xml?x=1", "http://192.168.1.1"] {
            assert!(leads_to(url, router), "{url}");
        }
        for url in [
            "http://192.168.1.10/",
            "http://192.168.1.2:80/",
            "http://192.168.1.1.example/",
            "http://192.168.1.1@192.168.1.2/",
            "http://user:192.168.1.1@192.168.1.2/",
            "http://router/",
            "https://192.168.1.1/",
            "file:///etc/passwd",
            "",
        ] {
            assert!(!leads_to(url, router), "{url}");
        }
    }

    #[test]
    fn the_location_is_found_in_an_answer_however_it_is_spelled() {
        let answer = b"HTTP/1.1 200 OK\r\nST:urn:x\r\nLocation: http://192.168.1.1:80/a:b\r\n\r\n";
        assert_eq!(location(answer), Some("http://192.168.1.1:80/a:b"));
        for answer in
            [&b""[..], b"LOCATION", b"\xff\xfeLOCATION: http://192.168.1.1/", b"HTTP/1.1 200 OK\r\n\r\n"]
        {
            assert_eq!(location(answer), None);
        }
    }
}
