//! What a server shares, as the job that one process does at a time: its name, and its lock.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use cjp2p_cli::ToolError;
use cjp2p_io::file_lock::FileLock;
use cjp2p_io::state_dir::StateDir;
use data_encoding::HEXLOWER;

use crate::cli::Cli;
use crate::insight::SOCKETS;
use crate::place::Source;

/// What this job is called: to share the same folders, files and streams with the same state folder is the same job.
pub(crate) fn job(sources: &[Arc<Source>], cli: &Cli) -> String {
    let mut paths: Vec<PathBuf> = sources.iter().map(|source| source.path()).collect();
    paths.sort();
    paths.dedup();
    let mut hasher = blake3::Hasher::new();
    for path in &paths {
        hasher.update(path.as_os_str().as_bytes());
        hasher.update(b"\0");
    }
    for stream in cli.streams.names() {
        hasher.update(stream.as_bytes());
        hasher.update(b"\0");
    }
    format!("{SOCKETS}{}", HEXLOWER.encode(&hasher.finalize().as_bytes()[..8]))
}

/// The lock of this job. `None`: leave it to the other.
///
/// # Errors
///
/// Another process has it, and that is to be a failure, or there can be none though one is wanted.
pub(crate) fn lock(
    state: Option<&StateDir>,
    job: &str,
    cli: &Cli,
) -> Result<Option<Option<FileLock>>, ToolError> {
    let name = format!("{job}.lock");
    if let Some(mode) = cli.lock {
        return Ok(mode.acquire_in(state, &name)?.map(Some));
    }
    // Held all the same, so that a later one with --lock sees it.
    let lock = state.map_or(Ok(None), |state| FileLock::try_acquire(&state.file(&name)));
    if let Err(error) = &lock {
        log::info!("lock: {error}");
    }
    Ok(Some(lock.unwrap_or_default()))
}
