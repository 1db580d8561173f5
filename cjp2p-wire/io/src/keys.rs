//! Keys on disk: a file for each, that nobody but its owner can read. Opened by a publisher before it confines itself, and by no other
//! tool.
//!
//! The file is JSON, `{"public":"<64 hex>","private":"<64 hex, the seed>"}`, which other nodes read as well.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cjp2p_wire::signed::{PublicKey, SigningKey};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::names::shown;
use crate::random;
use crate::state_dir::{folder_of, sync_file, sync_folder};

/// A longer file, in bytes, is none.
const MAX_LEN: u64 = 4096;

/// What is in a file.
#[derive(Serialize, Deserialize)]
struct Record {
    public: String,
    private: String,
}

/// Where the key of this user is: `CJP2P_KEY`, else `$XDG_DATA_HOME/cjp2p/keys/default.json`, else the same below
/// `~/.local/share`. `None` where there is no home.
pub fn default_path() -> Option<PathBuf> {
    locate(env::var_os("CJP2P_KEY"), env::var_os("XDG_DATA_HOME"), env::home_dir())
}

fn locate(own: Option<OsString>, xdg_data_home: Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        return Some(own.into());
    }
    // The XDG specification has relative paths ignored.
    let xdg = xdg_data_home.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.filter(|home| !home.as_os_str().is_empty());
    let data = xdg.or_else(|| home.map(|home| home.join(".local/share")))?;
    Some(data.join("cjp2p/keys/default.json"))
}

/// The key at `path`. Where there is nothing, one is made, for this user only; and so is the folder.
///
/// # Errors
///
/// Where the file is no key, is not this user's own or others may read it, or cannot be made. The message names it.
pub fn load_or_make(path: &Path) -> io::Result<SigningKey> {
    let about = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", shown(path)));
    match load(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        loaded => return loaded.map_err(about),
    }
    let key = SigningKey::from_seed(&random::secret()?);
    DirBuilder::new().recursive(true).mode(0o700).create(folder_of(path)).map_err(about)?;
    match make(path, &key) {
        // Another process was faster, and its key counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => load(path).map_err(about),
        made => made.map(|()| key).map_err(about),
    }
}

fn load(path: &Path) -> io::Result<SigningKey> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > MAX_LEN {
        return Err(wrong("is no key file"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(wrong("is another user's"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(wrong("may be read by others: whoever did has the key; chmod 600 if nobody did"));
    }
    let mut text = String::new();
    file.take(MAX_LEN).read_to_string(&mut text)?;
    // Nothing of what is in it is ever said.
    let record: Record = serde_json::from_str(&text).map_err(|_| wrong("is no key file"))?;
    let seed = PublicKey::parse(&record.private).ok_or_else(|| wrong("has no private key in it"))?;
    let key = SigningKey::from_seed(seed.as_bytes());
    match PublicKey::parse(&record.public) {
        Some(public) if public == key.public() => Ok(key),
        _ => Err(wrong("has a public key in it that is not that of the private one")),
    }
}

/// Writes a new file beside, and gives it its name only where there is none yet.
fn make(path: &Path, key: &SigningKey) -> io::Result<()> {
    let private = PublicKey::from_bytes(key.seed()).to_string();
    let record = Record { public: key.public().to_string(), private };
    let mut text = serde_json::to_vec(&record).map_err(io::Error::other)?;
    text.push(b'\n');
    let folder = folder_of(path);
    let mut file = tempfile::Builder::new().prefix(".key-").tempfile_in(folder)?;
    file.write_all(&text)?;
    sync_file(file.as_file())?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Whether a key of this user lies below one of these folders: whoever may read there may read the key.
pub fn is_below(key: &Path, folders: &[PathBuf]) -> bool {
    let Ok(key) = fs::canonicalize(key) else { return false };
    folders.iter().filter_map(|folder| fs::canonicalize(folder).ok()).any(|folder| key.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_key_is_made_once_for_this_user_only_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cjp2p/keys/default.json");
        let key = load_or_make(&path).unwrap();
        assert_eq!(load_or_make(&path).unwrap().public(), key.public());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        let text = fs::read_to_string(&path).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(record["public"], key.public().to_string());
        assert_eq!(record["private"].as_str().unwrap().len(), 64);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
        // One that others made.
        let seed: String = (0..32).map(|n| format!("{n:02x}")).collect();
        let public = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
        fs::write(&path, format!("{{\n \"private\": \"{seed}\",\"public\":\"{public}\"}}")).unwrap();
        assert_eq!(load_or_make(&path).unwrap().public().to_string(), public);
    }

    #[test]
    fn what_is_no_key_or_not_ours_alone_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        let refused = |why: &str| {
            let error = load_or_make(&path).unwrap_err().to_string();
            assert!(error.contains("key.json") && error.contains(why), "{error}");
        };
        load_or_make(&path).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        refused("chmod 600");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for (text, why) in [
            ("", "no key file"),
            ("{}", "no key file"),
            (&*good.replace("private\":\"", "private\":\"0"), "no private key"),
            (&good.replacen("public\":\"", "public\":\"0", 1), "not that of the private"),
            (&" ".repeat(5000), "no key file"),
        ] {
            fs::write(&path, text).unwrap();
            refused(why);
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        refused("key.json");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("no key file");
    }

    #[test]
    fn it_is_looked_for_where_the_user_says_and_else_among_the_users_data() {
        let at = |own: &str, xdg: &str, home: &str| {
            locate(Some(own.into()), Some(xdg.into()), Some(home.into()))
                .map(|path| path.display().to_string())
        };
        assert_eq!(at("k", "/x", "/h").unwrap(), "k");
        assert_eq!(at("", "/x", "/h").unwrap(), "/x/cjp2p/keys/default.json");
        assert_eq!(at("", "x", "/h").unwrap(), "/h/.local/share/cjp2p/keys/default.json");
        assert_eq!(at("", "", ""), None);
    }

    #[test]
    fn a_key_below_a_folder_is_found_out_by_whatever_way_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("a/key.json");
        load_or_make(&key).unwrap();
        let link = folder.path().join("link");
        symlink(folder.path().join("a"), &link).unwrap();
        assert!(is_below(&key, &["/nowhere".into(), folder.path().into()]));
        assert!(is_below(&link.join("key.json"), &[folder.path().join("a")]));
        assert!(!is_below(&key, &[folder.path().join("b")]));
    }
}
