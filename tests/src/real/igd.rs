//! A router that speaks UPnP, scripted: what it answers to who looks for it, and to who asks for a port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

/// Where it is looked for, by datagrams.
pub const SEARCH_PORT: u16 = 1900;
/// Where it is asked by the other protocols.
const OTHER_PORT: u16 = 5351;
/// The service that has ports to give.
const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";
/// The address that it says to have to the outside.
pub const OUTSIDE: &str = "198.51.100.9";

/// What a router was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To pass on what comes to a port, for so many seconds; 0 is for ever.
    Add {
        /// Its own.
        outside: u16,
        /// That of the host.
        inside: u16,
        /// The host.
        client: String,
        /// For how long.
        lease: u32,
    },
    /// To pass it on no longer.
    Delete {
        /// Its own.
        outside: u16,
    },
}

/// What a router does otherwise than most.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The URL that it names to who looks for it. `None`: that of its description.
    pub location: Option<String>,
    /// The URL that its description names for requests. `None`: a path of its own.
    pub control: Option<String>,
    /// What it sends instead of its description, head and all.
    pub description: Option<Vec<u8>>,
    /// What it answers to who asks for a port, head and all.
    pub answer: Option<Vec<u8>>,
    /// A port that somebody else has.
    pub taken: Option<u16>,
    /// Gives ports for ever only.
    pub only_for_ever: bool,
    /// How long it takes to answer who looks for it.
    pub pause: Duration,
}

/// A router at an address of this machine, as long as the process runs.
pub struct Igd {
    /// Its address on the side of those who ask.
    pub address: Ipv4Addr,
    asked: Receiver<Asked>,
}

impl Igd {
    /// One at an address of loopback. It does not listen for the other protocols.
    ///
    /// # Panics
    ///
    /// Where loopback has no address left.
    pub fn start(script: Script) -> Igd {
        // Tests run side by side, and each has its own router.
        let bind = |n: u8| {
            let address = Ipv4Addr::new(127, 53, 52, n);
            UdpSocket::bind((address, SEARCH_PORT)).ok().map(|socket| (address, socket))
        };
        let (address, search) = (1..=254).find_map(bind).expect("a free address");
        Igd::start_at(address, search, script)
    }

    /// One at this address, that is looked for by this socket.
    ///
    /// # Panics
    ///
    /// Where it cannot listen there.
    pub fn start_at(address: Ipv4Addr, search: UdpSocket, script: Script) -> Igd {
        let listener = TcpListener::bind((address, 0)).expect("a port");
        let http = listener.local_addr().expect("an address");
        let location = script.location.clone().unwrap_or_else(|| format!("http://{http}/root.xml"));
        let pause = script.pause;
        thread::spawn(move || answer_searches(&search, &location, pause));
        let (sender, asked) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who asks may go away at any time.
                let _ = serve(stream, &script, &sender);
            }
        });
        Igd { address, asked }
    }

    /// What it is asked next.
    ///
    /// # Panics
    ///
    /// Where it is not asked within a minute.
    pub fn next(&self) -> Asked {
        self.asked.recv_timeout(Duration::from_secs(60)).expect("the router is asked")
    }

    /// What it was asked meanwhile.
    pub fn meanwhile(&self) -> Vec<Asked> {
        self.asked.try_iter().collect()
    }
}

/// Hears what is asked by PCP and NAT-PMP at this address, and answers nothing.
///
/// # Panics
///
/// Where somebody else listens there.
pub fn deaf_to_others(address: Ipv4Addr) -> UdpSocket {
    UdpSocket::bind((address, OTHER_PORT)).expect("a port")
}

/// What a device answers to who looks for it.
pub fn found_at(location: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=60\r\nEXT:\r\nLocation: {location}\r\nST: {SERVICE}\r\n\r\n"
    )
}

fn answer_searches(socket: &UdpSocket, location: &str, pause: Duration) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let question = String::from_utf8_lossy(&buffer[..length]);
        if question.starts_with("M-SEARCH * HTTP/1.1\r\n") && question.contains(SERVICE) {
            thread::sleep(pause);
            // Who asks may be gone.
            let _ = socket.send_to(found_at(location).as_bytes(), from);
        }
    }
}

/// Answers one request.
fn serve(mut stream: TcpStream, script: &Script, asked: &Sender<Asked>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body);
    let answer = match head.split(' ').nth(1) {
        Some("/root.xml") => script.description.clone().unwrap_or_else(|| page(200, &description(script))),
        Some("/wan.xml") => page(200, &actions()),
        Some("/control") => script.answer.clone().unwrap_or_else(|| act(&head, &body, script, asked)),
        _ => page(404, ""),
    };
    stream.write_all(&answer)
}

/// An answer with this body.
pub fn page(status: u16, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} -\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body.as_bytes()].concat()
}

/// Devices in devices, as routers have them.
fn description(script: &Script) -> String {
    let control = script.control.as_deref().unwrap_or("/control");
    let service = format!(
        "<serviceList><service><serviceType>{SERVICE}</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>\
         <SCPDURL>/wan.xml</SCPDURL><controlURL>{control}</controlURL><eventSubURL>/events</eventSubURL></service></serviceList>"
    );
    let device = |kind: &str, inner: &str| {
        format!("<device><deviceType>urn:schemas-upnp-org:device:{kind}:1</deviceType>{inner}</device>")
    };
    let inner = device("WANConnectionDevice", &service);
    let inner = device("WANDevice", &format!("<deviceList>{inner}</deviceList>"));
    let root = device("InternetGatewayDevice", &format!("<deviceList>{inner}</deviceList>"));
    format!("<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\">{root}</root>")
}

/// Which requests it takes, with which arguments.
fn actions() -> String {
    let action = |name: &str, arguments: &[&str]| {
        let argument = |name: &&str| {
            let direction = if name.contains("ExternalIP") { "out" } else { "in" };
            format!("<argument><name>{name}</name><direction>{direction}</direction></argument>")
        };
        let arguments: String = arguments.iter().map(argument).collect();
        format!("<action><name>{name}</name><argumentList>{arguments}</argumentList></action>")
    };
    let port = ["NewRemoteHost", "NewExternalPort", "NewProtocol"];
    let rest = [
        "NewInternalPort",
        "NewInternalClient",
        "NewEnabled",
        "NewPortMappingDescription",
        "NewLeaseDuration",
    ];
    let list = [
        action("AddPortMapping", &[&port[..], &rest].concat()),
        action("DeletePortMapping", &port),
        action("GetExternalIPAddress", &["NewExternalIPAddress"]),
    ];
    format!("<?xml version=\"1.0\"?><scpd><actionList>{}</actionList></scpd>", list.concat())
}

fn envelope(inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>{inner}</s:Body></s:Envelope>"
    )
}

/// A refusal, with words of its own.
pub fn refusal(code: u16, words: &str) -> Vec<u8> {
    let error = format!("<errorCode>{code}</errorCode><errorDescription>{words}</errorDescription>");
    let detail = format!("<detail><UPnPError>{error}</UPnPError></detail>");
    let fault = format!(
        "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring>{detail}</s:Fault>"
    );
    page(500, &envelope(&fault))
}

fn act(head: &str, body: &str, script: &Script, asked: &Sender<Asked>) -> Vec<u8> {
    let field = |name: &str| {
        let after = body.split_once(&format!("<{name}>")).map_or("", |(_, rest)| rest);
        after.split('<').next().unwrap_or_default().to_owned()
    };
    let number = |name: &str| field(name).parse().unwrap_or(0);
    let done = |action: &str, inner: &str| {
        page(
            200,
            &envelope(&format!("<u:{action}Response xmlns:u=\"{SERVICE}\">{inner}</u:{action}Response>")),
        )
    };
    let note = |what| {
        // The test may be over.
        let _ = asked.send(what);
    };
    let outside = number("NewExternalPort");
    let is_udp = field("NewProtocol") == "UDP";
    let wants = |action: &str| head.contains(&format!("{SERVICE}#{action}\""));
    if wants("AddPortMapping") && is_udp {
        let lease = field("NewLeaseDuration").parse().unwrap_or(u32::MAX);
        note(Asked::Add {
            outside,
            inside: number("NewInternalPort"),
            client: field("NewInternalClient"),
            lease,
        });
        match () {
            () if script.taken == Some(outside) => refusal(718, "ConflictInMappingEntry"),
            () if script.only_for_ever && lease > 0 => refusal(725, "OnlyPermanentLeasesSupported"),
            () => done("AddPortMapping", ""),
        }
    } else if wants("DeletePortMapping") && is_udp {
        note(Asked::Delete { outside });
        done("DeletePortMapping", "")
    } else if wants("GetExternalIPAddress") {
        done("GetExternalIPAddress", &format!("<NewExternalIPAddress>{OUTSIDE}</NewExternalIPAddress>"))
    } else {
        refusal(401, "Invalid Action")
    }
}

/// Somebody to whom nobody shall connect, and whether somebody did.
pub struct Bystander(TcpListener);

impl Bystander {
    /// At an address of this machine.
    ///
    /// # Panics
    ///
    /// Where it cannot listen there.
    pub fn start(address: Ipv4Addr) -> Bystander {
        let listener = TcpListener::bind((address, 0)).expect("a port");
        listener.set_nonblocking(true).expect("an option that anybody may set");
        Bystander(listener)
    }

    /// A URL that leads to it.
    ///
    /// # Panics
    ///
    /// Never: it listens.
    pub fn url(&self) -> String {
        format!("http://{}/root.xml", self.address())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it listens")
    }

    /// Whether somebody connected.
    pub fn was_disturbed(&self) -> bool {
        self.0.accept().is_ok()
    }
}
