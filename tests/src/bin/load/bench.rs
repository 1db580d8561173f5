//! A server with something to fetch, and getters.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cjp2p_io::descriptors;
use cjp2p_tests::content;
use cjp2p_tests::lab::{Error, Programs, scratch};
use cjp2p_tests::real::server::Server;
use nix::sys::resource::{Resource, getrlimit};
use tempfile::TempDir;

/// A running server, which shares one large file and some small ones.
pub(crate) struct Bench {
    programs: Programs,
    folder: TempDir,
    pub(crate) server: Server,
    /// Both ids of the large file.
    pub(crate) large: [String; 2],
    /// The BLAKE3 ids of the others.
    pub(crate) small: Vec<String>,
    length: u64,
}

impl Bench {
    /// Starts it, with a large file of so many MiB.
    pub(crate) fn start(mib: u64) -> Result<Bench, Error> {
        let programs = Programs::beside_this()?;
        let folder = scratch::folder(&std::env::temp_dir(), "cjp2p-load-")?;
        let share = folder.path().join("share");
        std::fs::create_dir(&share)?;
        let length = mib << 20;
        std::fs::write(share.join("large"), content::bytes(1, length as usize))?;
        for n in 0..20u64 {
            std::fs::write(share.join(format!("small{n}")), content::bytes(n, 1000 * n as usize + 1))?;
        }
        let command = command(&programs, folder.path(), "cjp2p-serve");
        let server = Server::run(command, "127.0.0.1:0", &share, &[]);
        let large = server.ids("large");
        let small = (0..20).map(|n| server.ids(&format!("small{n}"))[0].clone()).collect();
        Ok(Bench { programs, folder, server, large, small, length })
    }

    /// Where the server keeps what it remembers.
    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    /// A getter of `id` that throws away what it gets.
    pub(crate) fn getter(&self, id: &str) -> Result<Child, Error> {
        let mut command = command(&self.programs, &self.folder.path().join("getters"), "cjp2p-get");
        command.arg("--peer").arg(self.server.address.to_string()).args(["--quiet", id]);
        Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// A gateway to this server, at any port.
    pub(crate) fn gateway(&self) -> Command {
        let mut command = command(&self.programs, &self.folder.path().join("gateway"), "cjp2p-http");
        command.arg("--only-peer").arg(self.server.address.to_string()).arg("--cache-dir");
        command.arg(self.folder.path().join("cache")).args(["--max-connections", "20000"]);
        command.args(["--listen", "0", "--udp", "127.0.0.1:0", "--quiet"]);
        command
    }

    /// The rates of fetches of the large file from this server and from `other`, in bytes per second: medians of `runs` in turns.
    pub(crate) fn rates_beside(&self, other: &Bench, runs: usize) -> Result<(f64, f64), Error> {
        let (mut ours, mut others) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            ours.push(self.rate()?);
            others.push(other.rate()?);
        }
        Ok((median(ours), median(others)))
    }

    fn rate(&self) -> Result<f64, Error> {
        let begun = Instant::now();
        let status = self.getter(&self.large[0])?.wait()?;
        if !status.success() {
            return Err(format!("cjp2p-get: {status}").into());
        }
        Ok(self.length as f64 / begun.elapsed().as_secs_f64())
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// A command that runs one of the tools, with nobody but the peers named, and its state in this folder.
pub(crate) fn command(programs: &Programs, folder: &Path, name: &str) -> Command {
    let mut command = Command::new(programs.path(name));
    command
        .env("CJP2P_BOOTSTRAP", "")
        .env("CJP2P_NO_LAN", "1")
        .env("CJP2P_STATE_DIR", folder.join("state"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// Kills a getter.
pub(crate) fn kill(mut getter: Child) -> Result<(), Error> {
    // It may have ended by itself.
    let _ = getter.kill();
    getter.wait()?;
    Ok(())
}

/// Waits for a getter, and kills it if it takes too long; returns whether it did what it should.
pub(crate) fn wait(mut getter: Child, limit: Duration) -> Result<bool, Error> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if let Some(status) = getter.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    kill(getter)?;
    Ok(false)
}

/// Allows this program so many descriptors: each client of a load is one here too.
pub(crate) fn allow_descriptors(wanted: usize) -> Result<(), Error> {
    descriptors::allow(wanted);
    let (allowed, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    match allowed < wanted as u64 {
        true => {
            Err(format!("only {allowed} descriptors are allowed (ulimit -Hn), and {wanted} are needed")
                .into())
        }
        false => Ok(()),
    }
}
