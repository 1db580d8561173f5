//! Gets the port and keeps it. The crate `crab_nat` speaks PCP and NAT-PMP; [`upnp`] comes after these.

use std::io::{self, BufRead, Read, Write};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::num::NonZeroU16;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::sandbox::Sandbox;
use crab_nat::{
    GATEWAY_PORT, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp,
};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use crate::cli::Cli;
use crate::upnp;

/// A router that did not give a port is asked again after this time,
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// and then after twice as long each time, up to this.
const AGAIN_AT_LAST: Duration = Duration::from_secs(300);
/// No router is asked more often to renew.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// How long to wait for the router, with tries after 0.25, 0.5, 1 and 2 s.
const TIMEOUT: TimeoutConfig =
    TimeoutConfig { initial_timeout: Duration::from_millis(250), max_retries: 3, max_retry_timeout: None };
/// The same when the port is given back: nobody shall wait long for the end.
const TIMEOUT_AT_THE_END: TimeoutConfig = TimeoutConfig { max_retries: 1, ..TIMEOUT };
/// How much memory it may take, in bytes, whatever the router sends.
const MAX_MEMORY: u64 = 64 << 20;
/// The longest command, in bytes.
const MAX_COMMAND: u64 = 64;
/// How much of a router's words is passed on, in characters.
const MAX_TOLD: usize = 300;

/// What came of asking, as a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// The router passes on what comes to this port of it, and of this address if it told it.
    Mapped { address: Option<IpAddr>, port: NonZeroU16 },
    /// There is no port, and why.
    Failed(String),
}

/// Asks the router until standard input is closed.
pub(crate) fn run(cli: Cli) -> Result<Exit, ToolError> {
    let failed = |error: io::Error| ToolError::failure(error.to_string());
    // A terminal sends signals meant for the server here too. The server's end is the end.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().map_err(|error| failed(error.into()))?;
    setrlimit(Resource::RLIMIT_DATA, MAX_MEMORY, MAX_MEMORY).map_err(|error| failed(error.into()))?;
    cli.sandbox.confine(Sandbox::new().connect_tcp());

    let mut line = String::new();
    io::stdin().lock().take(MAX_COMMAND).read_line(&mut line).map_err(failed)?;
    let Some((port, lifetime)) = parse(&line) else { return Ok(Exit::Done) };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (end, ended) = mpsc::channel::<()>();
    thread::Builder::new()
        .name("end".into())
        .spawn(move || {
            let _end = end;
            // However the reading ends, the server is gone.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        })
        .map_err(failed)?;
    keep(&Asker { runtime, gateway: cli.gateway, port, lifetime }, &ended);
    Ok(Exit::Done)
}

fn parse(command: &str) -> Option<(NonZeroU16, u32)> {
    let (port, lifetime) = command.trim_end().split_once(' ')?;
    Some((port.parse().ok()?, lifetime.parse().ok()?))
}

/// Gets the port and keeps it until the end.
fn keep(asker: &Asker, ended: &Receiver<()>) {
    let mut held: Option<Held> = None;
    let mut told: Option<Outcome> = None;
    let mut again = AGAIN_AFTER;
    loop {
        let result = match held.as_mut() {
            Some(held) => asker.renew(held),
            None => asker.map().map(|new| held = Some(new)),
        };
        let outcome = match (result, &held) {
            (Ok(()), Some(held)) => Outcome::Mapped { address: asker.address(held), port: held.port() },
            (result, _) => {
                // What the router may have forgotten is asked for anew.
                held = None;
                Outcome::Failed(result.err().unwrap_or_default().chars().take(MAX_TOLD).collect())
            }
        };
        if told.as_ref() != Some(&outcome) {
            tell(&outcome);
            told = Some(outcome);
        }
        let pause = match &held {
            // Half of the time is left for those tries to renew that fail.
            Some(held) => {
                again = AGAIN_AFTER;
                (held.lifetime() / 2).max(LEAST_PAUSE)
            }
            None => {
                let pause = again;
                again = (again * 2).min(AGAIN_AT_LAST);
                pause
            }
        };
        if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    if let Some(held) = held {
        asker.give_back(held);
    }
}

fn tell(outcome: &Outcome) {
    if let Ok(line) = serde_json::to_string(outcome) {
        // Should the server be gone, that is about to be noticed.
        let _ = writeln!(io::stdout(), "{line}");
    }
}

/// A port that the router passes on, and by what it was asked.
enum Held {
    ByDatagrams(PortMapping),
    ByUpnp(upnp::Mapping),
}

impl Held {
    fn port(&self) -> NonZeroU16 {
        match self {
            Held::ByDatagrams(mapping) => mapping.external_port(),
            Held::ByUpnp(mapping) => mapping.port(),
        }
    }

    fn lifetime(&self) -> Duration {
        match self {
            Held::ByDatagrams(mapping) => Duration::from_secs(mapping.lifetime().into()),
            Held::ByUpnp(mapping) => mapping.lifetime(),
        }
    }
}

/// Asks the router at `gateway` for its port `port`, for `lifetime` seconds at a time.
struct Asker {
    runtime: Runtime,
    gateway: Ipv4Addr,
    port: NonZeroU16,
    lifetime: u32,
}

impl Asker {
    fn map(&self) -> Result<Held, String> {
        // Our address as the router sees it. Nothing is sent.
        let here = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
            socket.connect((self.gateway, GATEWAY_PORT))?;
            socket.local_addr()
        });
        let here = here.map_err(|error| error.to_string())?.ip();
        let options = PortMappingOptions {
            external_port: Some(self.port),
            lifetime_seconds: Some(self.lifetime),
            timeout_config: Some(TIMEOUT),
        };
        let asking = PortMapping::new(self.gateway.into(), here, InternetProtocol::Udp, self.port, options);
        let first = match self.runtime.block_on(asking) {
            Ok(mapping) => return Ok(Held::ByDatagrams(mapping)),
            Err(error) => error,
        };
        upnp::Mapping::new(self.gateway, here, self.port, self.lifetime)
            .map(Held::ByUpnp)
            .map_err(|error| format!("{first}; UPnP: {error}"))
    }

    fn renew(&self, held: &mut Held) -> Result<(), String> {
        match held {
            Held::ByDatagrams(mapping) => {
                self.runtime.block_on(mapping.renew()).map_err(|error| error.to_string())
            }
            Held::ByUpnp(mapping) => mapping.renew(),
        }
    }

    /// The address of the router to the outside, if it tells it.
    fn address(&self, held: &Held) -> Option<IpAddr> {
        match held {
            Held::ByDatagrams(mapping) => match mapping.mapping_type() {
                PortMappingType::Pcp { external_ip, .. } => Some(external_ip.to_canonical()),
                PortMappingType::NatPmp => {
                    let asking = natpmp::external_address(mapping.gateway(), Some(TIMEOUT));
                    self.runtime.block_on(asking).ok().map(IpAddr::V4)
                }
            },
            Held::ByUpnp(mapping) => mapping.address(),
        }
    }

    /// There is nobody left to be told if that fails.
    fn give_back(&self, held: Held) {
        match held {
            Held::ByDatagrams(mut mapping) => {
                mapping.timeout_config = TIMEOUT_AT_THE_END;
                let _ = self.runtime.block_on(mapping.try_drop());
            }
            Held::ByUpnp(mapping) => mapping.give_back(),
        }
    }
}
