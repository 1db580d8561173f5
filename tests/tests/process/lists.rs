//! What a real server shares, as cjp2p-peers lists it.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::tool;

fn content(state: &Path, peers: &[&str]) -> Output {
    tool("cjp2p-peers", state).arg("content").args(peers).output().unwrap()
}

#[test]
fn all_that_a_server_shares_is_listed() {
    for count in [0, 1, 1_000, 10_000] {
        let folder = tempfile::tempdir().unwrap();
        let share = folder.path().join("share");
        for n in 0..count {
            let path = share.join(format!("{}/file {n}", n / 500));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("content {n}")).unwrap();
        }
        fs::create_dir_all(&share).unwrap();
        let server = Server::start(&share, &folder.path().join("state"), &[]);
        let shared: BTreeSet<&str> = (server.events.iter())
            .filter(|event| event["event"] == "shared")
            .map(|event| event["ids"][0].as_str().unwrap())
            .collect();
        assert_eq!(shared.len(), count);
        let output = content(&folder.path().join("asker"), &[&server.address.to_string()]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        let lines = String::from_utf8(output.stdout).unwrap();
        let ids: Vec<&str> = lines.lines().map(|line| line.rsplit('\t').next().unwrap()).collect();
        let listed: BTreeSet<&str> = ids.iter().copied().filter(|id| id.starts_with("blake3/")).collect();
        assert!(listed == shared, "{} of {count}", listed.len());
        assert_eq!(ids.len(), 2 * count, "and each by its name too, once");
    }
}

#[test]
fn a_list_that_is_not_complete_is_told_by_10_and_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let share = folder.path().join("share");
    fs::create_dir_all(&share).unwrap();
    fs::write(share.join("a"), "a").unwrap();
    let (state, asker) = (folder.path().join("state"), folder.path().join("asker"));
    let secret = Server::start(&share, &state, &["--no-list"]);
    let open = Server::start(&share, &state, &[]);
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let [secret, open, nobody] =
        [secret.address, open.address, nobody.local_addr().unwrap()].map(|address| address.to_string());
    for (peers, told) in [
        (vec![&*secret], format!("{secret}: tells nobody what it shares (--no-list)")),
        (vec![&*open, &*secret], format!("{secret}: tells nobody what it shares (--no-list)")),
        (vec![&*open, &*nobody], format!("{nobody} does not answer")),
    ] {
        let output = content(&asker, &peers);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stderr: Vec<&str> =
            stderr.lines().filter(|line| !line.contains(cjp2p_cli::args::AS_ROOT)).collect();
        assert_eq!(output.status.code(), Some(10), "{stderr:?}");
        assert_eq!(stderr, [format!("cjp2p-peers: not all is listed: {told}")]);
        let lines = String::from_utf8_lossy(&output.stdout).lines().count();
        assert_eq!(lines, if peers.contains(&&*open) { 2 } else { 0 });
    }
    let output = content(&asker, &[&open]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(content(&asker, &[&nobody]).status.code(), Some(3));
}
