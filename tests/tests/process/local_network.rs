//! Nodes that find each other on a link without being told of anybody: the real programs in network namespaces on a bridge.
//!
//! Needs root and `ip`; without them each test says so and does nothing.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cjp2p_tests::content;
use cjp2p_tests::foreign::RustToday;
use cjp2p_tests::lab::Bridge;
use cjp2p_tests::real::host::Host;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::{end_of, tool};
use cjp2p_wire::content_id::ContentId;
use tempfile::TempDir;

/// What is fetched, in bytes.
const LENGTH: usize = 1 << 20;

/// Hosts on a bridge, and folders.
struct Bench {
    folder: TempDir,
    bridge: Bridge,
    bytes: Vec<u8>,
}

impl Bench {
    /// Hosts that are plugged in, with these addresses. `None` where this machine does not let us.
    fn new(hosts: usize, v4: bool, v6: bool) -> Option<Bench> {
        let bridge = Bridge::new(hosts).and_then(|bridge| {
            (0..hosts).try_for_each(|host| bridge.plug(host, v4, v6))?;
            Ok(bridge)
        });
        match bridge {
            Ok(bridge) => Some(Bench::on(bridge)),
            Err(why) => {
                eprintln!("skipped, since there can be no hosts on a bridge here: {why}");
                None
            }
        }
    }

    fn on(bridge: Bridge) -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("share")).expect("a folder");
        let bytes = content::bytes(6, LENGTH);
        fs::write(folder.path().join("share/file"), &bytes).expect("a file");
        Bench { folder, bridge, bytes }
    }

    fn id(&self) -> ContentId {
        content::blake3_id(&self.bytes)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn serve(&self, host: usize, listen: &'static str, state: &str, arguments: &'static [&str]) -> Server {
        let (command, share) = (tool("cjp2p-serve", &self.path(state)), self.path("share"));
        let start = move |command| Server::run(command, listen, &share, arguments);
        self.bridge.run_tool(host, command, start).expect("a server")
    }

    fn get(&self, host: usize, arguments: &[&str]) -> Getter {
        let mut command = tool("cjp2p-get", &self.path(&format!("get-state-{host}")));
        command.arg("--quiet").args(arguments).stdout(Stdio::piped());
        let begun = Instant::now();
        Getter { child: self.bridge.start(host, command).expect("cjp2p-get starts"), begun }
    }

    /// Waits until somebody on a host hears what is sent to everybody.
    fn wait_for_listeners(&self, host: usize) {
        let port = format!(":{:04X} ", 24254);
        // Of the thread: the process is elsewhere.
        let look = || fs::read_to_string("/proc/thread-self/net/udp").expect("the kernel tells its sockets");
        let until = Instant::now() + Duration::from_secs(60);
        while self.bridge.run(host, look).expect("a host").matches(&port).count() < 2 {
            assert!(Instant::now() < until, "nobody else listens");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn peers(&self, host: usize, arguments: &[&str]) -> Vec<String> {
        let mut command = tool("cjp2p-peers", &self.path(&format!("peers-state-{host}")));
        command.args(arguments);
        let run = |mut command: Command| command.output().expect("cjp2p-peers runs");
        let output = self.bridge.run_tool(host, command, run).expect("a host");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Starts what speaks as another node does, at port 24254 of all addresses.
    fn foreign(&self, host: usize, make: impl FnOnce() -> RustToday + Send + 'static) -> Host {
        let start = move || Host::start_at(([0, 0, 0, 0], 24254).into(), make);
        self.bridge.run(host, start).expect("a host")
    }

    /// A socket at this address of a host.
    fn socket(&self, host: usize, address: &str) -> UdpSocket {
        let address: SocketAddr = address.parse().expect("an address");
        let bind = move || UdpSocket::bind(address).expect("the host has that address");
        let socket = self.bridge.run(host, bind).expect("a host");
        socket.set_broadcast(true).expect("an option that anybody may set");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout can be set");
        socket
    }
}

struct Getter {
    child: Child,
    begun: Instant,
}

impl Getter {
    /// When the first byte came, and all of them.
    fn finish(mut self) -> (Duration, Vec<u8>) {
        let mut pipe = self.child.stdout.take().expect("stdout is a pipe");
        let mut bytes = vec![0];
        pipe.read_exact(&mut bytes).expect("the first byte");
        let first = self.begun.elapsed();
        pipe.read_to_end(&mut bytes).expect("the rest");
        assert!(end_of(&mut self.child).success());
        (first, bytes)
    }
}

impl Drop for Getter {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks for a file by its name and for peers, and says who asks.
fn question(name: &str) -> String {
    let ask = format!(
        r#"[{{"PleaseSendContent":{{"id":"file","offset":0,"length":30}}}},{{"PleaseReturnThisMessage":{{"cookie":"{name}"}}}}]"#
    );
    format!("{ask:<400}")
}

fn answer(socket: &UdpSocket) -> String {
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).expect("an answer");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// Whether nothing comes for a moment.
fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout can be set");
    socket.recv(&mut [0; 2048]).is_err()
}

#[test]
fn who_knows_nobody_has_the_first_bytes_from_a_host_on_the_link_within_a_second() {
    for (v4, v6) in [(true, false), (false, true)] {
        let Some(bench) = Bench::new(3, v4, v6) else { return };
        let _server = bench.serve(1, "0", "serve-state", &[]);
        // The others on the link have nothing, and must not be in the way.
        fs::create_dir(bench.path("nothing")).expect("a folder");
        // A busy machine may hold up one of them.
        let first = (0..3).map(|_| {
            let (first, bytes) = bench.get(0, &[&bench.id().to_string()]).finish();
            assert!(bytes == bench.bytes);
            fs::remove_dir_all(bench.path("get-state-0")).expect("its state");
            first
        });
        let first = first.min().expect("three of them");
        assert!(first <= Duration::from_secs(1), "IPv4 {v4}, IPv6 {v6}: {first:?}");
    }
}

#[test]
fn two_servers_on_one_host_are_both_found_and_each_at_its_own_port() {
    let Some(bench) = Bench::new(2, true, true) else { return };
    // The second comes to a port that others listen at for everybody; the third finds it taken.
    let other = bench.serve(1, "0", "serve-state-1", &[]);
    let usual = bench.serve(1, "24254", "serve-state-2", &[]);
    let mut third = tool("cjp2p-serve", &bench.path("serve-state-3"));
    third.arg("--quiet").arg(bench.path("share"));
    let run = |mut command: Command| command.output().expect("cjp2p-serve runs");
    let third = bench.bridge.run_tool(1, third, run).expect("a host");
    assert_eq!(third.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&third.stderr).contains("another process has that port"));

    let found = bench.peers(0, &["discover"]);
    for server in [&other, &usual] {
        for ip in ["10.78.0.2", "[fe80::2%2]"] {
            let address = format!("{ip}:{}\t", server.address.port());
            assert_eq!(
                found.iter().filter(|line| line.starts_with(&address)).count(),
                1,
                "{address}: {found:?}"
            );
        }
    }
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(bench.peers(0, &["--lines"]).iter().any(|line| line.contains(r#""origin":"lan""#)));
    // On the same host too, by way of the link.
    assert_eq!(bench.get(1, &[&bench.id().to_string()]).finish().1.len(), LENGTH);
    // Who does not want to ask, or to be found, is left alone.
    assert_eq!(bench.peers(1, &["discover", "--no-lan"]), Vec::<String>::new());
}

#[test]
fn an_interface_that_comes_later_is_used_at_both_ends() {
    let Some(bench) = Bench::new(0, true, true) else { return };
    let bench = Bench { bridge: Bridge::new(2).expect("it could be done just now"), ..bench };
    let _server = bench.serve(1, "0", "serve-state", &[]);
    let getter = bench.get(0, &[&bench.id().to_string()]);
    std::thread::sleep(Duration::from_millis(300));
    bench.bridge.plug(1, true, true).expect("a link");
    std::thread::sleep(Duration::from_millis(300));
    bench.bridge.plug(0, true, true).expect("a link");
    assert!(getter.finish().1 == bench.bytes);
}

#[test]
fn a_question_to_everybody_is_answered_on_the_link_and_nowhere_else() {
    let Some(bench) = Bench::new(2, true, true) else { return };
    // Somebody far away, to whom the server would know the way.
    bench.bridge.ip(0, "address add 198.51.100.7/32 dev wire").expect("an address");
    bench.bridge.ip(1, "route add 198.51.100.0/24 via 10.78.0.1").expect("a route");
    for (listen, broadcast_to) in [("24254", 24254), ("0", 24254), ("5000", 5000)] {
        let server = bench.serve(1, listen, &format!("serve-state-{listen}"), &[]);
        let far = bench.socket(0, "198.51.100.7:0");
        let near = bench.socket(0, "10.78.0.1:0");
        for group in ["10.78.0.255", "255.255.255.255", "224.0.0.1"] {
            let send = |socket: &UdpSocket, name: &str| {
                let to: SocketAddr = format!("{group}:{broadcast_to}").parse().expect("an address");
                socket.send_to(question(name).as_bytes(), to).map(drop)
            };
            // What has no interface to leave by cannot be asked so here.
            if send(&far, "far").is_err() || send(&near, group).is_err() {
                assert_ne!(group, "10.78.0.255");
                continue;
            }
            if broadcast_to == 24254 {
                let answer = answer(&near);
                assert!(answer.contains(group) && answer.contains("Content"), "{answer}");
            }
            assert!(
                is_silent(&far) && is_silent(&near),
                "{listen}, {group}: answered to the wrong one, or twice"
            );
        }
        // It could be answered: asked alone, it is.
        let there = SocketAddr::new([10, 78, 0, 2].into(), server.address.port());
        far.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout can be set");
        far.send_to(question("far").as_bytes(), there).expect("a way");
        assert!(answer(&far).contains("Content"));
    }
    // And who does not want to be found so is silent, at the usual port too.
    let _server = bench.serve(1, "24254", "serve-state", &["--no-lan"]);
    let near = bench.socket(0, "10.78.0.1:0");
    near.send_to(question("near").as_bytes(), "10.78.0.255:24254").expect("a way");
    assert!(is_silent(&near));
}

#[test]
fn todays_rust_node_is_found_on_the_link_and_finds_us() {
    let Some(bench) = Bench::new(2, true, false) else { return };
    let everybody: [SocketAddr; 1] = [([10, 78, 0, 255], 24254).into()];
    let bytes = bench.bytes.clone();
    let theirs = bench.foreign(1, move || RustToday::new(7).share(&bytes).on_links(&everybody));
    assert!(bench.get(0, &[&bench.id().to_string()]).finish().1 == bench.bytes);
    drop(theirs);

    let _server = bench.serve(0, "0", "serve-state", &[]);
    let id = bench.id();
    let (done, is_done) = std::sync::mpsc::channel();
    let _theirs = bench
        .foreign(1, move || RustToday::new(8).fetch(&id, &[]).on_links(&everybody).tells_when_complete(done));
    let fetched = is_done.recv_timeout(Duration::from_secs(30)).expect("it fetches from us");
    assert!(fetched == bench.bytes);
}

#[test]
fn a_host_without_a_broadcast_address_is_reached_by_its_own_and_found_by_everybodys() {
    // The network of a cloud, a line to one other host, and an address alone.
    for (bits, is_found) in [(24, true), (31, true), (32, false)] {
        let Some(bench) = Bench::new(2, false, false) else { return };
        for (host, own, other) in [(0, "10.78.0.2", "10.78.0.3"), (1, "10.78.0.3", "10.78.0.2")] {
            bench.bridge.ip(host, &format!("address add {own}/{bits} dev wire")).expect("an address");
            if bits == 32 {
                bench.bridge.ip(host, &format!("route add {other} dev wire")).expect("a route");
            }
        }
        let id = bench.id().to_string();
        let server = bench.serve(1, "24254", "serve-state", &[]);
        assert!(bench.get(0, &["--no-lan", "--peer", "10.78.0.3", &id]).finish().1 == bench.bytes, "/{bits}");
        if is_found {
            assert!(bench.get(0, &[&id]).finish().1 == bench.bytes, "/{bits}");
        }
        drop(server);
        // What somebody beside it does to hear everybody takes nothing from a server that does not want to.
        let _server = bench.serve(1, "24254", "serve-state", &["--no-lan"]);
        let nobody_has = format!("blake3/{}", "ab".repeat(32));
        let mut beside = bench.get(1, &["--timeout", "60s", &nobody_has]);
        bench.wait_for_listeners(1);
        assert!(bench.get(0, &["--no-lan", "--peer", "10.78.0.3", &id]).finish().1 == bench.bytes, "/{bits}");
        assert!(beside.child.try_wait().expect("it can be asked").is_none(), "it was there all the time");
    }
}

/// A firewall as many machines have: answers come in, and nothing else but what IPv6 needs to work at all.
const FIREWALL: &str = "\
add table inet wall
add chain inet wall in { type filter hook input priority 0; policy drop; }
add rule inet wall in iif lo accept
add rule inet wall in ct state established,related accept
add rule inet wall in meta l4proto ipv6-icmp accept
";

impl Bench {
    /// Puts a firewall before this host. `None` where there can be none.
    fn wall_in(&self, host: usize) -> Option<()> {
        let nft = || {
            let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
            std::io::Write::write_all(&mut nft.stdin.take().expect("a pipe"), FIREWALL.as_bytes())?;
            nft.wait()
        };
        let done = self.bridge.run(host, nft).expect("a host");
        if !done.as_ref().is_ok_and(|status| status.success()) {
            eprintln!("skipped, since there can be no firewall here: {done:?}");
            return None;
        }
        Some(())
    }
}

#[test]
fn a_firewall_that_lets_in_answers_only_does_not_hide_who_is_on_the_link() {
    for (v4, v6) in [(true, false), (false, true)] {
        let Some(bench) = Bench::new(3, v4, v6) else { return };
        if bench.wall_in(0).is_none() {
            return;
        }
        // Somebody else answers too, and first.
        let nothing = bench.path("nothing");
        fs::create_dir(&nothing).expect("a folder");
        let command = tool("cjp2p-serve", &bench.path("serve-state-2"));
        let start = move |command| Server::run(command, "24254", &nothing, &[]);
        let _other = bench.bridge.run_tool(2, command, start).expect("a server");
        let server = bench.serve(1, "24254", "serve-state", &[]);
        let id = bench.id().to_string();
        assert!(bench.get(0, &["--timeout", "60s", &id]).finish().1 == bench.bytes, "IPv4 {v4}, IPv6 {v6}");
        assert_eq!(bench.peers(0, &["discover"]).len(), 2);
        // Those who are there later are found as well.
        drop(server);
        let getter = bench.get(0, &["--timeout", "90s", &id]);
        std::thread::sleep(Duration::from_secs(2));
        let _server = bench.serve(1, "24254", "serve-state", &[]);
        assert!(getter.finish().1 == bench.bytes, "IPv4 {v4}, IPv6 {v6}: later");
    }
}

#[test]
fn where_nobody_on_the_link_answers_it_is_said_what_may_be_in_the_way() {
    let Some(bench) = Bench::new(2, true, false) else { return };
    let mut command = tool("cjp2p-get", &bench.path("get-state"));
    command.args(["--timeout", "1s", &bench.id().to_string()]);
    let run = |mut command: Command| command.output().expect("cjp2p-get runs");
    let output = bench.bridge.run_tool(0, command, run).expect("a host");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3));
    assert!(told.contains("ufw allow 24254/udp"), "{told}");
}
