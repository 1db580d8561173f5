//! Many processes that change the table at once, some of them killed, and damage to it meanwhile.

#![expect(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use cjp2p_io::file_lock::FileLock;
use cjp2p_io::peer_file::PeerFile;
use cjp2p_io::state_dir::StateDir;
use cjp2p_wire::peers::peer::Origin;

/// Processes that change something, half of them each way.
const WRITERS: u16 = 1000;
/// Processes that are killed at some time, beside them.
const KILLED: u16 = 100;
/// Threads that start them.
const THREADS: u16 = 20;
/// How often the file is damaged.
const DAMAGES: u16 = 5;

fn peer(n: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10_000 + n))
}

fn start(state: &Path, command: &str, n: u16) -> Child {
    Command::new(env!("CARGO_BIN_EXE_cjp2p-peers"))
        .args(["--quiet", "--state"])
        .arg(state)
        .args([command, &peer(n).to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn of_a_thousand_writers_none_is_lost_though_others_are_killed_and_the_file_is_damaged() {
    // In memory where there is such a place: a thousand times to the disk takes long.
    let folder = &tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let state = StateDir::open(Some(folder.path())).unwrap();
    let file = PeerFile::new(Some(&state));
    // Half of the writers remove one of these, and the killed ones would remove others.
    let half = WRITERS / 2;
    file.update(|table| {
        for n in (0..half).chain(WRITERS..WRITERS + KILLED) {
            table.heard(peer(n), 1, None, Origin::Incoming);
        }
    })
    .unwrap();
    thread::scope(|scope| {
        for part in 0..THREADS {
            scope.spawn(move || {
                for n in (part..WRITERS).step_by(THREADS.into()) {
                    let command = if n < half { "remove" } else { "add" };
                    assert!(start(folder.path(), command, n).wait().unwrap().success(), "{command} {n}");
                    if n % (WRITERS / KILLED) == 0 {
                        let mut killed = start(folder.path(), "remove", WRITERS + n / (WRITERS / KILLED));
                        thread::sleep(Duration::from_micros(u64::from(n) * 37 % 20_000));
                        killed.kill().unwrap();
                        killed.wait().unwrap();
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..DAMAGES {
                thread::sleep(Duration::from_millis(300));
                let _lock = FileLock::acquire(&state.file("peers.json.lock")).unwrap();
                let mut table =
                    OpenOptions::new().append(true).open(folder.path().join("peers.json")).unwrap();
                table.write_all(b"{\"address\":\"127.0").unwrap();
            }
        });
    });
    let (table, _) = file.load();
    let left: Vec<u16> = (0..half).filter(|&n| table.get(peer(n)).is_some()).collect();
    assert!(left.is_empty(), "not removed: {left:?}");
    let lost: Vec<u16> = (half..WRITERS).filter(|&n| table.get(peer(n)).is_none()).collect();
    assert!(lost.is_empty(), "not added: {lost:?}");
    assert!(table.len() <= usize::from(half + KILLED));
    // The lock of one that was killed is nobody's.
    file.update(|_| ()).unwrap();
}
