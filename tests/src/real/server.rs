//! A running `cjp2p-serve`.

use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{end_of, line_of, tool};

/// A server on a port of loopback that the system picked. Killed when dropped.
pub struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it has printed so far.
    pub events: Vec<Value>,
}

impl Server {
    /// Serves `folder`, with these further arguments, and waits until all that is there is shared.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn start(folder: &Path, state: &Path, arguments: &[&str]) -> Server {
        Server::run(tool("cjp2p-serve", state), "127.0.0.1:0", folder, arguments)
    }

    /// The same with this command, which runs cjp2p-serve, at this address.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn run(mut command: Command, listen: &str, folder: &Path, arguments: &[&str]) -> Server {
        let mut child = command
            .args(["--json", "--quiet", "--listen", listen])
            .args(arguments)
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("cjp2p-serve starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut server = Server { child, lines, address: ([127, 0, 0, 1], 0).into(), events: Vec::new() };
        let listening = server.wait_for("listening");
        server.address = listening["address"].as_str().and_then(|a| a.parse().ok()).expect("an address");
        server.wait_for("ready");
        server
    }

    /// Reads lines until one is this event.
    ///
    /// # Panics
    ///
    /// Where the output ends first, or no line comes within a minute.
    pub fn wait_for(&mut self, event: &str) -> Value {
        loop {
            let line = line_of(&mut self.lines).expect("a line");
            assert!(!line.is_empty(), "cjp2p-serve ended before {event:?}: {:?}", self.child.wait());
            let value: Value = serde_json::from_str(&line).expect("a JSON object");
            self.events.push(value.clone());
            if value["event"] == event {
                return value;
            }
        }
    }

    /// The name that it has published, or publishes next: `latest/KEY/NAME`.
    ///
    /// # Panics
    ///
    /// Where the output ends first, or no line comes within a minute.
    pub fn name(&mut self) -> String {
        let named = self.events.iter().find(|event| event["event"] == "named").cloned();
        let named = named.unwrap_or_else(|| self.wait_for("named"));
        named["name"].as_str().expect("a name").to_owned()
    }

    /// The ids under which the file of this name is shared, BLAKE3 first.
    ///
    /// # Panics
    ///
    /// Where it is not.
    pub fn ids(&self, name: &str) -> [String; 2] {
        let shared = self.events.iter().find(|event| {
            let path = event["path"].as_str().unwrap_or_default();
            event["event"] == "shared" && Path::new(path).file_name().is_some_and(|file| file == name)
        });
        let ids = &shared.unwrap_or_else(|| panic!("{name} is not shared"))["ids"];
        [0, 1].map(|n| ids[n].as_str().expect("an id").to_owned())
    }

    /// Ends it by SIGTERM, and notes what it says until then. Says how it ended.
    ///
    /// # Panics
    ///
    /// Where it does not end within a minute.
    pub fn end(&mut self) -> ExitStatus {
        kill(Pid::from_raw(self.pid() as i32), Signal::SIGTERM).expect("it runs");
        loop {
            let line = line_of(&mut self.lines).expect("a line, or the end");
            if line.is_empty() {
                return self.wait();
            }
            self.events.push(serde_json::from_str(&line).expect("a JSON object"));
        }
    }

    /// Waits for its end, and says how it ended.
    ///
    /// # Panics
    ///
    /// Where it does not end within a minute.
    pub fn wait(&mut self) -> ExitStatus {
        end_of(&mut self.child)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it ever had resident, in bytes.
    pub fn peak_memory(&self) -> u64 {
        peak_memory(self.pid())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The memory that a process has resident now, in bytes; 0 once it is gone.
pub fn resident_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// How many descriptors a process has open; 0 once it is gone.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The most memory that a process ever had resident, in bytes; 0 once it is gone.
pub fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
