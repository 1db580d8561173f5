//! Hosts that are each behind a router of its own, which lends its address to them: the kernel's, by nftables.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use nix::unistd::{getpid, gettid};

use super::{Error, Namespace};

/// What each router does. A datagram leaves from the port that its host has, unless that is in use to the same destination; in
/// comes only what answers. The rest is dropped, as at home: were it taken, and no matter how it is answered, the kernel would
/// note it, and the port would be in use for the host that asks a moment later.
const RULES: &str = "\
table ip walls {
    chain lend { type nat hook postrouting priority 100; oifname \"outside\" masquerade; }
    chain pass { type filter hook forward priority 0; iifname \"outside\" ct state new,invalid drop; }
    chain take { type filter hook input priority 0; policy drop; }
}
";

/// Two hosts, and two routers on one link with the addresses 198.51.100.1 and 198.51.100.2. Nothing leads out.
pub struct Nats {
    hosts: [Namespace; 2],
    routers: [Namespace; 2],
}

impl Nats {
    /// Hosts and routers, ready to use.
    ///
    /// # Errors
    ///
    /// Where the system refuses: not root, no `ip`, no `nft`, no address translation in the kernel.
    pub fn new() -> Result<Nats, Error> {
        let new = || Namespace::new().map_err(|error| format!("network namespace: {error}"));
        let nats = Nats { hosts: [new()?, new()?], routers: [new()?, new()?] };
        join([(&nats.routers[0], "outside"), (&nats.routers[1], "outside")])?;
        for (n, (host, router)) in nats.hosts.iter().zip(&nats.routers).enumerate() {
            join([(host, "wire"), (router, "inside")])?;
            host.ip("link set lo up")?;
            host.ip(&format!("address add 10.0.{n}.2/24 dev wire"))?;
            host.ip(&format!("route add default via 10.0.{n}.1"))?;
            router.ip(&format!("address add 10.0.{n}.1/24 dev inside"))?;
            router.ip(&format!("address add {}/24 dev outside", outside(n)))?;
            nft(router, RULES)?;
            set(router, "ipv4/ip_forward", "1")?;
        }
        Ok(nats)
    }

    /// The address by which others see a host.
    pub fn outside(&self, host: usize) -> Ipv4Addr {
        outside(host)
    }

    /// Has the router of a host forget who may answer so many seconds after a datagram that had no answer.
    ///
    /// # Errors
    ///
    /// Where the system refuses.
    pub fn forget_after(&self, host: usize, seconds: u32) -> Result<(), Error> {
        let router = self.routers.get(host).ok_or("no such host")?;
        set(router, "netfilter/nf_conntrack_udp_timeout", &seconds.to_string())
    }

    /// Does something on a host: programs started there, and sockets made there, belong to it.
    ///
    /// # Errors
    ///
    /// Where that panicked.
    pub fn run<R: Send + 'static>(
        &self,
        host: usize,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Error> {
        self.hosts.get(host).ok_or("no such host")?.run(job)
    }
}

fn outside(host: usize) -> Ipv4Addr {
    [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)][host]
}

/// A wire between two namespaces, with the name that it has in each.
fn join([(one, here), (other, there)]: [(&Namespace, &str); 2]) -> Result<(), Error> {
    let path = other.run(|| format!("/proc/{}/task/{}/ns/net", getpid(), gettid()))?;
    one.ip(&format!("link add {here} type veth peer name {there} netns {path}"))?;
    one.ip(&format!("link set {here} up"))?;
    other.ip(&format!("link set {there} up"))
}

/// Changes a setting of the kernel below `/proc/sys/net`, which each namespace has for itself.
fn set(namespace: &Namespace, name: &str, value: &str) -> Result<(), Error> {
    let (path, value) = (format!("/proc/sys/net/{name}"), value.to_owned());
    let told = path.clone();
    namespace.run(move || std::fs::write(path, value))?.map_err(|error| format!("{told}: {error}").into())
}

fn nft(namespace: &Namespace, rules: &'static str) -> Result<(), Error> {
    let said = namespace.run(move || {
        let mut nft = Command::new("nft");
        nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut nft = nft.spawn()?;
        if let Some(mut pipe) = nft.stdin.take() {
            pipe.write_all(rules.as_bytes())?;
        }
        nft.wait_with_output()
    })?;
    let said = said.map_err(|error| format!("nft: {error}"))?;
    match said.status.success() {
        true => Ok(()),
        false => Err(format!("nft: {}", String::from_utf8_lossy(&said.stderr).trim()).into()),
    }
}
