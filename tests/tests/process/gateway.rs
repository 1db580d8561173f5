//! The gateway beside real servers: names whose content changes, live streams, and that it is confined.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cjp2p_http::site;
use cjp2p_tests::content;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::{line_of, tool};
use cjp2p_wire::signed::PublicKey;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// A gateway. Killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    pub(crate) fn start(folder: &Path, peer: SocketAddr) -> Gateway {
        let mut child = tool("cjp2p-http", &folder.join("gateway"))
            .args(["--listen", "0", "--udp", "127.0.0.1:0", "--timeout", "5s", "--quiet"])
            .args(["--only-peer", &peer.to_string()])
            .arg("--cache-dir")
            .arg(folder.join("cache"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("cjp2p-http starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let line = line_of(&mut lines).expect("a line");
        let address = line.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        Gateway { child, address }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        let port = self.address.rsplit(':').next().and_then(|port| port.parse().ok());
        port.expect("an address with a port")
    }

    fn connect(&self, path: &str, host: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        // Without chunks.
        stream
            .write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes())
            .expect("it reads");
        stream
    }

    /// The head of an answer, and its body.
    pub(crate) fn get(&self, path: &str, host: &str) -> (String, Vec<u8>) {
        let mut all = Vec::new();
        self.connect(path, host).read_to_end(&mut all).expect("an answer that is whole");
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let body = all.split_off(end + 4);
        (String::from_utf8(all).expect("ASCII"), body)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_site_under_a_name_is_read_by_url_and_so_is_what_becomes_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let shared = folder.path().join("site");
    fs::create_dir_all(shared.join("css")).expect("a folder");
    fs::write(shared.join("index.html"), "<h1>one</h1>").expect("a file");
    fs::write(shared.join("css/a.css"), "h1{}").expect("a file");
    let mut server = Server::start(&shared, &folder.path().join("serve"), &["--name", "site"]);
    let id = server.name();
    let gateway = Gateway::start(folder.path(), server.address);
    let (head, body) = gateway.get(&format!("/{id}/"), "localhost");
    assert_eq!((head.lines().next(), &body[..]), (Some("HTTP/1.1 200 OK"), &b"<h1>one</h1>"[..]), "{head}");
    assert!(head.contains("Content-Security-Policy: sandbox ") && head.contains("Cache-Control: no-cache"));
    assert_eq!(gateway.get(&format!("/{id}/css/a.css"), "localhost").1, b"h1{}");
    // By its own host, where scripts may run, and nothing else is.
    let key = id.split('/').nth(1).and_then(PublicKey::parse).expect("a key");
    let host = site::host_of_key(&key);
    let (head, body) = gateway.get("/site/", &host);
    assert_eq!(body, b"<h1>one</h1>");
    assert!(!head.contains("sandbox"), "{head}");
    for path in ["/status.json", "/metrics", &format!("/{id}/")] {
        assert!(gateway.get(path, &host).0.starts_with("HTTP/1.1 404"), "{path}");
    }
    fs::write(shared.join("index.html"), "<h1>another</h1>").expect("a file");
    let begun = Instant::now();
    while gateway.get(&format!("/{id}/"), "localhost").1 != b"<h1>another</h1>" {
        assert!(begun.elapsed() < LIMIT, "the old one is shown for ever");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_live_stream_is_sent_to_all_who_ask_for_it_and_ends_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut origin = tool("cjp2p-serve", &folder.path().join("serve"))
        .args(["--json", "--quiet", "--listen", "127.0.0.1:0", "--stream", "cam"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cjp2p-serve starts");
    let mut lines = BufReader::new(origin.stdout.take().expect("a pipe"));
    let mut told = |event: &str, field: &str| loop {
        let line: Value = serde_json::from_str(&line_of(&mut lines).expect("a line")).expect("JSON");
        if line["event"] == event {
            return line[field].as_str().expect("a text").to_owned();
        }
    };
    let address: SocketAddr = told("listening", "address").parse().expect("an address");
    let id = told("stream", "id");
    let mut input = origin.stdin.take().expect("a pipe");
    let bytes = content::bytes(8, 2_000_000);
    input.write_all(&bytes[..100_000]).expect("it is read");
    let gateway = Gateway::start(folder.path(), address);
    let mut clients = [(); 3].map(|()| gateway.connect(&format!("/{id}"), "localhost"));
    // All have begun before the rest comes.
    let mut begun = [[0; 12]; 3];
    for (client, status) in clients.iter_mut().zip(&mut begun) {
        input.write_all(&[]).expect("it is read");
        client.read_exact(status).expect("an answer");
        assert_eq!(status, b"HTTP/1.1 200");
    }
    let readers = clients.map(|mut client| {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            client.read_to_end(&mut all).map(|_| all)
        })
    });
    for piece in bytes[100_000..].chunks(50_000) {
        input.write_all(piece).expect("it is read");
    }
    drop(input);
    for reader in readers {
        let all = reader.join().expect("a thread").expect("an end in order");
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let body = &all[end..];
        assert!(body.len() >= 1_900_000 && bytes.ends_with(body), "{} bytes", body.len());
    }
    let _ = origin.kill();
    let _ = origin.wait();
}

#[test]
fn the_gateway_is_confined_with_all_its_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).expect("a folder");
    let bytes = content::bytes(9, 3_000_000);
    fs::write(shared.join("a"), &bytes).expect("a file");
    let server = Server::start(&shared, &folder.path().join("serve"), &[]);
    let gateway = Gateway::start(folder.path(), server.address);
    let (_, body) = gateway.get(&format!("/{}", content::blake3_id(&bytes)), "localhost");
    assert!(body == bytes);
    let tasks = format!("/proc/{}/task", gateway.child.id());
    let statuses = fs::read_dir(tasks)
        .expect("its threads")
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    let statuses: Vec<String> = statuses.collect();
    assert!(statuses.len() > 1, "there are threads");
    let is = |status: &String, field: &str, value: &str| {
        status.lines().any(|line| line.strip_prefix(field).is_some_and(|rest| rest.trim() == value))
    };
    // A kernel without either has no such line, or says 0 for all.
    let confined =
        |field: &str, value: &str| statuses.iter().filter(|status| is(status, field, value)).count();
    for (field, value) in [("Seccomp:", "2"), ("NoNewPrivs:", "1")] {
        let count = confined(field, value);
        assert!(count == statuses.len() || count == 0, "{field} of {count} threads");
    }
}
