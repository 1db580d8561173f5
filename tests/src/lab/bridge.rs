//! Hosts on one link: network namespaces on a bridge, from which nothing leads out.

use std::process::{Child, Command};

use nix::unistd::{getpid, gettid};

use super::{Error, Namespace};

/// Hosts that are, or can be, plugged into one switch. They have the addresses 10.78.0.1 and so on, and fe80::1 and so on;
/// which of both is said for each.
pub struct Bridge {
    switch: Namespace,
    hosts: Vec<Namespace>,
}

impl Bridge {
    /// So many hosts, none of which is plugged in.
    ///
    /// # Errors
    ///
    /// Where the system refuses: not root, no `ip`, no bridges.
    pub fn new(hosts: usize) -> Result<Bridge, Error> {
        let new = || Namespace::new().map_err(|error| format!("network namespace: {error}"));
        let switch = new()?;
        ip(&switch, "link add switch type bridge")?;
        ip(&switch, "link set switch up")?;
        let hosts = (0..hosts).map(|_| new()).collect::<Result<Vec<_>, _>>()?;
        for host in &hosts {
            ip(host, "link set lo up")?;
        }
        Ok(Bridge { switch, hosts })
    }

    /// Plugs a host in, with an address of one kind or of both.
    ///
    /// # Errors
    ///
    /// Where the system refuses.
    pub fn plug(&self, host: usize, v4: bool, v6: bool) -> Result<(), Error> {
        let namespace = self.host(host)?;
        let there = namespace.run(|| format!("/proc/{}/task/{}/ns/net", getpid(), gettid()))?;
        let port = format!("port{host}");
        ip(&self.switch, &format!("link add {port} type veth peer name wire netns {there}"))?;
        ip(&self.switch, &format!("link set {port} master switch up"))?;
        // No addresses but those given, and these at once: nobody else can have them.
        ip(namespace, "link set wire addrgenmode none")?;
        ip(namespace, "link set wire up")?;
        let number = host + 1;
        if v4 {
            ip(namespace, &format!("address add 10.78.0.{number}/24 brd + dev wire"))?;
        }
        if v6 {
            ip(namespace, &format!("address add fe80::{number}/64 dev wire nodad"))?;
        }
        Ok(())
    }

    /// Runs `ip` with these arguments on a host.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub fn ip(&self, host: usize, arguments: &str) -> Result<(), Error> {
        ip(self.host(host)?, arguments)
    }

    /// Does something on a host: sockets made there belong to it.
    ///
    /// # Errors
    ///
    /// Where that panicked.
    pub fn run<R: Send + 'static>(
        &self,
        host: usize,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Error> {
        self.host(host)?.run(job)
    }

    /// Starts one of the tools on a host. Only there may it use the local network.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub fn start(&self, host: usize, command: Command) -> Result<Child, Error> {
        Ok(self.run_tool(host, command, |mut command| command.spawn())??)
    }

    /// Does something with such a command on a host.
    ///
    /// # Errors
    ///
    /// Where that panicked.
    pub fn run_tool<R: Send + 'static>(
        &self,
        host: usize,
        mut command: Command,
        job: impl FnOnce(Command) -> R + Send + 'static,
    ) -> Result<R, Error> {
        self.run(host, move || {
            command.env_remove("CJP2P_NO_LAN");
            job(command)
        })
    }

    fn host(&self, host: usize) -> Result<&Namespace, Error> {
        self.hosts.get(host).ok_or_else(|| "no such host".into())
    }
}

fn ip(namespace: &Namespace, arguments: &str) -> Result<(), Error> {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    let said = namespace.run(move || command.output())??;
    match said.status.success() {
        true => Ok(()),
        false => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&said.stderr).trim()).into()),
    }
}
