//! Names and hashes as they are written.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cjp2p_wire::content_id::Hash;
use data_encoding::HEXLOWER;

/// Names in a folder are bytes.
pub(crate) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A hash as digits.
pub(super) fn hex(hash: &Hash) -> String {
    HEXLOWER.encode(hash)
}
