//! The token that lets a program change something: a file that only its owner can read.

use std::io;
use std::path::Path;

use cjp2p_io::{random, state_dir};
use data_encoding::HEXLOWER;

/// Reads it, and makes it where it is missing.
///
/// # Errors
///
/// Where it cannot be read or made, is empty, or others can read it.
pub fn open(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    let read = || -> io::Result<String> {
        let file = state_dir::open_to_read(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "others can read it: chmod 600 mends that",
            ));
        }
        let mut text = String::new();
        file.take(1024).read_to_string(&mut text)?;
        let token = text.trim();
        if token.len() < 16 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is too short: remove it for a new one",
            ));
        }
        Ok(token.to_owned())
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.map_err(|error| state_dir::about(path, error)),
    }
    let token = HEXLOWER.encode(&random::secret()?);
    state_dir::atomic_replace(path, format!("{token}\n").as_bytes())?;
    read().map_err(|error| state_dir::about(path, error))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = open(&path).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(open(&path).unwrap(), token);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(open(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "\n").unwrap();
        assert!(open(&path).is_err());
    }
}
