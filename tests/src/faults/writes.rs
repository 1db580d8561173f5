//! Every call by which a program changes its files fails once: `strace` answers it with an error in the kernel's place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::jobs::Job;
use super::{Bench, Ended};
use crate::lab::Error;
use crate::real::strace::{insist, strace, under, worked};

/// The calls that change files or bring them to the disk, and those that opening and locking them takes.
const CALLS: &[&str] = &[
    "openat",
    "openat2",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "ftruncate",
    "fallocate",
    "copy_file_range",
    "sendfile",
    "splice",
    "fsync",
    "fdatasync",
    "msync",
    "syncfs",
    "fchmod",
    "flock",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlinkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
];

/// What they are answered with.
const ERRORS: [&str; 2] = ["ENOSPC", "EIO"];

/// A call that can fail: the nth of a thread, on this path where it is known before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    call: String,
    path: Option<PathBuf>,
    nth: usize,
}

/// What became of a writer.
#[derive(Debug, Default)]
pub struct Tally {
    /// Calls that can fail.
    pub points: usize,
    /// Runs in which one of them failed, by the exit code.
    pub codes: BTreeMap<i32, usize>,
    /// What went wrong, with the call that failed.
    pub wrong: Vec<String>,
}

impl Tally {
    /// How many runs there were in which a call failed.
    pub fn runs(&self) -> usize {
        self.codes.values().sum()
    }
}

/// Fails each call of a job once with each error, or about `most` of these, other ones for each seed.
///
/// # Errors
///
/// Where the job does not go well without any failure.
pub fn fail_each(bench: &Bench, job: &Job, most: Option<usize>, seed: u64) -> Result<Tally, Error> {
    let points = insist(|| points(bench, job))?;
    let mut tally = Tally { points: points.len(), ..Tally::default() };
    let mut cases: Vec<_> =
        points.iter().flat_map(|point| ERRORS.iter().map(move |error| (point, *error))).collect();
    if let Some(most) = most {
        fastrand::Rng::with_seed(seed).shuffle(&mut cases);
        cases.truncate(most);
    }
    for (point, error) in cases {
        let Point { call, path, nth } = point;
        let told = path.as_deref().unwrap_or(Path::new("any file"));
        let told = told.strip_prefix(PLACE).map_or(told, |rest| rest);
        let wrong = |what: String| format!("{call} {nth} on {}: {error}: {what}", told.display());
        match insist(|| fail(bench, job, bench.fresh()?.path(), point, error)) {
            Ok(None) => {}
            Ok(Some(code)) => *tally.codes.entry(code).or_default() += 1,
            Err(what) => {
                *tally.codes.entry(-1).or_default() += 1;
                tally.wrong.push(wrong(what.to_string()));
            }
        }
    }
    Ok(tally)
}

/// Runs a job whose second to ninth datagrams cannot be sent, for this reason, and looks whether it comes to a good end all the
/// same.
///
/// # Errors
///
/// Says what is wrong.
pub fn fail_sending(bench: &Bench, job: &Job, error: &str) -> Result<(), Error> {
    insist(|| fail_sending_once(bench, job, error))
}

fn fail_sending_once(bench: &Bench, job: &Job, error: &str) -> Result<(), Error> {
    let folder = bench.fresh()?;
    (job.prepare)(bench, folder.path())?;
    let trace = bench.beside("trace");
    let mut command = strace(&trace);
    command.args(["-e", "trace=sendmsg,sendmmsg"]);
    command.arg("-e").arg(format!("inject=sendmsg,sendmmsg:error={error}:when=2..9"));
    let ended = traced(bench, &mut command, &(job.command)(bench, folder.path()))?;
    let failed = fs::read_to_string(&trace)?.matches("(INJECTED)").count();
    if failed < 3 {
        return Err(format!("only {failed} datagrams could not be sent").into());
    }
    ended.is_proper(job.tool, &[0]).and_then(|()| (job.again)(bench, folder.path(), &ended))?;
    Ok(())
}

/// Runs a program by this command of strace.
fn traced(bench: &Bench, strace: &mut Command, program: &Command) -> Result<Ended, Error> {
    let ended = bench.run(under(strace, program))?;
    worked(&ended.stderr)?;
    Ok(ended)
}

/// Stands for the folder of a case, which is another one each time.
const PLACE: &str = "/PLACE";

/// Has one call fail, and then runs the same again. Gives the exit code, `None` where the call was not made this time.
fn fail(bench: &Bench, job: &Job, folder: &Path, point: &Point, error: &str) -> Result<Option<i32>, Error> {
    (job.prepare)(bench, folder)?;
    let trace = folder.join("trace");
    let mut command = strace(&trace);
    let Point { call, path, nth } = point;
    command.arg("-e").arg(format!("trace={call}"));
    command.arg("-e").arg(format!("inject={call}:error={error}:when={nth}"));
    if let Some(path) = path {
        command.arg("-P").arg(placed(path, folder));
    }
    let ended = traced(bench, &mut command, &(job.command)(bench, folder))?;
    let was_injected = fs::read_to_string(&trace)?.contains("(INJECTED)");
    fs::remove_file(&trace)?;
    let told = |what: String| format!("{what} [{}]", ended.stderr.trim_end());
    ended.is_proper(job.tool, job.codes)?;
    (job.after)(bench, folder, &ended).map_err(told)?;
    let again = bench.run(&mut (job.command)(bench, folder))?;
    again
        .is_proper(job.tool, &[0])
        .and_then(|()| (job.again)(bench, folder, &again))
        .map_err(|what| format!("the next run: {what}; the one before told: {}", ended.stderr.trim_end()))?;
    Ok(ended.code.filter(|_| was_injected))
}

/// The calls of a run in which nothing fails.
fn points(bench: &Bench, job: &Job) -> Result<BTreeSet<Point>, Error> {
    let folder = bench.fresh()?;
    (job.prepare)(bench, folder.path())?;
    let trace = bench.beside("trace");
    let mut command = strace(&trace);
    command.arg("-e").arg(format!("trace={}", CALLS.join(",")));
    let ended = traced(bench, &mut command, &(job.command)(bench, folder.path()))?;
    ended.is_proper(job.tool, &[0]).and_then(|()| (job.again)(bench, folder.path(), &ended))?;
    let points = read_points(&fs::read_to_string(trace)?, folder.path());
    if points.is_empty() { Err("the trace shows no calls".into()) } else { Ok(points) }
}

/// The calls in a trace that have to do with files of the folder.
fn read_points(trace: &str, folder: &Path) -> BTreeSet<Point> {
    let mut counts: BTreeMap<(&str, &str, Option<PathBuf>), usize> = BTreeMap::new();
    let mut points = BTreeSet::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        let mut count = |path: Option<PathBuf>| {
            let nth = counts.entry((thread, call, path)).or_default();
            *nth += 1;
            *nth
        };
        let nth_of_all = count(None);
        let arguments = arguments.rsplit_once(") = ").map_or(arguments, |(arguments, _)| arguments);
        let Some(path) = path_in(arguments, folder) else { continue };
        // Names that are other ones each time cannot be named beforehand.
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_random = name.starts_with('#') || name.starts_with(".tmp") || name.ends_with(".part");
        let (path, nth) =
            if is_random { (None, nth_of_all) } else { (Some(path.clone()), count(Some(path))) };
        points.insert(Point { call: call.to_owned(), path, nth });
    }
    points
}

/// The first path in these arguments that lies in the folder, [`PLACE`] in its place. What is shared is only read.
fn path_in(arguments: &str, folder: &Path) -> Option<PathBuf> {
    let folder = folder.to_str()?;
    let rest = &arguments[arguments.find(folder)? + folder.len()..];
    let end = rest.find(['"', '>'])?;
    let below = rest[..end].trim_end_matches('/');
    let is_ours = !below.starts_with("/share") && !below.starts_with("/content");
    is_ours.then(|| PathBuf::from(format!("{PLACE}{below}")))
}

fn placed(path: &Path, folder: &Path) -> PathBuf {
    match path.strip_prefix(PLACE) {
        Ok(below) if below != Path::new("") => folder.join(below),
        _ => folder.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_on_files_of_the_folder_are_found_and_counted_for_each_thread() {
        let trace = "\
7 openat(AT_FDCWD</w>, \"/etc/ld.so\", O_RDONLY) = 3</etc/ld.so>
7 openat(AT_FDCWD</w>, \"/x/case/a\", O_WRONLY|O_CREAT, 0666) = 3</x/case/a>
7 write(3</x/case/a>, \"hello\", 5) = 5
8 write(3</x/case/a>, \"hello\", 5) = 5
8 write(3</x/case/a>, \"hello\", 5) = 5
8 write(9<anon_inode:[eventfd]>, \"hello\", 5) = 5
8 write(3</x/case/#12 (deleted)>, \"hello\", 5) = 5
8 fsync(4</x/case>) = 0
";
        let found = read_points(trace, Path::new("/x/case"));
        let shown: Vec<String> = found
            .iter()
            .map(|point| format!("{} {:?} {}", point.call, point.path.as_deref(), point.nth))
            .collect();
        assert_eq!(
            shown,
            [
                "fsync Some(\"/PLACE\") 1",
                "openat Some(\"/PLACE/a\") 1",
                "write None 4",
                "write Some(\"/PLACE/a\") 1",
                "write Some(\"/PLACE/a\") 2",
            ]
        );
    }
}
