//! Disks that are really full, and files that may not grow: here writes end short, as no injected error does.

use std::path::Path;
use std::process::{Command, Stdio};

use super::jobs::Job;
use super::{Bench, Ended};
use crate::lab::Error;

/// How much room there is.
#[derive(Clone, Copy, Debug)]
pub enum Room {
    /// A disk with so many bytes left.
    Disk(usize),
    /// A disk, but no file may have more than so many bytes.
    Files(usize),
}

/// The kinds of little room for content of `length` bytes, with what the table calls them.
pub fn rooms(length: usize) -> [(&'static str, Room); 6] {
    [
        ("disk full", Room::Disk(0)),
        ("8 KiB left", Room::Disk(8 << 10)),
        ("full at 50 %", Room::Disk(length / 2)),
        ("full at 99 %", Room::Disk(length / 100 * 99)),
        ("no file above 2 KiB", Room::Files(2 << 10)),
        ("none above 50 %", Room::Files(length / 2)),
    ]
}

/// Why no small disk can be mounted here, if that is so.
pub fn unavailable() -> Option<String> {
    let tried = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"])
        .stdin(Stdio::null())
        .output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().into()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// The tool runs where there is little room, and again where there is enough. What is on the disk is brought out of the
/// namespace after each, for the same looks as after any failure. Gives the exit code of the first run.
///
/// # Errors
///
/// Says what is wrong.
pub fn run(bench: &Bench, job: &Job, room: Room) -> Result<i32, Error> {
    let case = bench.fresh()?;
    // The disk is mounted over this, so that all paths are the same inside and outside.
    let folder = case.path().join("disk");
    std::fs::create_dir(&folder)?;
    (job.prepare)(bench, &folder)?;
    let first = step(bench, job, &folder, Some(room))?;

    first.is_proper(job.tool, job.codes)?;
    (job.after)(bench, &folder, &first).map_err(|what| format!("{what} [{}]", first.stderr.trim_end()))?;
    let again = step(bench, job, &folder, None)?;
    again.is_proper(job.tool, &[0])?;
    (job.again)(bench, &folder, &again)?;
    first.code.ok_or_else(|| "no exit code".into())
}

/// Mounts a disk in a namespace of its own, copies there what is in the folder, runs the tool, and copies all back.
fn step(bench: &Bench, job: &Job, folder: &Path, room: Option<Room>) -> Result<Ended, Error> {
    let script = "
        set -e
        folder=$1 size=$2 limit=$3
        shift 3
        mkdir \"$folder-now\"
        cp -a \"$folder/.\" \"$folder-now\"
        mount -t tmpfs tmpfs \"$folder\"
        cp -a \"$folder-now/.\" \"$folder\"
        used=$(df -k --output=used \"$folder\" | tail -n 1)
        # A size of 0 would mean as much as there is memory.
        [ \"$size\" = all ] || mount -o remount,size=$((used + size + 4))k \"$folder\"
        [ \"$size\" = all ] || head -c 4096 /dev/zero > \"$folder/filler\"
        set +e
        if [ \"$limit\" = none ]; then \"$@\"; else (ulimit -f \"$limit\"; exec \"$@\"); fi
        code=$?
        set -e
        rm -rf \"$folder-now\" \"$folder/filler\"
        cp -a \"$folder\" \"$folder-now\"
        umount \"$folder\"
        rm -rf \"$folder\"
        mv \"$folder-now\" \"$folder\"
        exit $code";
    let (size, limit) = match room {
        None => ("all".to_owned(), "none".to_owned()),
        Some(Room::Disk(bytes)) => ((bytes >> 10).to_string(), "none".to_owned()),
        // In blocks of 512 bytes.
        Some(Room::Files(bytes)) => ("all".to_owned(), (bytes / 512).to_string()),
    };
    let inner = (job.command)(bench, folder);
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, "sh"]).arg(folder).args([size, limit]);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).arg(inner.get_program()).args(inner.get_args());
    bench.run(&mut command)
}
