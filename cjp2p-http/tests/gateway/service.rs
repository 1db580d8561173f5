//! The gateway as a service: what systemd is told.

use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::support::{Gateway, LIMIT, sharing};

#[test]
fn who_started_it_is_told_that_it_is_ready_that_it_lives_and_that_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let hear = || {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_cjp2p-http"));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000").env_remove("WATCHDOG_PID");
    let gateway = Gateway::run(command, folder, &sharing(&[]), &[]);
    assert_eq!(hear(), "READY=1");
    assert_eq!([hear(), hear()], ["WATCHDOG=1", "WATCHDOG=1"]);
    // Its socket goes with the folder, so that is kept until all was heard.
    let _folder = gateway.end();
    let last = std::iter::repeat_with(hear).take(10_000).find(|text| text != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}
