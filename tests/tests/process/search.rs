//! The real programs find content by asking on, on loopback.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cjp2p_tests::content;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::tool;
use serde_json::Value;

/// Servers that know only the next one each, the first of them first; the last shares a file.
struct Chain {
    folder: tempfile::TempDir,
    servers: Vec<Server>,
    bytes: Vec<u8>,
}

impl Chain {
    fn start(length: usize) -> Chain {
        let folder = tempfile::tempdir().expect("a folder");
        let bytes = content::bytes(9, 300_000);
        let mut servers: Vec<Server> = Vec::new();
        for n in (0..length).rev() {
            let share = folder.path().join(format!("share-{n}"));
            fs::create_dir(&share).expect("a folder");
            if n == length - 1 {
                fs::write(share.join("film"), &bytes).expect("a file");
            }
            let next = servers.last().map(|next| next.address.to_string());
            let arguments: Vec<&str> = next.iter().flat_map(|next| ["--peer", next]).collect();
            servers.push(Server::start(&share, &folder.path().join(format!("state-{n}")), &arguments));
        }
        servers.reverse();
        let chain = Chain { folder, servers, bytes };
        chain.wait_until_all_have_greeted();
        chain
    }

    /// Until each names the next one when it is asked for peers.
    fn wait_until_all_have_greeted(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let first = self.servers[0].address.to_string();
            let mut discover = self.tool("cjp2p-peers", &format!("discover-{attempt}"));
            let met = lines(discover.args(["discover", "--json", "--listen", "127.0.0.1:0", &first]));
            if met.len() == self.servers.len() {
                return;
            }
            assert!(Instant::now() < end, "only {} of them are found", met.len());
        }
    }

    fn tool(&self, name: &str, state: &str) -> Command {
        tool(name, &self.path(state))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::join(self.folder.path(), name)
    }
}

fn lines(command: &mut Command) -> Vec<Value> {
    let output = command.output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn content_at_the_end_of_a_chain_of_ten_is_found_and_fetched() {
    let chain = Chain::start(10);
    let [blake3, _] = chain.servers[9].ids("film");
    let first = chain.servers[0].address.to_string();
    let mut get = chain.tool("cjp2p-get", "get");
    get.args(["--quiet", "--listen", "127.0.0.1:0", "--timeout", "20s", "--peer", &first, &blake3]);
    let output = get.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == chain.bytes, "{said}");
    let mut find = chain.tool("cjp2p-peers", "find");
    let found = lines(find.args(["find", &blake3, &first, "--listen", "127.0.0.1:0"]));
    let holder = chain.servers[9].address;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["address"], holder.to_string());
    assert_eq!(
        (&found[0]["id"], &found[0]["length"]),
        (&Value::from(blake3), &Value::from(chain.bytes.len()))
    );
    assert!(found[0]["round_trip_ms"].as_f64().is_some_and(|ms| ms >= 0.0));
    let how = found[0]["found"].as_str().expect("a text");
    let by: SocketAddr = how.strip_prefix("referral ").expect("it was named").parse().expect("an address");
    assert!(chain.servers.iter().any(|server| server.address == by) && by != holder);
    // Who answered is in the table, so that the next search begins there.
    let table = lines(chain.tool("cjp2p-peers", "find").arg("--lines"));
    let entry = table.iter().find(|peer| peer["address"] == holder.to_string()).expect("it is there");
    assert_eq!((&entry["verified"], &entry["origin"]), (&Value::Bool(true), &Value::from(how)));
}
