//! Listening; and a port of one's own, kept between runs, so that what others remember of this machine stays right.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;

use cjp2p_wire::peers::address::DEFAULT_PORT;

use super::random;
use super::state_dir::{StateDir, open_to_read, replace_lightly};
use super::udp::UdpPort;
use crate::listen::Listen;
use crate::names::shown;

/// Where a port of one's own is looked for: below those that Linux hands out to programs that ask for any, which would often
/// have it at the next start, and above those of well-known services.
const RANGE: RangeInclusive<u16> = 10_000..=32_767;
/// So many are tried.
const TRIES: usize = 16;
/// No file with a port is longer, in bytes.
const MAX_FILE: u64 = 64;

/// Opens a socket where `listen` says. For [`Listen::Auto`] the port is the one that is kept in the state folder under the
/// name of `tool`, chosen at the first time. Gives also what the user might want to know, if it could not be had or kept.
///
/// # Errors
///
/// Where there is no such socket to be had. The message names the address.
pub fn listen(listen: Listen, tool: &str, state: Option<&StateDir>) -> io::Result<(UdpPort, Option<String>)> {
    let ip = match listen {
        Listen::Everywhere { port } => return bind(None, port).map(|socket| (socket, None)),
        Listen::At(address) => return bind(Some(address.ip()), address.port()).map(|socket| (socket, None)),
        Listen::Auto(ip) => ip,
    };
    let file = state.map(|state| state.file(&format!("{tool}.port")));
    let Some(kept) = file.as_deref().and_then(read) else {
        let socket = bind_any(ip)?;
        let port = socket.local_address()?.port();
        // Of a folder that cannot be written the user was told.
        let file = file.filter(|_| state.is_some_and(StateDir::is_writable));
        let kept = file.map(|file| replace_lightly(&file, format!("{port}\n").as_bytes()));
        let problem = kept.and_then(Result::err).map(|error| format!("port {port} is not kept: {error}"));
        return Ok((socket, problem));
    };
    match bind(ip, kept) {
        Ok(socket) => Ok((socket, None)),
        Err(error) => {
            let socket = bind_any(ip)?;
            let port = socket.local_address()?.port();
            Ok((socket, Some(format!("{error}: port {port} for this run"))))
        }
    }
}

/// The port in the file, if there is one.
fn read(path: &Path) -> Option<u16> {
    let mut bytes = Vec::new();
    open_to_read(path).ok()?.take(MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() as u64 <= MAX_FILE);
    let port: Option<u16> = text.and_then(|text| text.trim().parse().ok());
    if port.is_none_or(|port| port == 0) {
        log::warn!("{}: no port is in there; another one is chosen", shown(path));
    }
    port.filter(|port| *port != 0)
}

/// A port that others are not likely to want.
fn bind_any(ip: Option<IpAddr>) -> io::Result<UdpPort> {
    let mut random = fastrand::Rng::with_seed(random::seed()?);
    for _ in 0..TRIES {
        let port = random.u16(RANGE);
        if port != DEFAULT_PORT
            && let Ok(socket) = bind(ip, port)
        {
            return Ok(socket);
        }
    }
    bind(ip, 0)
}

fn bind(ip: Option<IpAddr>, port: u16) -> io::Result<UdpPort> {
    let candidates = match ip {
        Some(ip) => Listen::At(SocketAddr::new(ip, port)),
        None => Listen::Everywhere { port },
    };
    let candidates = candidates.candidates();
    UdpPort::bind(&candidates)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen at {}: {error}", candidates[0])))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const AUTO: Listen = Listen::Auto(Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)));

    fn port_of(socket: &UdpPort) -> u16 {
        socket.local_address().unwrap().port()
    }

    #[test]
    fn a_port_is_kept_between_runs_and_another_taken_while_somebody_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(folder.path())).unwrap();
        let (first, told) = listen(AUTO, "one", Some(&state)).unwrap();
        assert_eq!(told, None);
        let port = port_of(&first);
        assert!(RANGE.contains(&port) && port != DEFAULT_PORT);
        let (second, told) = listen(AUTO, "one", Some(&state)).unwrap();
        let other = port_of(&second);
        let expected = format!(
            "cannot listen at 127.0.0.1:{port}: Address already in use (os error 98): port {other} for this run"
        );
        assert_eq!(told, Some(expected));
        drop((first, second));
        assert_eq!(port_of(&listen(AUTO, "one", Some(&state)).unwrap().0), port, "the first one stays");
        assert_ne!(port_of(&listen(AUTO, "two", Some(&state)).unwrap().0), port, "each tool has its own");
    }

    #[test]
    fn a_damaged_file_or_no_folder_costs_only_the_port() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(folder.path())).unwrap();
        for text in [&b""[..], b"0", b"70000", b"\xff\xfe", b"24254 or so", &[b'1'; 100]] {
            fs::write(state.file("one.port"), text).unwrap();
            let (socket, told) = listen(AUTO, "one", Some(&state)).unwrap();
            assert_eq!(told, None);
            let kept = fs::read_to_string(state.file("one.port")).unwrap();
            assert_eq!(kept, format!("{}\n", port_of(&socket)));
        }
        assert_eq!(listen(AUTO, "one", None).unwrap().1, None);
        fs::remove_dir_all(folder.path()).unwrap();
        let told = listen(AUTO, "one", Some(&state)).unwrap().1.unwrap();
        assert!(told.contains("is not kept: "), "{told}");
    }
}
