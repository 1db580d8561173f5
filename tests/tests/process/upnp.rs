//! cjp2p-serve and a router that speaks UPnP only, scripted, on loopback and on a link. No test asks the one of the machine.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cjp2p_tests::lab::Namespace;
use cjp2p_tests::real::igd::{
    Asked, Bystander, Igd, OUTSIDE, SEARCH_PORT, Script, deaf_to_others, found_at, page, refusal,
};
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::{end_of, tool};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::json::Page;

/// For how many seconds a server asks for a port.
const LEASE: u32 = 3600;

/// What a server shares, and what it says on standard error.
struct Shared {
    folder: TempDir,
}

impl Shared {
    fn new() -> Shared {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("share")).expect("a folder");
        fs::write(folder.path().join("share/file"), "here").expect("a file");
        Shared { folder }
    }

    fn command(&self) -> Command {
        let mut command = tool("cjp2p-serve", &self.folder.path().join("state"));
        // Warnings too, though it is told to be quiet.
        command.env("RUST_LOG", "warn").stderr(File::create(self.stderr()).expect("a file"));
        // Where it leads must not depend on this.
        command.env("http_proxy", "http://127.0.0.1:9").env("ALL_PROXY", "http://127.0.0.1:9");
        command
    }

    fn serve(&self, router: Ipv4Addr) -> Server {
        let arguments = [&*format!("--map-port={router}")];
        Server::run(self.command(), "127.0.0.1:0", &self.folder.path().join("share"), &arguments)
    }

    fn stderr(&self) -> std::path::PathBuf {
        self.folder.path().join("stderr")
    }

    /// The lines about the router.
    fn told(&self) -> Vec<String> {
        let text = fs::read(self.stderr()).expect("a file");
        assert!(text.iter().all(|&byte| byte == b'\n' || !byte.is_ascii_control()), "{text:?}");
        let text = String::from_utf8(text).expect("UTF-8");
        text.lines().filter(|line| line.contains("--map-port")).map(str::to_owned).collect()
    }

    /// Waits until something with these words is told of the router; returns the line. It asks again after a while, so on a machine
    /// that stood still for some seconds there may be others before.
    fn wait_until_told(&self, words: &str) -> String {
        for _ in 0..3000 {
            if let Some(line) = self.told().into_iter().find(|line| line.contains(words)) {
                return line;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{words:?} is not told: {:?}", self.told());
    }
}

/// What a server says of the port that it got, be it before it says that all is shared or afterwards.
fn mapped(server: &mut Server) -> Value {
    let earlier = server.events.iter().find(|event| event["event"] == "mapped").cloned();
    let mapped = earlier.unwrap_or_else(|| server.wait_for("mapped"));
    Page::read().check("cjp2p-serve --json, mapped", &mapped);
    mapped
}

fn send(server: &Server, signal: Signal) {
    kill(Pid::from_raw(server.pid().cast_signed()), signal).expect("it runs");
}

/// Whether it serves: the file that is shared is asked for by its name.
fn answers(server: &Server) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
    let question = r#"[{"PleaseSendContent":{"id":"file","offset":0,"length":4}}]"#;
    socket.send_to(format!("{question:<400}").as_bytes(), server.address).expect("a way");
    let mut buffer = [0; 2000];
    let length = socket.recv(&mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).contains("Content")
}

/// Checks what a router is asked first for the port of a server.
fn check_first(asked: &Asked, port: u16) {
    let client = "127.0.0.1".to_owned();
    assert_eq!(*asked, Asked::Add { outside: port, inside: port, client, lease: LEASE });
}

#[test]
fn a_port_is_asked_for_by_upnp_and_given_back_when_the_server_ends_or_is_killed() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let (router, shared) = (Igd::start(Script::default()), Shared::new());
        let mut server = shared.serve(router.address);
        let port = server.address.port();
        let event = mapped(&mut server);
        assert_eq!((&event["address"], &event["port"]), (&OUTSIDE.into(), &port.into()));
        check_first(&router.next(), port);
        assert_eq!(router.meanwhile(), []);
        send(&server, signal);
        assert_eq!(router.next(), Asked::Delete { outside: port }, "{signal}");
        assert_eq!(shared.told(), [""; 0]);
    }
}

#[test]
fn a_port_that_is_taken_is_replaced_by_another_and_one_that_is_given_for_ever_is_taken_for_ever() {
    let (router, shared) = (Igd::start(Script { only_for_ever: true, ..Script::default() }), Shared::new());
    let mut server = shared.serve(router.address);
    let port = server.address.port();
    mapped(&mut server);
    check_first(&router.next(), port);
    let for_ever = Asked::Add { outside: port, inside: port, client: "127.0.0.1".into(), lease: 0 };
    assert_eq!(router.next(), for_ever);
    send(&server, Signal::SIGTERM);
    assert_eq!(router.next(), Asked::Delete { outside: port });

    let (router, shared) = (Igd::start(Script { taken: Some(24_999), ..Script::default() }), Shared::new());
    let arguments = [&*format!("--map-port={}", router.address)];
    let mut server =
        Server::run(shared.command(), "127.0.0.1:24999", &shared.folder.path().join("share"), &arguments);
    let given = mapped(&mut server)["port"].as_u64().expect("a number");
    assert_ne!(given, 24_999);
    check_first(&router.next(), 24_999);
    let Asked::Add { outside, inside, lease, .. } = router.next() else { panic!("it gives nothing back") };
    assert_eq!((u64::from(outside), inside, lease), (given, 24_999, LEASE));
}

/// The process that talks with the router, as a server has it.
struct Helper(Child);

impl Helper {
    fn start(router: Ipv4Addr, command: &str) -> Helper {
        let mut child = Command::new(cjp2p_tests::real::binaries().join("cjp2p-router"))
            .arg(router.to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        child.stdin.as_mut().expect("a pipe").write_all(command.as_bytes()).expect("it reads");
        Helper(child)
    }

    /// Ends it as the end of the server does, and returns what else it said.
    fn end(mut self) -> String {
        drop(self.0.stdin.take());
        let mut said = String::new();
        self.0.stdout.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
        assert!(end_of(&mut self.0).success());
        said
    }
}

#[test]
fn a_port_is_asked_for_again_before_its_time_is_over_and_what_does_not_change_is_told_once() {
    let router = Igd::start(Script::default());
    let helper = Helper::start(router.address, "5000 2\n");
    for _ in 0..3 {
        let client = "127.0.0.1".to_owned();
        assert_eq!(router.next(), Asked::Add { outside: 5000, inside: 5000, client, lease: 2 });
    }
    // Signals of a terminal reach it too: it ends when the server does.
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        kill(Pid::from_raw(helper.0.id().cast_signed()), signal).expect("it runs");
    }
    assert!(matches!(router.next(), Asked::Add { .. }));
    let said = helper.end();
    assert_eq!(said.lines().count(), 1, "{said}");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["mapped"]["port"], 5000);
    assert_eq!(router.meanwhile().last(), Some(&Asked::Delete { outside: 5000 }));
}

#[test]
fn a_helper_that_is_told_nothing_useful_ends_and_asks_nobody() {
    let router = Igd::start(Script::default());
    for command in ["", "\n", "5000\n", "0 60\n", "70000 60\n", "5000 x\n", &"9".repeat(1000)] {
        assert_eq!(Helper::start(router.address, command).end(), "", "{command:?}");
    }
    assert_eq!(router.meanwhile(), []);
}

#[test]
fn a_router_never_leads_to_another_address() {
    let bystander = Bystander::start(Ipv4Addr::new(127, 53, 53, 1));
    let url = bystander.url();
    let redirect = format!("HTTP/1.1 302 -\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n");
    for (script, why) in [
        (Script { location: Some(url.clone()), ..Script::default() }, "not followed to another address"),
        (Script { control: Some(url.clone()), ..Script::default() }, "no description of a router at"),
        (Script { description: Some(redirect.clone().into()), ..Script::default() }, "no description"),
        (Script { answer: Some(redirect.clone().into()), ..Script::default() }, "nvalid response"),
    ] {
        let (router, shared) = (Igd::start(script), Shared::new());
        let server = shared.serve(router.address);
        let told = shared.wait_until_told(why);
        assert!(told.contains(": --map-port: the router gives no port: "), "{told}");
        send(&server, Signal::SIGTERM);
        assert!(!bystander.was_disturbed(), "{why}");
    }
}

#[test]
fn whatever_a_router_answers_is_one_line_and_sharing_goes_on() {
    let entities = "<!DOCTYPE r [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">\
         <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;\">\
         <!ENTITY e \"&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;\"><!ENTITY f \"&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;\">\
         <!ENTITY g \"&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;\">]><r>&g;</r>";
    let described = |bytes: Vec<u8>| Script { description: Some(bytes), ..Script::default() };
    let answered = |bytes: Vec<u8>| Script { answer: Some(bytes), ..Script::default() };
    let scripts = [
        ("nothing", described(Vec::new())),
        ("no XML", described(page(200, "\u{1b}[2J\0\r\n"))),
        ("deep XML", described(page(200, &"<a>".repeat(200_000)))),
        ("long XML", described(page(200, &format!("<root>{}</root>", "x".repeat(8 << 20))))),
        ("many elements", described(page(200, &format!("<root>{}</root>", "<a/>".repeat(250_000))))),
        ("entities", described(page(200, entities))),
        (
            "a false length",
            described(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n<root>".into()),
        ),
        ("a long line", described(["HTTP/1.1 200 OK\r\nX: ", &"x".repeat(1 << 20)].concat().into())),
        ("a refusal", answered(refusal(606, "Action not authorized"))),
        ("odd words", answered(refusal(501, &format!("\u{9b}1m\u{85}{}\n\u{202e}", "x".repeat(9000))))),
        ("an odd answer", answered(page(200, "<\u{1b}[2J>"))),
    ];
    let try_out = |what: &str, script: Script| {
        let (router, shared) = (Igd::start(script), Shared::new());
        let mut server = shared.serve(router.address);
        shared.wait_until_told("UPnP: ");
        assert!(answers(&server), "{what}");
        send(&server, Signal::SIGTERM);
        assert_eq!(server.wait().signal(), Some(15), "{what}");
        let told = shared.told();
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "{what}: told twice: {told:?}");
        assert!(told.iter().all(|line| line.len() < 800), "{what}: {told:?}");
    };
    // Each waits for seconds.
    std::thread::scope(|scope| {
        for (what, script) in scripts {
            scope.spawn(move || try_out(what, script));
        }
    });
}

#[test]
fn a_helper_that_ends_is_told_of_once_and_sharing_goes_on() {
    let (router, shared) = (Igd::start(Script::default()), Shared::new());
    let mut server = shared.serve(router.address);
    mapped(&mut server);
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.pid()));
    let Some(Ok(helper)) = children.ok().and_then(|list| list.split(' ').next().map(str::parse)) else {
        eprintln!("skipped, since this kernel does not tell which processes another has started");
        return;
    };
    kill(Pid::from_raw(helper), Signal::SIGKILL).expect("it runs");
    assert!(shared.wait_until_told("has ended").ends_with("the process that talks with it has ended"));
    send(&server, Signal::SIGTERM);
    assert_eq!(server.wait().signal(), Some(15));
    assert_eq!(shared.told().len(), 1);
}

/// A socket that hears what is said to all devices on the link of this address, beside others that do.
fn hears_all(address: Ipv4Addr) -> UdpSocket {
    let group = Ipv4Addr::new(239, 255, 255, 250);
    let kind = (SockType::Datagram, SockFlag::SOCK_CLOEXEC);
    let socket = socket(AddressFamily::Inet, kind.0, kind.1, None).expect("a socket");
    setsockopt(&socket, ReuseAddr, &true).expect("an option that anybody may set");
    let to_group: SockaddrIn = SocketAddrV4::new(group, SEARCH_PORT).into();
    bind(socket.as_raw_fd(), &to_group).expect("a port");
    let socket = UdpSocket::from(socket);
    socket.join_multicast_v4(&group, &address).expect("a group");
    socket
}

/// The router is found by its place in the table of routes, and asked by multicast, as most are; who else answers is left alone.
#[test]
fn a_router_on_a_link_is_found_among_others_who_answer() {
    let (there, other, here) =
        (Ipv4Addr::new(10, 79, 0, 1), Ipv4Addr::new(10, 79, 0, 9), Ipv4Addr::new(10, 79, 0, 2));
    let link = Namespace::pair([there, here]).and_then(|pair| {
        pair[0].ip(&format!("address add {other}/24 dev wire"))?;
        pair[1].ip(&format!("route add default via {there}"))?;
        Ok(pair)
    });
    let [outside, inside] = match link {
        Ok(pair) => pair,
        Err(why) => return eprintln!("skipped, since there can be no link here: {why}"),
    };
    let start = move || {
        let bystander = Bystander::start(other);
        let answer = found_at(&bystander.url());
        let (hears, speaks) = (hears_all(other), UdpSocket::bind((other, 0)).expect("a port"));
        std::thread::spawn(move || {
            while let Ok((_, from)) = hears.recv_from(&mut [0; 1500]) {
                // Who asks may be gone.
                let _ = speaks.send_to(answer.as_bytes(), from);
            }
        });
        let late = Script { pause: Duration::from_millis(300), ..Script::default() };
        (bystander, Igd::start_at(there, hears_all(there), late), deaf_to_others(there))
    };
    let (bystander, router, _deaf) = outside.run(start).expect("a router");
    let shared = Shared::new();
    let (command, share) = (shared.command(), shared.folder.path().join("share"));
    let serve = move || Server::run(command, "24254", &share, &["--map-port"]);
    let mut server = inside.run(serve).expect("a server");
    assert_eq!(mapped(&mut server)["port"], 24_254);
    let client = here.to_string();
    assert_eq!(router.next(), Asked::Add { outside: 24_254, inside: 24_254, client, lease: LEASE });
    assert!(!bystander.was_disturbed());
}

#[test]
fn a_server_without_the_program_that_asks_says_so_in_one_line_and_serves() {
    let shared = Shared::new();
    let alone = shared.folder.path().join("cjp2p-serve");
    fs::copy(cjp2p_tests::real::binaries().join("cjp2p-serve"), &alone).expect("a copy");
    let mut command = Command::new(&alone);
    let with = shared.command();
    let variables = with.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.envs(variables).env("PATH", shared.folder.path()).stdin(Stdio::null());
    command.stderr(File::create(shared.stderr()).expect("a file"));
    let share = shared.folder.path().join("share");
    let server = Server::run(command, "127.0.0.1:0", &share, &["--map-port=127.53.53.9"]);
    assert!(answers(&server));
    let told = shared.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("--map-port: no router is asked: cjp2p-router is not installed"), "{told:?}");
}

/// Packages put programs where they like.
#[test]
fn the_program_that_asks_is_found_in_path_too() {
    let (router, shared) = (Igd::start(Script::default()), Shared::new());
    let alone = shared.folder.path().join("cjp2p-serve");
    fs::copy(cjp2p_tests::real::binaries().join("cjp2p-serve"), &alone).expect("a copy");
    let mut command = Command::new(&alone);
    let with = shared.command();
    let variables = with.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.envs(variables).env("PATH", cjp2p_tests::real::binaries()).stdin(Stdio::null());
    let arguments = [&*format!("--map-port={}", router.address)];
    let mut server = Server::run(command, "127.0.0.1:0", &shared.folder.path().join("share"), &arguments);
    assert_eq!(mapped(&mut server)["port"], server.address.port());
}
