//! What the system refuses to the real programs: they warn and do without it, or say so on one line and end with a code.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use cjp2p_tests::content;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::{binaries, tool};
use tempfile::TempDir;

/// An ordinary user, of whom this machine need not know.
const NOBODY: u32 = 54_321;

/// A server that shares a file, and a folder with it that everybody may read.
fn shared() -> (TempDir, Server, Vec<u8>) {
    let folder = tempfile::tempdir().expect("the disk takes it");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let share = folder.path().join("share");
    fs::create_dir(&share).expect("the disk takes it");
    let bytes = content::bytes(5, 600_000);
    fs::write(share.join("file"), &bytes).expect("the disk takes it");
    let server = Server::start(&share, &folder.path().join("server-state"), &[]);
    (folder, server, bytes)
}

/// Runs a tool in which nothing is told but what is under test. Gives what it wrote, and its warnings about the state folder.
fn run(command: &mut Command, arguments: &[&str], code: i32) -> (Output, Vec<String>) {
    let ended = command.args(arguments).output().expect("it starts");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(code), "{command:?}: {told}");
    let about = told.lines().filter(|line| line.contains("state")).map(str::to_owned).collect();
    (ended, about)
}

/// Serves, fetches and asks with this state folder; each of the three tools says once that it does without.
fn all_do_without_it(
    make: impl Fn(&str) -> Command,
    folder: &Path,
    server: &Server,
    bytes: &[u8],
    told: &str,
) {
    let [id, _] = server.ids("file");
    let peer = server.address.to_string();
    let share = folder.join("share");
    let serve = ["--json", "--listen", "127.0.0.1:0", "--for", "500ms", share.to_str().expect("it is UTF-8")];
    let (served, serve_told) = run(&mut make("cjp2p-serve"), &serve, 0);
    assert!(String::from_utf8_lossy(&served.stdout).contains(r#""event":"shared""#), "{served:?}");
    let (fetched, get_told) = run(&mut make("cjp2p-get"), &[&id, "--peer", &peer], 0);
    assert!(fetched.stdout == bytes);
    let (pinged, ping_told) = run(&mut make("cjp2p-peers"), &["ping", &peer], 0);
    assert!(String::from_utf8_lossy(&pinged.stdout).starts_with(&peer), "{pinged:?}");
    for lines in [serve_told, get_told, ping_told] {
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("warning: state folder: ") && lines[0].contains(told), "{lines:?}");
    }
    // What is about the table alone cannot be done.
    let (_, add_told) = run(&mut make("cjp2p-peers"), &["add", "127.0.0.1:9"], 1);
    assert_eq!(add_told.len(), 1, "{add_told:?}");
    for tool in ["cjp2p-serve", "cjp2p-get"] {
        let what = if tool == "cjp2p-serve" { share.to_str().expect("it is UTF-8") } else { &*id };
        let arguments = ["--lock", "fail", "--listen", "127.0.0.1:0", what];
        let locked = make(tool).args(arguments).output().expect("it starts");
        let told = String::from_utf8_lossy(&locked.stderr).into_owned();
        assert!(locked.status.code() == Some(1) && told.contains("lock: "), "{told}");
    }
}

#[test]
fn tools_that_can_do_without_a_state_folder_say_so_once_and_go_on() {
    let (folder, server, bytes) = shared();
    fs::write(folder.path().join("plain"), "").expect("the disk takes it");
    let make = |name: &str| tool(name, &folder.path().join("plain/state"));
    all_do_without_it(make, folder.path(), &server, &bytes, "Not a directory");
}

#[test]
fn a_state_folder_that_cannot_be_written_is_told_once_and_the_rest_goes_on() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped, since only root can run a tool as somebody else");
        return;
    }
    let (folder, server, bytes) = shared();
    let state = folder.path().join("state");
    fs::create_dir(&state).expect("the disk takes it");
    fs::set_permissions(&state, Permissions::from_mode(0o755)).expect("it is ours");
    let make = |name: &str| {
        // The folder that the binaries are in may be somebody's own.
        let copy = folder.path().join(name);
        if !copy.exists() {
            fs::copy(binaries().join(name), &copy).expect("the disk takes it");
        }
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]);
        command.arg("--inh-caps=-all").arg(copy).current_dir("/");
        command.env("CJP2P_BOOTSTRAP", "").env("CJP2P_NO_LAN", "1").env("CJP2P_STATE_DIR", &state);
        command.env_remove("RUST_LOG").stdin(std::process::Stdio::null());
        command
    };
    all_do_without_it(make, folder.path(), &server, &bytes, "cannot be written");
}
