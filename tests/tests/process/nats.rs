//! Two hosts, each behind a router of its own that keeps ports: the real programs, and the address translation of the kernel.
//!
//! Needs root, `ip` and `nft`; without them each test says so and does nothing.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::lab::Nats;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::tool;
use tempfile::TempDir;

/// What is fetched, in bytes.
const LENGTH: usize = 1 << 20;

const SERVER: usize = 0;
const GETTER: usize = 1;

struct Bench {
    folder: TempDir,
    nats: Nats,
    bytes: Vec<u8>,
}

impl Bench {
    /// `None` where this machine does not let us.
    fn new() -> Option<Bench> {
        let nats = match Nats::new() {
            Ok(nats) => nats,
            Err(why) => {
                eprintln!("skipped, since there can be no hosts behind routers here: {why}");
                return None;
            }
        };
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("share")).expect("a folder");
        let bytes = content::bytes(9, LENGTH);
        fs::write(folder.path().join("share/file"), &bytes).expect("a file");
        Some(Bench { folder, nats, bytes })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The address of a host at this port, as others see it.
    fn outside(&self, host: usize, port: u16) -> String {
        format!("{}:{port}", self.nats.outside(host))
    }

    fn serve(&self, arguments: &[&str]) -> Server {
        let (command, share) = (tool("cjp2p-serve", &self.path("serve-state")), self.path("share"));
        let arguments: Vec<String> = arguments.iter().map(|text| text.to_string()).collect();
        let start = move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            Server::run(command, "24254", &share, &arguments)
        };
        self.nats.run(SERVER, start).expect("a server")
    }

    /// Fetches from the server's address as others see it, from port 5000.
    fn get(&self, timeout: &str) -> Output {
        let mut command = tool("cjp2p-get", &self.path("get-state"));
        command.args(["--listen", "5000", "--timeout", timeout, "--peer", &self.outside(SERVER, 24254)]);
        command.arg(content::blake3_id(&self.bytes).to_string());
        let run = move || command.output();
        self.nats.run(GETTER, run).expect("a host").expect("cjp2p-get runs")
    }

    fn check(&self, output: Output) {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == self.bytes);
    }
}

#[test]
fn two_hosts_behind_routers_that_keep_ports_reach_one_another_when_both_ask() {
    let Some(bench) = Bench::new() else { return };
    let _server = bench.serve(&["--peer", &bench.outside(GETTER, 5000)]);
    bench.check(bench.get("30s"));
}

#[test]
fn who_is_not_asked_for_by_the_host_behind_a_router_does_not_reach_it() {
    let Some(bench) = Bench::new() else { return };
    // It asks for somebody, but at another port.
    for peer in [None, Some(bench.outside(GETTER, 5001))] {
        let arguments: Vec<&str> = peer.iter().flat_map(|peer| ["--peer", peer.as_str()]).collect();
        let _server = bench.serve(&arguments);
        let output = bench.get("5s");
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_getter_that_comes_when_the_router_has_forgotten_the_first_question_gets_through_all_the_same() {
    let Some(bench) = Bench::new() else { return };
    bench.nats.forget_after(SERVER, 1).expect("a setting");
    let _server = bench.serve(&["--peer", &bench.outside(GETTER, 5000)]);
    // By then nobody can be let in any more for what the server asks at its start.
    std::thread::sleep(Duration::from_secs(15));
    bench.check(bench.get("60s"));
}
