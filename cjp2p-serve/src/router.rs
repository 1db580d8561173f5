//! A port of the router: asked for by PCP or NAT-PMP, so that others reach this node from outside; renewed, and given back.
//!
//! The crate `crab_nat` speaks with the router. It waits on a runtime, which a thread of its own has; it needs nothing but UDP, so
//! that it can be confined like the rest.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::num::NonZeroU16;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cjp2p_wire::io::event_loop::Waker;
use crab_nat::{
    GATEWAY_PORT, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp,
};
use tokio::runtime::{Builder, Runtime};

/// For how long the port is asked for: should this process be killed, the router gives it to others after that.
const LIFETIME_SECONDS: u32 = 3600;
/// A router that did not give one is asked again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(300);
/// No router is asked more often to renew.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// How long to wait for the router, with tries after 0.25, 0.5, 1 and 2 s.
const PATIENCE: TimeoutConfig =
    TimeoutConfig { initial_timeout: Duration::from_millis(250), max_retries: 3, max_retry_timeout: None };
/// The same when the port is given back: nobody shall wait long for the end.
const PATIENCE_AT_THE_END: TimeoutConfig = TimeoutConfig { max_retries: 1, ..PATIENCE };

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What comes to this port of the router, and of this address if it told it, is passed on to this node.
    Mapped {
        address: Option<IpAddr>,
        port: u16,
    },
    Failed(String),
}

/// See the [module](self).
pub(crate) struct Router {
    outcomes: Receiver<Outcome>,
    /// Dropped at the end, which the thread notices.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    /// Asks the router at `gateway` for its port `port`, and then again and again; `waker` is used whenever there is news.
    ///
    /// # Errors
    ///
    /// Where there is no thread to be had.
    pub(crate) fn start(gateway: Ipv4Addr, port: NonZeroU16, waker: Waker) -> io::Result<Router> {
        let (sender, outcomes) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let run = move || {
            let tell = |outcome| {
                // Nobody listens any more only at the end.
                let _ = sender.send(outcome);
                waker.wake();
            };
            match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => keep(&runtime, gateway, port, &ended, tell),
                Err(error) => tell(Outcome::Failed(error.to_string())),
            }
        };
        let thread = thread::Builder::new().name("router".into()).spawn(run)?;
        Ok(Router { outcomes, end: Some(end), thread: Some(thread) })
    }

    /// What changed since.
    pub(crate) fn news(&self) -> impl Iterator<Item = Outcome> + '_ {
        self.outcomes.try_iter()
    }
}

impl Drop for Router {
    /// Gives the port back.
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gets the port and keeps it until the end.
fn keep(
    runtime: &Runtime,
    gateway: Ipv4Addr,
    port: NonZeroU16,
    ended: &Receiver<()>,
    mut tell: impl FnMut(Outcome),
) {
    let mut mapping: Option<PortMapping> = None;
    let mut told: Option<Outcome> = None;
    loop {
        let result = match mapping.as_mut() {
            Some(mapping) => runtime.block_on(mapping.renew()).map_err(|error| error.to_string()),
            None => runtime.block_on(map(gateway, port)).map(|new| mapping = Some(new)),
        };
        let outcome = match (result, &mapping) {
            (Ok(()), Some(mapping)) => Outcome::Mapped {
                address: runtime.block_on(outside(mapping)),
                port: mapping.external_port().get(),
            },
            (result, _) => {
                // What the router may have forgotten is asked for anew.
                mapping = None;
                Outcome::Failed(result.err().unwrap_or_default())
            }
        };
        if told.as_ref() != Some(&outcome) {
            told = Some(outcome.clone());
            tell(outcome);
        }
        // Half of the time is left for those tries to renew that fail.
        let pause = mapping.as_ref().map_or(AGAIN_AFTER, |mapping| {
            (Duration::from_secs(mapping.lifetime().into()) / 2).max(LEAST_PAUSE)
        });
        if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    if let Some(mut mapping) = mapping {
        mapping.timeout_config = PATIENCE_AT_THE_END;
        if let Err((error, _)) = runtime.block_on(mapping.try_drop()) {
            log::info!("router {gateway}: the port was not given back: {error}");
        }
    }
}

async fn map(gateway: Ipv4Addr, port: NonZeroU16) -> Result<PortMapping, String> {
    // Our address as the router sees it. Nothing is sent.
    let here = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((gateway, GATEWAY_PORT))?;
        socket.local_addr()
    });
    let here = here.map_err(|error| error.to_string())?;
    let options = PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: Some(LIFETIME_SECONDS),
        timeout_config: Some(PATIENCE),
    };
    PortMapping::new(gateway.into(), here.ip(), InternetProtocol::Udp, port, options)
        .await
        .map_err(|error| error.to_string())
}

/// The address of the router to the outside, if it tells it.
async fn outside(mapping: &PortMapping) -> Option<IpAddr> {
    match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => Some(external_ip.to_canonical()),
        PortMappingType::NatPmp => {
            let address = natpmp::external_address(mapping.gateway(), Some(PATIENCE)).await;
            address.ok().map(IpAddr::V4)
        }
    }
}

/// The router of the default route, as the kernel knows it. To be called before the process is confined.
pub(crate) fn default_gateway() -> Option<Ipv4Addr> {
    gateway_in(&fs::read_to_string("/proc/net/route").ok()?)
}

/// The gateway of the best default route in a table as in `/proc/net/route`.
fn gateway_in(routes: &str) -> Option<Ipv4Addr> {
    const UP_BY_GATEWAY: u32 = 3;
    let gateway = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[_, destination, gateway, flags, _, _, metric, mask, ..] = &fields[..] else { return None };
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let is_default = hex(destination)? == 0 && hex(mask)? == 0;
        let is_usable = hex(flags)? & UP_BY_GATEWAY == UP_BY_GATEWAY;
        // The bytes of the address are in the order of the network, and shown as a number of this machine.
        let address = Ipv4Addr::from(hex(gateway)?.to_ne_bytes());
        (is_default && is_usable).then_some((metric.parse::<u32>().ok()?, address))
    };
    routes.lines().filter_map(gateway).min().map(|(_, address)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_gateway_of_the_best_default_route_is_found() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                      wlan0\t00000000\t0200A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                      eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                      tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0\n\
                      eth0\t0001A8C0\t0901A8C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                      torn\t0000\n";
        assert_eq!(gateway_in(routes), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(gateway_in("Iface\tDestination\n"), None);
    }
}
