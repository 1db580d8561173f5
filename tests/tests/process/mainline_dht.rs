//! Finding who has something through the Mainline DHT, in a network of its nodes on loopback.

use std::fs;
use std::time::{Duration, Instant};

use cjp2p_tests::content;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::{strace, tool};
use mainline::Testnet;

/// Nodes of the DHT beside ours.
const NODES: usize = 50;
/// Datagrams to the DHT that joining it and one lookup may take.
const MOST_DATAGRAMS: usize = 150;

#[test]
fn what_nobody_known_has_is_found_through_the_dht() {
    let dht = Testnet::builder(NODES).build().expect("a network of nodes");
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("share")).expect("a folder");
    let bytes = content::bytes(6, 1 << 20);
    fs::write(path("share").join("a"), &bytes).expect("a file");
    let tool = |name: &str, state: &str| {
        let mut command = tool(name, &path(state));
        command.env("CJP2P_DHT_BOOTSTRAP", dht.bootstrap[..3].join(","));
        command
    };
    let serve = tool("cjp2p-serve", "serve-state");
    let server = Server::run(serve, "127.0.0.1:0", &path("share"), &["--dht"]);
    for (nth, id) in server.ids("a").iter().enumerate() {
        let begun = Instant::now();
        // It is announced some time after it is shared, so the first attempts may be too early.
        let found = loop {
            let mut get = tool("cjp2p-get", &format!("get-state-{nth}"));
            get.args(["--quiet", "--dht", "--listen", "127.0.0.1:0", "--timeout", "8s", id.as_str()]);
            let asked = Instant::now();
            let output = get.output().expect("cjp2p-get runs");
            if output.status.success() {
                assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
                break output.stdout;
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(begun.elapsed() < Duration::from_secs(60), "{said}");
        };
        assert!(found == bytes);
    }
    if let Some(why) = strace::unavailable() {
        eprintln!("not counted: {why}");
    } else {
        let trace = path("trace");
        let mut get = tool("cjp2p-get", "traced-state");
        get.args(["--quiet", "--dht", "--listen", "127.0.0.1:0", "--timeout", "30s", &server.ids("a")[0]]);
        let output = strace::insist(|| {
            let mut traced = strace::strace(&trace);
            // The node of the DHT sends by `sendto`, and nothing else does.
            traced.args(["-e", "trace=sendto"]);
            let output = strace::under(&mut traced, &get).output()?;
            strace::worked(&String::from_utf8_lossy(&output.stderr))?;
            Ok(output)
        });
        let output = output.expect("strace runs");
        assert!(output.status.success() && output.stdout == bytes);
        let sent = fs::read_to_string(trace).expect("a trace").matches("sendto(").count();
        println!("{sent} datagrams to the DHT");
        assert!((1..=MOST_DATAGRAMS).contains(&sent), "{sent} datagrams");
    }
    // Who did not ask for the DHT is not told by it.
    let mut get = tool("cjp2p-get", "other-state");
    let output = get.args(["--quiet", "--timeout", "3s", &server.ids("a")[0]]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    // Nobody knows anybody, and yet the server is found.
    let begun = Instant::now();
    loop {
        let mut discover = tool("cjp2p-peers", "peers-state");
        let output =
            discover.args(["discover", "--dht", "--listen", "127.0.0.1:0"]).output().expect("it runs");
        let found = String::from_utf8(output.stdout).expect("text");
        if let Some(line) = found.lines().next() {
            assert!(
                line.starts_with(&format!("{}\t", server.address)) && line.ends_with("\tdht\tnew"),
                "{line}"
            );
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody is found");
    }
}
