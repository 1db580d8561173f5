//! What the system refuses to the real programs: they warn and do without it, or say so on one line and end with a code. What the
//! program `faults refused` does at length, a sample of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use cjp2p_tests::content;
use cjp2p_tests::faults::Bench;
use cjp2p_tests::faults::callers::{CALLERS, Caller};
use cjp2p_tests::faults::refused;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::strace;
use cjp2p_tests::real::{binaries, tool};
use tempfile::TempDir;

/// An ordinary user, of whom this machine need not know.
const NOBODY: u32 = 54_321;

/// A server that shares a file, and a folder with it that everybody may read.
fn shared() -> (TempDir, Server, Vec<u8>) {
    let folder = tempfile::tempdir().expect("the disk takes it");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let share = folder.path().join("share");
    fs::create_dir(&share).expect("the disk takes it");
    let bytes = content::bytes(5, 600_000);
    fs::write(share.join("file"), &bytes).expect("the disk takes it");
    let server = Server::start(&share, &folder.path().join("server-state"), &[]);
    (folder, server, bytes)
}

/// Runs a tool in which nothing is told but what is under test. Gives what it wrote, and its warnings about the state folder.
fn run(command: &mut Command, arguments: &[&str], code: i32) -> (Output, Vec<String>) {
    let ended = command.args(arguments).output().expect("it starts");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(code), "{command:?}: {told}");
    let about = told.lines().filter(|line| line.contains("state")).map(str::to_owned).collect();
    (ended, about)
}

/// Serves, fetches and asks with this state folder; each of the three tools says once that it does without.
fn all_do_without_it(
    make: impl Fn(&str) -> Command,
    folder: &Path,
    server: &Server,
    bytes: &[u8],
    told: &str,
) {
    let [id, _] = server.ids("file");
    let peer = server.address.to_string();
    let share = folder.join("share");
    let serve = ["--json", "--listen", "127.0.0.1:0", "--for", "500ms", share.to_str().expect("it is UTF-8")];
    let (served, serve_told) = run(&mut make("cjp2p-serve"), &serve, 0);
    assert!(String::from_utf8_lossy(&served.stdout).contains(r#""event":"shared""#), "{served:?}");
    let (fetched, get_told) = run(&mut make("cjp2p-get"), &[&id, "--peer", &peer], 0);
    assert!(fetched.stdout == bytes);
    let (pinged, ping_told) = run(&mut make("cjp2p-peers"), &["ping", &peer], 0);
    assert!(String::from_utf8_lossy(&pinged.stdout).starts_with(&peer), "{pinged:?}");
    for lines in [serve_told, get_told, ping_told] {
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("warning: state folder: ") && lines[0].contains(told), "{lines:?}");
    }
    // What is about the table alone cannot be done.
    let (_, add_told) = run(&mut make("cjp2p-peers"), &["add", "127.0.0.1:9"], 1);
    assert_eq!(add_told.len(), 1, "{add_told:?}");
    for tool in ["cjp2p-serve", "cjp2p-get"] {
        let what = if tool == "cjp2p-serve" { share.to_str().expect("it is UTF-8") } else { &*id };
        let arguments = ["--lock", "fail", "--listen", "127.0.0.1:0", what];
        let locked = make(tool).args(arguments).output().expect("it starts");
        let told = String::from_utf8_lossy(&locked.stderr).into_owned();
        assert!(locked.status.code() == Some(1) && told.contains("lock: "), "{told}");
    }
}

#[test]
fn tools_that_can_do_without_a_state_folder_say_so_once_and_go_on() {
    let (folder, server, bytes) = shared();
    fs::write(folder.path().join("plain"), "").expect("the disk takes it");
    let make = |name: &str| tool(name, &folder.path().join("plain/state"));
    all_do_without_it(make, folder.path(), &server, &bytes, "Not a directory");
}

#[test]
fn a_state_folder_that_cannot_be_written_is_told_once_and_the_rest_goes_on() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped, since only root can run a tool as somebody else");
        return;
    }
    let (folder, server, bytes) = shared();
    let state = folder.path().join("state");
    fs::create_dir(&state).expect("the disk takes it");
    fs::set_permissions(&state, Permissions::from_mode(0o755)).expect("it is ours");
    let make = |name: &str| {
        // The folder that the binaries are in may be somebody's own.
        let copy = folder.path().join(name);
        if !copy.exists() {
            fs::copy(binaries().join(name), &copy).expect("the disk takes it");
        }
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]);
        command.arg("--inh-caps=-all").arg(copy).current_dir("/");
        command.env("CJP2P_BOOTSTRAP", "").env("CJP2P_NO_LAN", "1").env("CJP2P_STATE_DIR", &state);
        command.env_remove("RUST_LOG").stdin(std::process::Stdio::null());
        command
    };
    all_do_without_it(make, folder.path(), &server, &bytes, "cannot be written");
}

/// Bytes that are fetched and hashed: enough for hashing with several threads.
const SMALL: usize = 2_500_000;

fn bench() -> Option<Bench> {
    if let Some(why) = strace::unavailable() {
        eprintln!("skipped, since no call can be made to fail here: {why}");
        return None;
    }
    Some(Bench::new(SMALL, None).expect("a bench"))
}

fn caller(name: &str) -> &'static Caller {
    CALLERS.iter().find(|caller| caller.name == name).expect("it is there")
}

#[test]
fn whatever_call_is_refused_the_tools_end_well_or_with_a_line_and_a_code() {
    let Some(bench) = bench() else { return };
    let seed = fastrand::u64(..1 << 32);
    eprintln!("seed {seed}");
    for caller in CALLERS {
        let tally = refused::refuse_each(&bench, caller, Some(8), seed).expect("it goes well alone");
        assert!(tally.wrong.is_empty(), "{}: {:#?}", caller.name, tally.wrong);
    }
}

#[test]
fn what_can_be_done_without_is() {
    let Some(bench) = bench() else { return };
    let threads = ("clone,clone3", "EAGAIN");
    let locks = ("flock", "ENOLCK");
    for (name, (calls, error)) in [
        ("hash", threads),
        ("hash, of a pipe", threads),
        ("get -o", threads),
        ("get -o", locks),
        ("peers add", locks),
        ("serve, hashing", locks),
        ("serve, hashing", ("inotify_add_watch", "ENOSPC")),
        ("serve, hashing", ("inotify_init1", "EMFILE")),
        ("get -o", ("fsync", "EINVAL")),
    ] {
        let ended = refused::refuse_all(&bench, caller(name), calls, error);
        let ended = ended.unwrap_or_else(|what| panic!("{name}: {calls}: {error}: {what}"));
        assert_eq!(ended.code, Some(0), "{name}: {calls}: {error}: {}", ended.stderr);
    }
    for (name, told) in [
        ("get -, SHA-256, to a folder", "standard input: no thread can be started to read it: "),
        ("serve, hashing", "threads: "),
    ] {
        let ended =
            refused::refuse_all(&bench, caller(name), threads.0, threads.1).expect("a line and a code");
        assert!(ended.code == Some(1) && ended.stderr.contains(told), "{name}: {}", ended.stderr);
    }
}

#[test]
fn the_limit_of_watches_that_is_reached_is_named() {
    if strace::unavailable().is_some() {
        return;
    }
    let folder = tempfile::tempdir().expect("the disk takes it");
    for (call, error, limit) in [
        ("inotify_add_watch", "ENOSPC", "fs.inotify.max_user_watches"),
        ("inotify_init1", "EMFILE", "fs.inotify.max_user_instances"),
    ] {
        let mut serve = tool("cjp2p-serve", &folder.path().join("state"));
        serve.args(["--listen", "127.0.0.1:0", "--for", "300ms"]).arg(folder.path());
        let mut command = strace::strace(Path::new("/dev/null"));
        command.args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:error={error}")]);
        let ended = strace::under(&mut command, &serve).output().expect("it starts");
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{told}");
        let about: Vec<&str> = told.lines().filter(|line| line.contains("cannot watch")).collect();
        assert!(about.len() == 1 && about[0].contains(limit), "{told}");
    }
}

#[test]
fn a_file_that_cannot_be_read_for_want_of_memory_is_shared_when_there_is_some_again() {
    if strace::unavailable().is_some() {
        return;
    }
    let folder = tempfile::tempdir().expect("the disk takes it");
    let share = folder.path().join("share");
    fs::create_dir(&share).expect("the disk takes it");
    fs::write(share.join("file"), content::bytes(6, 5_000)).expect("the disk takes it");
    let mut serve = tool("cjp2p-serve", &folder.path().join("state"));
    serve.args(["--json", "--listen", "127.0.0.1:0", "--for", "4s"]).arg(&share);
    let mut command = strace::strace(Path::new("/dev/null"));
    // The first of each thread that hashes.
    command.arg("-P").arg(share.join("file"));
    command.args(["-e", "trace=pread64", "-e", "inject=pread64:error=ENOMEM:when=1"]);
    let ended = strace::under(&mut command, &serve).output().expect("it starts");
    let (out, told) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(told.contains("Cannot allocate memory"), "{told}");
    assert!(ended.status.success() && out.contains(r#""event":"shared""#), "{out}{told}");
}

/// However few descriptors there may be, the loader's own included.
#[test]
fn with_few_descriptors_the_tools_end_well_or_with_a_line_and_a_code() {
    let bench = Bench::new(SMALL, None).expect("a bench");
    for name in ["get -o", "get, to a pipe", "hash", "peers ping", "peers add", "serve, hashing"] {
        let caller = caller(name);
        for descriptors in 4..20 {
            let folder = bench.fresh().expect("the disk takes it");
            (caller.prepare)(&bench, folder.path()).expect("the disk takes it");
            let inner = (caller.command)(&bench, folder.path()).expect("a command");
            let mut command = Command::new("sh");
            command.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &descriptors.to_string()]);
            let ended = bench.run(strace::under(&mut command, &inner)).expect("it comes to an end");
            let codes: Vec<i32> = caller.codes.iter().copied().chain([0]).collect();
            ended
                .is_proper(caller.tool, &codes)
                .unwrap_or_else(|what| panic!("{name}, {descriptors} descriptors: {what}"));
            if ended.code == Some(0) {
                (caller.right)(&bench, folder.path(), &ended)
                    .unwrap_or_else(|what| panic!("{name}, {descriptors} descriptors: {what}"));
            }
        }
    }
}

#[test]
fn files_that_do_not_say_how_long_they_are_hash_as_they_read_and_are_not_served() {
    let folder = tempfile::tempdir().expect("the disk takes it");
    let mut seen = 0;
    for path in ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/class/net/lo/address"]
    {
        let Ok(bytes) = fs::read(path) else { continue };
        seen += 1;
        for (algorithm, id) in
            [("sha256", content::sha256_id(&bytes)), ("blake3", content::blake3_id(&bytes))]
        {
            let mut hash = tool("cjp2p-hash", folder.path());
            let ended = hash.args(["--algorithm", algorithm, path]).output().expect("it starts");
            assert_eq!(String::from_utf8_lossy(&ended.stdout), format!("{id}  {path}\n"));
        }
        let mut serve = tool("cjp2p-serve", folder.path());
        serve.args(["--json", "--listen", "127.0.0.1:0", "--for", "500ms", path]);
        let ended = serve.stderr(Stdio::piped()).output().expect("it starts");
        let (out, told) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert!(ended.status.success() && out.contains("ready") && !out.contains("shared"), "{out}{told}");
        assert!(told.contains("bytes than it says: not shared"), "{told}");
    }
    assert!(seen > 0, "there is no such file");
}
