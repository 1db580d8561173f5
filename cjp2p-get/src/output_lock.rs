//! The lock of what goes to standard output or a device, which has no file to lock.

use cjp2p_cli::ToolError;
use cjp2p_io::file_lock::FileLock;
use cjp2p_io::state_dir::StateDir;

use crate::cli::Cli;
use crate::place::Places;
use crate::ranges::RangeArg;

/// A file has its own lock. The lock of anything else is that of the ids and ranges. `None`: leave it to the other process.
pub(crate) fn lock_of_output(
    cli: &Cli,
    places: &Places,
    state: Option<&StateDir>,
) -> Result<Option<Option<FileLock>>, ToolError> {
    let (Some(mode), Places::Stdout | Places::Device(_)) = (cli.lock, places) else {
        return Ok(Some(None));
    };
    let ranges = cli.ranges.iter().map(RangeArg::text);
    let job: Vec<&str> = cli.ids.iter().map(String::as_str).chain(ranges).collect();
    let name = blake3::hash(job.join("\n").as_bytes()).to_hex();
    Ok(mode.acquire_in(state, &format!("get-{}.lock", &name[..16]))?.map(Some))
}
