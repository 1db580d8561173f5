//! Arguments that several tools take. Flatten them into a tool's own with `#[command(flatten)]`; those for the folder and
//! the log are taken after a subcommand as well.

use std::env;
use std::io::ErrorKind;
#[cfg(feature = "dht")]
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use cjp2p_io::file_lock::FileLock;
use cjp2p_io::listen::Listen;
use cjp2p_io::lookup::Lookup;
use cjp2p_io::mainline::Entry;
use cjp2p_io::own_port;
use cjp2p_io::peer_name::PeerName;
use cjp2p_io::sandbox::{Confinement, Sandbox};
use cjp2p_io::state_dir::StateDir;
use cjp2p_io::udp::UdpPort;
use cjp2p_wire::peers::peer::Origin;
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use nix::unistd::Uid;

use super::error::ToolError;
use super::exit::Exit;
use super::progress::{Progress, ProgressMode};
use super::{logging, progress};

/// Nodes that are often up, by the first project's README.
const DEFAULT_BOOTSTRAP: &str = "148.71.89.128:24254,159.69.54.127:24254";

/// Who to talk to.
#[derive(Args, Clone, Debug, Default)]
pub struct PeerArgs {
    /// Contact this peer too: HOST or HOST:PORT (repeatable)
    #[arg(long = "peer", value_name = "ADDR")]
    pub peers: Vec<PeerName>,

    /// Contact no public node (by default two, or those of CJP2P_BOOTSTRAP)
    #[arg(long)]
    pub no_bootstrap: bool,
}

impl PeerArgs {
    /// Begins to look up all `--peer`s and the bootstrap list. To be called before the process is confined.
    ///
    /// The list is `CJP2P_BOOTSTRAP`, separated by commas; empty switches it off, as `--no-bootstrap` does.
    pub fn look_up(&self) -> Lookup {
        let variable = env::var("CJP2P_BOOTSTRAP").ok();
        let list = if self.no_bootstrap { Vec::new() } else { bootstrap_names(variable.as_deref()) };
        let named = self.peers.iter().filter(|name| !name.is_torrent()).cloned();
        let named = named.map(|name| (name, Origin::CommandLine));
        Lookup::start(named.chain(list.into_iter().map(|name| (name, Origin::Bootstrap))).collect())
    }
}

fn bootstrap_names(variable: Option<&str>) -> Vec<PeerName> {
    let mut names = Vec::new();
    for text in
        variable.unwrap_or(DEFAULT_BOOTSTRAP).split(',').map(str::trim).filter(|text| !text.is_empty())
    {
        match text.parse() {
            Ok(name) => names.push(name),
            Err(error) => log::warn!("CJP2P_BOOTSTRAP: {error}"),
        }
    }
    names
}

/// Where to listen.
#[derive(Args, Clone, Debug, Default)]
pub struct ListenArgs {
    /// Use this UDP port; 0 is any free one, auto one that stays the same
    #[arg(long, value_name = "[ADDR:]PORT")]
    pub listen: Option<Listen>,
}

impl ListenArgs {
    /// Opens the socket at which `tool` listens, at `default` where nothing else is said. A warning tells where a port of our
    /// own cannot be had or kept.
    ///
    /// # Errors
    ///
    /// Where there is no such socket to be had.
    pub fn open(&self, default: Listen, tool: &str, state: Option<&StateDir>) -> Result<UdpPort, ToolError> {
        let listen = self.listen.unwrap_or(default);
        let (port, told) = own_port::listen(listen, tool, state).map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::AddrInUse => {
                    "; another process has that port, try --listen auto for one of your own"
                }
                _ => "",
            };
            ToolError::failure(format!("{error}{hint}"))
        })?;
        if let Some(told) = told {
            log::warn!("{told}");
        }
        Ok(port)
    }
}

/// Whether to use the local network.
#[derive(Args, Clone, Debug, Default)]
pub struct LanArgs {
    /// Neither ask nor answer the local network
    #[arg(long, env = "CJP2P_NO_LAN", hide_env = true, value_parser = FalseyValueParser::new())]
    pub no_lan: bool,
}

impl LanArgs {
    /// Whether the local network is used by who listens there.
    pub fn is_on(&self, listen: Listen) -> bool {
        !self.no_lan && !matches!(listen, Listen::At(address) if address.ip().is_loopback())
    }
}

/// How content crosses the network.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct FramingArgs {
    /// Neither send nor ask for raw content: JSON only
    #[arg(long, env = "CJP2P_NO_RAW", hide_env = true, hide = true, value_parser = FalseyValueParser::new())]
    pub no_raw: bool,
}

/// Whether to use the Mainline DHT.
#[derive(Args, Clone, Debug, Default)]
pub struct DhtArgs {
    /// Use the Mainline DHT: its nodes see this address and these ids
    #[cfg(feature = "dht")]
    #[arg(long, env = "CJP2P_DHT", hide_env = true, value_parser = FalseyValueParser::new())]
    pub dht: bool,
}

impl DhtArgs {
    /// Where to join the DHT, if that is asked for, from the address that `listen` names, without its well-known nodes where there
    /// shall be no bootstrap list. To be called before the process is confined: names are looked up.
    #[cfg(feature = "dht")]
    pub fn entry(&self, listen: Listen, peers: &PeerArgs) -> Option<Entry> {
        if !self.dht {
            return None;
        }
        let bind = match listen.ip() {
            Some(IpAddr::V4(ip)) => ip,
            Some(IpAddr::V6(_)) | None => Ipv4Addr::UNSPECIFIED,
        };
        Some(Entry::look_up(bind, !peers.no_bootstrap))
    }

    /// This was built without the DHT.
    #[cfg(not(feature = "dht"))]
    pub fn entry(&self, _: Listen, _: &PeerArgs) -> Option<Entry> {
        None
    }
}

/// Where things are remembered.
#[derive(Args, Clone, Debug, Default)]
pub struct StateArgs {
    /// Keep the peer table and more in this folder [env: CJP2P_STATE_DIR]
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
}

impl StateArgs {
    /// Finds the folder, and makes it where it is missing.
    ///
    /// # Errors
    ///
    /// Where that is not possible.
    pub fn open(&self) -> Result<StateDir, ToolError> {
        StateDir::open(self.state.as_deref())
            .map_err(|error| ToolError::failure(format!("state folder: {error}")))
    }

    /// The same for a tool that can do without it: then a warning tells what is `lost`. So it does where a folder that is there
    /// cannot be written.
    ///
    /// # Errors
    ///
    /// Where the command line names a folder that is not there and cannot be made.
    pub fn open_or_do_without(&self, lost: &str) -> Result<Option<StateDir>, ToolError> {
        match self.open() {
            Ok(state) => {
                if !state.is_writable() {
                    log::warn!(
                        "state folder: {}: cannot be written; {lost}",
                        cjp2p_io::names::shown(state.path())
                    );
                }
                Ok(Some(state))
            }
            Err(error) if self.state.is_none() => {
                log::warn!("{error}; {lost}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// What root is told.
pub const AS_ROOT: &str = "running as root, of which nothing is needed: an ordinary user is safer";

/// Whether to give up what is not needed.
#[derive(Args, Clone, Debug, Default)]
pub struct SandboxArgs {
    /// Keep all rights of the user
    #[arg(long, env = "CJP2P_NO_SANDBOX", hide_env = true, value_parser = FalseyValueParser::new())]
    pub no_sandbox: bool,
}

impl SandboxArgs {
    /// Confines the process to what is in `sandbox`, unless it shall not be, and logs what came of it: what is confined with
    /// `-v`, what the kernel would not do as a warning. To be called before the first thread is started.
    pub fn confine(&self, sandbox: Sandbox) -> Option<Confinement> {
        if Uid::effective().is_root() {
            log::warn!("{AS_ROOT}");
        }
        if self.no_sandbox {
            log::info!("sandbox: none, as asked for");
            return None;
        }
        let confinement = sandbox.confine();
        log::info!("sandbox: {confinement}");
        if let Some(missing) = confinement.missing() {
            log::warn!("sandbox: {missing}; --no-sandbox if that is fine");
        }
        Some(confinement)
    }
}

/// What is told on standard error.
#[derive(Args, Clone, Debug, Default)]
pub struct LogArgs {
    /// Print more on standard error; twice, even more
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Print only errors; twice, only those that a retry cannot mend
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub quiet: u8,
}

impl LogArgs {
    /// Starts logging; see [`logging::start`].
    pub fn start(&self, tool: &'static str) {
        logging::start(tool, self.verbose, self.quiet);
    }
}

/// How progress is shown.
#[derive(Args, Clone, Debug, Default)]
pub struct ProgressArgs {
    /// Show progress: auto, always, never or json [default: auto]
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub progress: ProgressMode,
}

impl ProgressArgs {
    /// Starts showing progress; see [`Progress::new`].
    pub fn start(&self, tool: &'static str, log: &LogArgs) -> Progress {
        progress::Progress::new(tool, self.progress, log.quiet > 0)
    }
}

/// What to do where another process does the same job already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum LockMode {
    /// Wait for it to end.
    Wait,
    /// End at once, successfully: the other one does the job.
    Skip,
    /// End at once with exit code 6.
    #[default]
    Fail,
}

impl LockMode {
    /// Takes the lock of a job, a file at `path`; `None` where the job is to be skipped. Waits where that was asked for, in a way
    /// that signals only interrupt while they are not blocked.
    ///
    /// # Errors
    ///
    /// [`Exit::Busy`] where another process holds the lock and that is to be a failure; [`Exit::Failure`] where
    /// the file cannot be opened or locked.
    pub fn acquire(self, path: &Path) -> Result<Option<FileLock>, ToolError> {
        let failure = |error: std::io::Error| ToolError::failure(format!("lock: {error}"));
        if self == LockMode::Wait {
            return FileLock::acquire(path).map(Some).map_err(failure);
        }
        match FileLock::try_acquire(path).map_err(failure)? {
            Some(lock) => Ok(Some(lock)),
            None if self == LockMode::Skip => Ok(None),
            None => {
                let message =
                    format!("another process does this already and holds {}", cjp2p_io::names::shown(path));
                Err(ToolError::new(Exit::Busy, message))
            }
        }
    }

    /// The same with a lock of this name in the state folder.
    ///
    /// # Errors
    ///
    /// As for [`LockMode::acquire`], and where there is no state folder: going on would not be what was asked for.
    pub fn acquire_in(self, state: Option<&StateDir>, name: &str) -> Result<Option<FileLock>, ToolError> {
        let state = state.ok_or_else(|| ToolError::failure("lock: there is no state folder for it"))?;
        self.acquire(&state.file(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_bootstrap_list_switches_it_off() {
        assert_eq!(bootstrap_names(None).len(), 2);
        assert_eq!(bootstrap_names(Some("")), []);
        let listed = bootstrap_names(Some(" 127.0.0.1:7 ,, no good ,example.org"));
        let listed: Vec<String> = listed.iter().map(PeerName::to_string).collect();
        assert_eq!(listed, ["127.0.0.1:7", "example.org:24254"]);
    }

    #[test]
    fn a_busy_job_is_skipped_or_fails_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.lock");
        let held = LockMode::Fail.acquire(&path).unwrap().unwrap();
        assert!(LockMode::Skip.acquire(&path).unwrap().is_none());
        assert_eq!(LockMode::Fail.acquire(&path).unwrap_err().exit, Exit::Busy);
        drop(held);
        assert!(LockMode::Wait.acquire(&path).unwrap().is_some());
    }
}
