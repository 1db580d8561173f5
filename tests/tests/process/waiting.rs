//! What others hold up holds up nobody: the lock of the peer table, and names that a name service does not tell.
//!
//! The names need root, `ip`, `mount` and `unshare`; without them these tests say so and do nothing.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::{binaries, tool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Who waits for a lock waited for a minute. A busy machine does not take so long.
const SOON: Duration = Duration::from_secs(30);

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("share")).expect("a folder");
    fs::write(folder.path().join("share/file"), "some content").expect("a file");
    folder
}

/// Holds the lock of the peer table in this state folder, as a tool does that was stopped just then.
fn hold_peer_table(state: &Path) -> File {
    fs::create_dir_all(state).expect("a folder");
    let file = File::create(state.join("peers.json.lock")).expect("a file");
    file.lock().expect("nobody else has it");
    file
}

fn get(server: &Server, state: &Path) -> Output {
    let mut get = tool("cjp2p-get", state);
    get.args(["--listen", "127.0.0.1:0", "--peer", &server.address.to_string(), &server.ids("file")[0]]);
    get.output().expect("it runs")
}

#[test]
fn a_tool_ends_though_another_one_has_the_lock_of_the_peer_table_and_says_what_is_lost() {
    let folder = folder();
    let (at_server, at_getter) = (folder.path().join("server"), folder.path().join("getter"));
    let mut server = Server::start(&folder.path().join("share"), &at_server, &[]);
    let locks = [&at_server, &at_getter].map(|state| hold_peer_table(state));
    let begun = Instant::now();
    let output = get(&server, &at_getter);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"some content"[..]));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("peer table was not written"), "{told}");
    let server_id = Pid::from_raw(server.pid().try_into().expect("a small number"));
    kill(server_id, Signal::SIGTERM).expect("it runs");
    server.wait();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    drop(locks);
    // And nothing is wrong with what it is for.
    let server = Server::start(&folder.path().join("share"), &at_server, &[]);
    assert_eq!(get(&server, &at_getter).status.code(), Some(0));
    let table = fs::read_to_string(at_getter.join("peers.json")).expect("a table");
    assert!(table.contains(&server.address.to_string()), "{table}");
}

/// Runs a script where there is no network but what it makes. `None` where this machine does not let us.
fn script(folder: &TempDir, script: &str) -> Option<Output> {
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "sh", "-e", "-c"]).arg(format!("{BEGIN}\n{script}")).current_dir(folder.path());
    command.env("B", binaries()).env("CJP2P_BOOTSTRAP", "").env("CJP2P_NO_LAN", "1").stdin(Stdio::null());
    let output = command.output().ok()?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !told.contains("there is a network to try it in") {
        eprintln!("skipped, since no network can be made here: {told}");
        return None;
    }
    Some(output)
}

/// A server, its address and the id of what it shares.
const BEGIN: &str = r#"
ip link set lo up
cp /etc/hosts hosts; mount --bind hosts /etc/hosts
echo 'there is a network to try it in' >&2
"$B/cjp2p-serve" --json --listen 127.0.0.1:0 --state server share > served & S=$!
trap 'kill $S' EXIT
while ! grep -q ready served; do sleep 0.05; done
A=$(sed -n 's/.*"event":"listening","address":"\([^"]*\)".*/\1/p' served)
I=$("$B/cjp2p-hash" share/file | cut -d' ' -f1)
get() { "$B/cjp2p-get" --state getter --listen 127.0.0.1:0 "$@" "$I"; }
"#;

#[test]
fn peers_are_asked_while_a_name_service_does_not_answer_for_others() {
    let folder = folder();
    // One after the other, these take it a minute and a half.
    let names = r#"
ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up
ip address add 10.99.0.1/24 dev v0
ip neighbour add 10.99.0.53 lladdr 02:00:00:00:00:01 dev v0
echo 'nameserver 10.99.0.53' > resolv; mount --bind resolv /etc/resolv.conf
names='--peer a.example --peer b.example --peer c.example --peer d.example --peer e.example --peer f.example'
get $names --peer "$A"
echo done in $(($(date +%s) - START)) s >&2
"#;
    // What has to be built first takes its time too.
    binaries();
    let begun = Instant::now();
    let Some(output) = script(&folder, &format!("START=$(date +%s)\n{names}")) else { return };
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"some content"[..]), "{told}");
    assert!(begun.elapsed() < SOON, "{told}");
}

#[test]
fn a_name_without_an_address_is_looked_up_again_while_others_wait() {
    let folder = folder();
    let late = r#"
# Looked up after 0, 2, 6 and 14 s.
get --timeout 120s --peer "late.example:${A##*:}" > got & G=$!
"$B/cjp2p-serve" --listen 127.0.0.1:0 --state late --peer "late.example:${A##*:}" share > /dev/null & L=$!
sleep 1; echo '127.0.0.1 late.example' >> hosts
wait $G; cat got
# The server has looked it up when the getter has, or does so in a moment.
sleep 10
kill $L; wait $L || true
cat late/peers.json >&2
echo "it is at ${A##*:}" >&2
"#;
    let Some(output) = script(&folder, late) else { return };
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"some content"[..]), "{told}");
    let port = told.rsplit(' ').next().expect("the port").trim();
    assert!(told.contains(&format!(":{port}\"")), "the server did not ask it: {told}");
}
