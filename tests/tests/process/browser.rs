//! What a real browser does with the gateway: plays and seeks, and keeps web pages of others away. Skipped where there is no Chromium.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use cjp2p_http::site;
use cjp2p_tests::content;
use cjp2p_tests::real::server::Server;
use cjp2p_wire::signed::PublicKey;
use serde_json::Value;

use crate::gateway::Gateway;

/// The browser, if there is one.
fn chromium() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let named =
        |folder: PathBuf| ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name));
    std::env::split_paths(&folders).flat_map(named).find(|path| path.is_file())
}

/// What the scripts of a page wrote down.
fn said(page: &str) -> &str {
    let written = page.split_once("<pre id=\"out\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    written.map_or(page, |(written, _)| written)
}

/// The page as it is when its scripts have run for so many of its own seconds.
fn dom(browser: &Path, profile: &Path, seconds: u32, arguments: &[&str], url: &str) -> String {
    let output = Command::new("timeout")
        .args(["-k", "5", "60"])
        .arg(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--mute-audio",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args(["--autoplay-policy=no-user-gesture-required", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--virtual-time-budget={}", seconds * 1000))
        // Nothing but this machine is there.
        .arg("--proxy-server=127.0.0.1:9")
        .arg("--proxy-bypass-list=<-loopback>;127.0.0.1;localhost;*.localhost;evil.example")
        .args(["--host-resolver-rules=MAP evil.example 127.0.0.1"])
        .args(arguments)
        .arg(url)
        .output()
        .expect("the browser runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A page that plays, seeks, and asks for what it should not get; it writes down what came of that.
const PAGE: &str = r#"<!DOCTYPE html><html><body><pre id=out></pre><audio id=a src="sound.wav" preload=metadata></audio><script>
const say = text => document.getElementById('out').textContent += text + ';';
const a = document.getElementById('a');
a.onerror = () => say('error');
a.onloadedmetadata = () => { say('length ' + Math.round(a.duration)); a.currentTime = 300; };
let over = false;
a.onseeked = () => { say('at ' + Math.round(a.currentTime)); over = true; };
// The browser's own clock stands still while this asks, and not while sound is loaded.
(async () => { for (let n = 0; n < 5000 && !over; n++) await fetch('index.html?' + n, {cache: 'no-store'}); })();
const here = 'http://localhost:' + location.port;
for (const url of ['/status.json', here + '/status.json', here + '/', here + '/events'])
    fetch(url).then(r => say(r.ok ? 'READ ' + url : 'not there')).catch(() => say('refused'));
fetch(here + '/x', {method: 'PUT', body: 'x'}).then(() => say('SENT')).catch(() => say('not sent'));
</script></body></html>"#;

#[test]
fn a_browser_plays_and_seeks_and_what_is_published_reaches_nothing_else() {
    let Some(browser) = chromium() else {
        println!("skipped: there is no Chromium");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let shared = folder.path().join("site");
    fs::create_dir(&shared).expect("a folder");
    let sound = content::wave(400);
    fs::write(shared.join("sound.wav"), &sound).expect("a file");
    fs::write(shared.join("index.html"), PAGE).expect("a file");
    let mut server = Server::start(&shared, &folder.path().join("serve"), &["--name", "site"]);
    let name = server.name();
    let gateway = Gateway::start(folder.path(), server.address);
    let port = gateway.port();
    let profile = folder.path().join("profile");

    // By a host of its own, where scripts run.
    let key = name.split('/').nth(1).and_then(PublicKey::parse).expect("a key");
    let url = format!("http://{}:{port}/site/", site::host_of_key(&key));
    let page = dom(&browser, &profile, 20, &[], &url);
    let page = said(&page);
    assert!(page.contains("length 400;") && page.contains("at 300;"), "{page}");
    assert!(!page.contains("READ") && !page.contains("SENT;") && !page.contains("error;"), "{page}");
    assert_eq!((page.matches("refused;").count(), page.matches("not there;").count()), (3, 1), "{page}");
    let status: Value = serde_json::from_slice(&gateway.get("/status.json", "localhost").1).expect("JSON");
    let moved = status["cache"]["bytes"].as_u64().expect("a number");
    assert!(moved < sound.len() as u64 / 2, "{moved} bytes of {} were fetched for a seek", sound.len());

    // By the name of this machine they do not.
    let page = dom(&browser, &profile, 5, &[], &format!("http://127.0.0.1:{port}/{name}/"));
    assert!(page.contains("<pre id=\"out\"></pre>"), "{page}");

    // A name of somebody else that points here.
    let page = dom(&browser, &profile, 5, &[], &format!("http://evil.example:{port}/status.json"));
    assert!(page.contains("not one of this machine") && !page.contains("uptime"), "{page}");
}

#[test]
fn a_page_of_another_site_gets_nothing_and_has_nothing_looked_up() {
    let Some(browser) = chromium() else {
        println!("skipped: there is no Chromium");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).expect("a folder");
    fs::write(shared.join("a.txt"), "hello").expect("a file");
    let server = Server::start(&shared, &folder.path().join("serve"), &[]);
    let gateway = Gateway::start(folder.path(), server.address);
    let (port, hello) = (gateway.port(), blake3::hash(b"hello").to_hex());
    let page = format!(
        "<!DOCTYPE html><body><pre id=out></pre><script>\
         const say = text => document.getElementById('out').textContent += text + ';';\
         const there = 'http://127.0.0.1:{port}', content = there + '/blake3/{hello}/a.txt';\
         fetch(content).then(() => say('READ')).catch(() => say('refused'));\
         fetch(content, {{mode: 'no-cors'}}).then(() => say('FETCHED')).catch(() => say('refused'));\
         fetch(there + '/x', {{method: 'PUT', body: 'x', headers: {{'X-CJP2P-Token': 'x'}}}}).then(() => say('SENT')).catch(() => say('refused'));\
         const image = new Image(); image.onload = () => say('SHOWN'); image.onerror = () => say('refused'); image.src = content;\
         </script>"
    );
    // Another port of this machine is another site too.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let evil = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().take(20).filter_map(Result::ok) {
            let page = page.clone();
            thread::spawn(move || answer(stream, &page));
        }
    });
    let page = dom(&browser, &folder.path().join("profile"), 8, &[], &format!("http://localhost:{evil}/"));
    let page = said(&page);
    assert_eq!(page.matches("refused;").count(), 4, "{page}");
    assert!(["READ;", "FETCHED;", "SENT;", "SHOWN;"].iter().all(|word| !page.contains(word)), "{page}");
    let status: Value = serde_json::from_slice(&gateway.get("/status.json", "localhost").1).expect("JSON");
    assert_eq!(status["cache"]["contents"], 0, "nothing was looked up");
    assert_eq!(gateway.get(&format!("/blake3/{hello}"), "localhost").1, b"hello", "though it is there");
}

fn answer(mut stream: TcpStream, page: &str) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let _ = stream.read(&mut [0; 4096]);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(page.as_bytes()));
}
