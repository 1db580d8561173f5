//! Every system call that a tool makes, from the first of its own on, is refused: `strace` answers it with an error in the
//! kernel's place, once, or each time from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Child, Command, Stdio};

use super::callers::Caller;
use super::{Bench, Ended};
use crate::lab::Error;
use crate::real::strace::{insist, strace, under, worked};

/// What ends a process or a thread, what cannot fail, and `futex`, whose errors are part of how locks work.
const NEVER: &[&str] = &[
    "clock_gettime",
    "clock_nanosleep",
    "execve",
    "exit",
    "exit_group",
    "futex",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "gettid",
    "getuid",
    "nanosleep",
    "restart_syscall",
    "rt_sigreturn",
    "sched_yield",
    "set_tid_address",
    "tgkill",
    "umask",
];

/// By which memory is had and given back. Where there is none, a Rust program is ended by its allocator or by the start of a
/// thread, and can do nothing about it; all that is asked of it then is to leave nothing wrong.
const MEMORY: &[&str] = &["brk", "madvise", "mmap", "mprotect", "mremap", "munmap", "sigaltstack"];

/// What the system may answer to each call: for limits that are reached, for what is not allowed, for what breaks, and for
/// what a kernel or a filter of system calls does not know. Of those that are not named, the last line.
const ERRORS: &[(&[&str], &[&str])] = &[
    (MEMORY, &["ENOMEM"]),
    (THREADS, &["EAGAIN", "ENOMEM", "EPERM"]),
    (
        &["open", "openat", "openat2"],
        &["EACCES", "EMFILE", "ENFILE", "EIO", "EROFS", "ENOSPC", "EINTR", "ELOOP", "ENOSYS"],
    ),
    (&["read", "readv", "pread64", "preadv"], &["EIO", "EINTR", "EAGAIN", "EISDIR"]),
    (&["write", "writev", "pwrite64", "pwritev"], &["ENOSPC", "EIO", "EINTR", "EAGAIN", "EPIPE", "EFBIG"]),
    (
        &["stat", "fstat", "lstat", "newfstatat", "statx", "fstatfs", "statfs"],
        &["EACCES", "EIO", "ENOENT", "ENOSYS"],
    ),
    (&["access", "faccessat", "faccessat2"], &["EACCES", "ENOENT", "EROFS", "ENOSYS"]),
    (&["getdents64"], &["EIO", "ENOENT"]),
    // Not EAGAIN: somebody else holds the lock then, and is waited for.
    (&["flock"], &["ENOLCK", "EOPNOTSUPP", "EINTR", "EINVAL", "ENOSYS", "EIO"]),
    (&["fcntl"], &["EMFILE", "EINTR", "EINVAL", "ENOSYS", "EPERM"]),
    (&["fsync", "fdatasync", "sync_file_range"], &["EIO", "EINVAL", "ENOSPC", "EROFS"]),
    (&["ftruncate", "fallocate", "copy_file_range"], &["ENOSPC", "EFBIG", "EIO", "EOPNOTSUPP", "EINTR"]),
    (
        &["rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat"],
        &["EACCES", "EROFS", "ENOSPC", "EIO", "EPERM", "EINVAL"],
    ),
    (&["chmod", "fchmod", "fchmodat", "fadvise64"], &["EPERM", "EINVAL", "ENOSYS"]),
    (&["lseek"], &["ESPIPE", "EINVAL"]),
    (&["ioctl"], &["ENOTTY", "EINVAL", "EIO"]),
    (&["close"], &["EIO", "EINTR"]),
    (
        &["socket", "socketpair", "pipe2", "dup", "dup2", "dup3"],
        &["EMFILE", "ENFILE", "EACCES", "EAFNOSUPPORT", "ENOBUFS"],
    ),
    (
        &["bind", "connect", "getsockname", "listen"],
        &["EADDRINUSE", "EACCES", "EADDRNOTAVAIL", "ENETUNREACH", "ENOBUFS"],
    ),
    (&["setsockopt", "getsockopt"], &["ENOPROTOOPT", "EPERM", "ENOBUFS", "EINVAL"]),
    (
        &["sendto", "sendmsg", "sendmmsg"],
        &[
            "ENETUNREACH",
            "EPERM",
            "ENOBUFS",
            "EAGAIN",
            "EMSGSIZE",
            "ECONNREFUSED",
            "EINTR",
            "EIO",
            "EINVAL",
            "ENOSYS",
        ],
    ),
    (
        &["recvfrom", "recvmsg", "recvmmsg"],
        &["EAGAIN", "ECONNREFUSED", "EINTR", "ENOMEM", "ENOBUFS", "ENOSYS"],
    ),
    (&["poll", "ppoll", "epoll_wait", "epoll_ctl"], &["EINTR", "ENOMEM", "EINVAL"]),
    (
        &["eventfd2", "signalfd4", "inotify_init1", "epoll_create1", "timerfd_create"],
        &["EMFILE", "ENFILE", "ENOMEM", "ENOSYS"],
    ),
    (&["inotify_add_watch"], &["ENOSPC", "ENOMEM", "EACCES", "ENOENT"]),
    // Not EAGAIN, which is for those who ask not to wait.
    (&["getrandom"], &["ENOSYS", "EINTR"]),
    (
        &["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp", "prctl"],
        &["ENOSYS", "EPERM", "EOPNOTSUPP", "EINVAL", "E2BIG"],
    ),
];
const OTHERS: &[&str] = &["EPERM", "ENOSYS", "EINVAL"];

/// Calls that are refused for files only, path by path, where a tool has an event loop: no kernel refuses to read or write an eventfd
/// for want of room, and who waits for one would wait for ever.
const OF_FILES: &[&str] = &["read", "write", "writev"];

/// Errors that ask to try again, with which nothing is answered for ever; threads alone may never be had.
const TRY_AGAIN: &[&str] = &["EINTR", "EAGAIN"];
const THREADS: &[&str] = &["clone", "clone3"];

/// Calls of each name that are refused alone, at the most: the first ones, and others spread over the rest.
const FIRST: usize = 3;
const SPREAD: usize = 3;

/// Which call is refused, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The call.
    pub call: String,
    /// The file that it is about, where it is refused for one only. [`PLACE`] stands for the folder of the case.
    path: Option<String>,
    /// With which error.
    pub error: &'static str,
    /// The how manyth of a thread it is.
    nth: usize,
    /// And each of the same name after it.
    and_later: bool,
}

/// How a tool ended when one kind of call was refused.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Runs in which a call was refused.
    pub runs: usize,
    /// The codes with which they ended.
    pub codes: BTreeSet<i32>,
    /// Runs that were out of memory and ended by that.
    pub out_of_memory: usize,
}

/// What became of a tool.
#[derive(Debug, Default)]
pub struct Tally {
    /// By the name of the call.
    pub rows: BTreeMap<String, Row>,
    /// What went wrong, with the call that was refused.
    pub wrong: Vec<String>,
}

/// Refuses calls of a tool: one run for each, or about `most` of these, other ones for each seed.
///
/// # Errors
///
/// Where it does not go well without any refusal.
pub fn refuse_each(bench: &Bench, caller: &Caller, most: Option<usize>, seed: u64) -> Result<Tally, Error> {
    let mut points: Vec<Point> = insist(|| points(bench, caller))?.into_iter().collect();
    if let Some(most) = most {
        // Of memory the ordinary tests ask nothing: its end leaves a dump of the process behind.
        points.retain(|point| !MEMORY.contains(&point.call.as_str()));
        fastrand::Rng::with_seed(seed).shuffle(&mut points);
        points.truncate(most);
    }
    let mut tally = Tally::default();
    for point in &points {
        refuse(bench, caller, point, &mut tally);
    }
    Ok(tally)
}

/// Refuses every call of this name from the first on, with this error.
///
/// # Errors
///
/// Says what is wrong, also where there was no such call.
pub fn refuse_all(bench: &Bench, caller: &Caller, call: &str, error: &'static str) -> Result<Ended, Error> {
    let point = Point { call: call.to_owned(), path: None, error, nth: 1, and_later: true };
    match insist(|| run(bench, caller, &point))? {
        (ended, true) => Ok(ended),
        (_, false) => Err(format!("{} makes no {call}", caller.name).into()),
    }
}

fn refuse(bench: &Bench, caller: &Caller, point: &Point, tally: &mut Tally) {
    let row = tally.rows.entry(point.call.clone()).or_default();
    match insist(|| run(bench, caller, point)) {
        Ok((_, false)) => {}
        Ok((ended, true)) => {
            row.runs += 1;
            match ended.code {
                Some(code) => drop(row.codes.insert(code)),
                None => row.out_of_memory += 1,
            }
        }
        Err(what) => {
            row.runs += 1;
            let Point { call, path, error, nth, and_later } = point;
            let later = if *and_later { " and later" } else { "" };
            let of = path.as_deref().map(|path| format!(" of {path}")).unwrap_or_default();
            tally.wrong.push(format!("{call} {nth}{of}{later}: {error}: {what}"));
        }
    }
}

/// A tool's output is as it should be; gives also whether the call was refused at all.
fn run(bench: &Bench, caller: &Caller, point: &Point) -> Result<(Ended, bool), Error> {
    let folder = bench.fresh()?;
    let folder = folder.path();
    (caller.prepare)(bench, folder)?;
    let trace = bench.beside("trace");
    let mut command = strace(&trace);
    let Point { call, path, error, nth, and_later } = point;
    let later = if *and_later { "+" } else { "" };
    if let Some(path) = path {
        command.arg("-P").arg(path.replace(PLACE, &folder.to_string_lossy()));
    }
    command.arg("-e").arg(format!("trace={call}"));
    command.arg("-e").arg(format!("inject={call}:error={error}:when={nth}{later}"));
    let ended = traced(bench, &mut command, caller, folder)?;
    let trace = fs::read_to_string(trace)?;
    let refused: Vec<&str> = trace.lines().filter(|line| line.contains("(INJECTED)")).collect();
    // Nothing can be told where just that is refused, and less where it was told that there is no more room for it.
    let is_mute = refused.iter().any(|line| line.contains(" write(2<") || line.contains(" writev(2<"));
    is_proper(caller, point, &ended, is_mute)?;
    if ended.code == Some(0) {
        (caller.right)(bench, folder, &ended)?;
    }
    Ok((ended, !refused.is_empty()))
}

fn is_proper(caller: &Caller, point: &Point, ended: &Ended, is_mute: bool) -> Result<(), String> {
    if MEMORY.contains(&point.call.as_str()) && ended.code.is_none() {
        // By SIGABRT or, without a stack, SIGSEGV.
        return if matches!(ended.signal, Some(6 | 11)) { Ok(()) } else { Err(format!("{ended:?}")) };
    }
    let reader_is_gone = point.error == "EPIPE" && ended.code == Some(141);
    let codes: Vec<i32> = caller.codes.iter().copied().chain([0]).collect();
    if is_mute {
        let is_named = ended.code.is_some_and(|code| codes.contains(&code)) || reader_is_gone;
        return if is_named {
            Ok(())
        } else {
            Err(format!("ended with {:?}, {:?}", ended.code, ended.signal))
        };
    }
    // A list that does not match has a last line that counts.
    let summary = ended.stderr.lines().filter(|line| line.contains(": WARNING: ")).count();
    if summary > 0 {
        let stderr: Vec<&str> = ended.stderr.lines().filter(|line| !line.contains(": WARNING: ")).collect();
        let rest = Ended { stderr: stderr.join("\n"), stdout: Vec::new(), ..*ended };
        return rest.is_proper(caller.tool, &codes);
    }
    // Whose reader has gone away, tells nothing.
    if reader_is_gone && ended.stderr.lines().all(|line| line.contains(": warning: ")) {
        return Ok(());
    }
    ended.is_proper(caller.tool, &codes)
}

/// Runs the tool by this command of strace, and beside it what makes use of it.
fn traced(
    bench: &Bench,
    strace: &mut Command,
    caller: &Caller,
    folder: &std::path::Path,
) -> Result<Ended, Error> {
    let program = (caller.command)(bench, folder)?;
    let stdin = caller.stdin.map(|stdin| stdin(folder)).transpose()?;
    let strace = under(strace, &program);
    if let Some(stdin) = stdin {
        strace.stdin(stdin);
    }
    let user = caller.beside.map(|beside| beside(bench, folder));
    let user = user.map(|mut user| user.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()).transpose()?;
    let ended = bench.run(strace);
    if let Some(user) = user {
        is_served_right(bench, user)?;
    }
    let ended = ended?;
    worked(&ended.stderr)?;
    Ok(ended)
}

/// Waits for a getter: what it got is right, or it got nothing.
fn is_served_right(bench: &Bench, user: Child) -> Result<(), Error> {
    let got = user.wait_with_output()?;
    let is_right = match got.status.code() {
        Some(0) => got.stdout == bench.content,
        // A file that cannot be opened, as where a link has taken its place, is withdrawn.
        Some(3 | 4 | 8) => bench.content.starts_with(&got.stdout),
        _ => false,
    };
    if is_right { Ok(()) } else { Err(format!("the getter ended with {:?}", got.status).into()) }
}

/// The calls of a run in which nothing is refused.
fn points(bench: &Bench, caller: &Caller) -> Result<BTreeSet<Point>, Error> {
    let folder = bench.fresh()?;
    (caller.prepare)(bench, folder.path())?;
    let trace = bench.beside("trace");
    let mut command = strace(&trace);
    // All but one that nobody makes: of all of them strace makes no filter.
    command.args(["-e", "trace=!restart_syscall"]);
    let ended = traced(bench, &mut command, caller, folder.path())?;
    ended.is_proper(caller.tool, &[0]).and_then(|()| (caller.right)(bench, folder.path(), &ended))?;
    let by_path = caller.tool != "cjp2p-hash";
    let trace = fs::read_to_string(trace)?.replace(&*folder.path().to_string_lossy(), PLACE);
    Ok(choose(&count(&trace, by_path)?))
}

/// Stands for the folder of a case, which is another one each time.
const PLACE: &str = "/PLACE";

/// A call, and the file that it is about where that matters.
type Kind<'a> = (&'a str, Option<&'a str>);

/// What a call by this name with these arguments is counted as; `None` for one that is not refused.
fn kind<'a>(call: &'a str, arguments: &'a str, by_path: bool) -> Option<Kind<'a>> {
    if !by_path || !OF_FILES.contains(&call) {
        return Some((call, None));
    }
    let path = arguments.split_once('<')?.1.split_once('>')?.0;
    path.starts_with('/').then_some((call, Some(path)))
}

/// Of each call: how many were made before the tool's own first one, and how many by that thread which made the most.
fn count(trace: &str, by_path: bool) -> Result<BTreeMap<Kind<'_>, (usize, usize)>, String> {
    let mut counts: BTreeMap<(&str, Kind<'_>), usize> = BTreeMap::new();
    let mut before = None;
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        if !call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        // The first thing that all tools do.
        if before.is_none() && call == "rt_sigprocmask" && arguments.contains("SIG_BLOCK, [XFSZ]") {
            before = Some(counts.clone());
        }
        if let Some(kind) = kind(call, arguments, by_path) {
            *counts.entry((thread, kind)).or_default() += 1;
        }
    }
    let before = before.ok_or("the trace does not show where the tool begins")?;
    let mut found: BTreeMap<Kind<'_>, (usize, usize)> = BTreeMap::new();
    for (key, count) in counts {
        let (first, last) = found.entry(key.1).or_default();
        *first = (*first).max(before.get(&key).copied().unwrap_or(0));
        *last = (*last).max(count);
    }
    Ok(found)
}

fn choose(counts: &BTreeMap<Kind<'_>, (usize, usize)>) -> BTreeSet<Point> {
    let mut points = BTreeSet::new();
    for (&(call, path), &(before, last)) in counts {
        if NEVER.contains(&call) || before == last {
            continue;
        }
        let left = last - before;
        let spread = (1..=SPREAD).map(|part| before + FIRST + (left.saturating_sub(FIRST)) * part / SPREAD);
        let some: BTreeSet<usize> =
            (before + 1..=before + FIRST).chain(spread).filter(|nth| *nth <= last).collect();
        let named =
            ERRORS.iter().find(|(calls, _)| calls.contains(&call)).map_or(OTHERS, |(_, errors)| errors);
        for &error in named {
            let point = |nth, and_later| {
                let path = path.map(str::to_owned);
                Point { call: call.to_owned(), path, error, nth, and_later }
            };
            points.extend(some.iter().map(|&nth| point(nth, false)));
            if !TRY_AGAIN.contains(&error) || THREADS.contains(&call) {
                points.insert(point(before + 1, true));
            }
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_from_the_first_of_the_tool_itself_and_a_few_of_each_are_chosen() {
        let mut trace = String::from(
            "7 openat(AT_FDCWD</w>, \"/etc/ld.so\", O_RDONLY) = 3</etc/ld.so>\n\
             7 brk(NULL) = 0x1\n\
             7 rt_sigprocmask(SIG_BLOCK, [XFSZ], [], 8) = 0\n\
             7 openat(AT_FDCWD</w>, \"/x\", O_RDONLY) = 3</x>\n\
             7 futex(0x1, FUTEX_WAKE) = 0\n\
             7 <... futex resumed>) = 0\n\
             7 +++ exited with 0 +++\n",
        );
        (0..20).for_each(|_| trace += "8 fsync(3</x>) = 0\n");
        trace += "8 write(4<anon_inode:[eventfd]>, \"1\", 8) = 8\n8 write(3</x>, \"1\", 8) = 8\n";
        let counts = count(&trace, true).unwrap();
        let of = |call| counts[&(call, None)];
        assert_eq!((of("openat"), of("fsync"), of("brk")), ((1, 2), (0, 20), (1, 1)));
        assert_eq!(counts.iter().filter(|(kind, _)| kind.0 == "write").count(), 1);
        assert_eq!(counts[&("write", Some("/x"))], (0, 1));
        assert_eq!(count(&trace, false).unwrap()[&("write", None)], (0, 2));
        let points = choose(&counts);
        let of = |call: &str, error: &str| -> Vec<(usize, bool)> {
            let same = points.iter().filter(|point| point.call == call && point.error == error);
            same.map(|point| (point.nth, point.and_later)).collect()
        };
        assert_eq!(of("openat", "EMFILE"), [(2, false), (2, true)]);
        assert_eq!(of("openat", "EINTR"), [(2, false)]);
        let fsync: Vec<usize> = of("fsync", "EIO").iter().map(|point| point.0).collect();
        assert_eq!(fsync, [1, 1, 2, 3, 8, 14, 20]);
        assert!(of("futex", "EINVAL").is_empty() && of("brk", "ENOMEM").is_empty());
        assert!(count("7 read(0) = 0\n", true).is_err());
    }
}
