//! The real tools with standard output and standard error as people and programs leave them: closed, thrown away, full, or set not
//! to block.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_tests::content::{self, blake3_id};
use cjp2p_tests::lab::scratch::in_memory;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::terminal::terminal;
use cjp2p_tests::real::{end_of, tool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, ioctl_fionread, write};
use rustix::pipe::fcntl_setpipe_size;
use tempfile::TempDir;

/// Much more than a pipe holds.
const LARGE: usize = 2_000_000;

struct Bench {
    folder: TempDir,
    server: Server,
}

impl Bench {
    /// A server that shares these files, and a folder to work in.
    fn sharing(files: &[(&str, &[u8])]) -> Bench {
        let folder = in_memory().expect("a folder");
        let share = folder.path().join("share");
        fs::create_dir(&share).expect("a folder");
        for (name, bytes) in files {
            fs::write(share.join(name), bytes).expect("a file");
        }
        let server = Server::start(&share, &folder.path().join("state"), &[]);
        Bench { folder, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tool(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = tool(name, &self.path("own-state"));
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    fn get(&self, arguments: &[&str]) -> Command {
        let mut command = self.tool("cjp2p-get", &["--peer", &self.server.address.to_string()]);
        command.args(arguments);
        command
    }
}

/// The same command, run by a shell that redirects it.
fn redirected(command: &Command, redirection: &str) -> Command {
    by_shell(":", command, redirection)
}

/// The same, and does something before.
fn by_shell(before: &str, command: &Command, redirection: &str) -> Command {
    let mut shell = Command::new("sh");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    shell.arg("-c").arg(format!("{before}; exec \"$0\" \"$@\" {redirection}"));
    shell.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    shell
}

fn code(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A pipe that holds no more than a page.
fn small_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    fcntl_setpipe_size(&writer, 4096).expect("a size that anybody may choose");
    (reader, writer)
}

fn set_not_to_block(pipe: &PipeWriter, value: bool) {
    let flags = fcntl_getfl(pipe).expect("flags");
    let flags = if value { flags | OFlags::NONBLOCK } else { flags - OFlags::NONBLOCK };
    fcntl_setfl(pipe, flags).expect("flags that anybody may choose");
}

#[track_caller]
fn wait_until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until nothing more comes into the pipe.
#[track_caller]
fn wait_until_full(reader: &PipeReader) {
    let (mut before, mut since) = (0, Instant::now());
    wait_until(|| {
        let there = ioctl_fionread(reader).expect("a number");
        if there != before {
            (before, since) = (there, Instant::now());
        }
        there > 0 && since.elapsed() > Duration::from_millis(500)
    });
}

#[track_caller]
fn terminate(mut child: Child) -> ExitStatus {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("it is there");
    let mut ended = None;
    wait_until(|| {
        ended = child.try_wait().expect("its end");
        ended.is_some()
    });
    ended.expect("it has ended")
}

#[test]
fn output_that_goes_nowhere_fails_unless_it_is_thrown_away_on_purpose() {
    let bench = Bench::sharing(&[("file", b"content")]);
    let id = blake3_id(b"content").to_string();
    let address = bench.server.address.to_string();
    let tools = [
        bench.get(&[&id]),
        bench.get(&[&id, "--json", "-o", "file"]),
        bench.tool("cjp2p-hash", &["share/file"]),
        bench.tool("cjp2p-hash", &["--json", "share/file"]),
        bench.tool("cjp2p-peers", &[]),
        bench.tool("cjp2p-peers", &["content", &address]),
        bench.tool("cjp2p-peers", &["ping", &address]),
        bench.tool("cjp2p-serve", &["--dry-run", "share"]),
        bench.tool("cjp2p-serve", &["--listen", "127.0.0.1:0", "--json", "--for", "1ms", "share"]),
        bench.tool("cjp2p-get", &["--help"]),
        bench.tool("cjp2p-hash", &["--version"]),
    ];
    for command in &tools {
        let (failed, told) = code(&mut redirected(command, ">&-"));
        assert_eq!(failed, Some(7), "{command:?}: {told}");
        assert!(told.contains(": standard output: Bad file descriptor"), "{told}");
        for redirection in ["> /dev/null", "1<> /dev/null", "> /dev/null 2>&-"] {
            let (done, told) = code(&mut redirected(command, redirection));
            assert_eq!(done, Some(0), "{command:?} {redirection}: {told}");
        }
    }
}

#[test]
fn a_tool_that_has_nothing_to_print_needs_no_standard_output() {
    let bench = Bench::sharing(&[("file", b"content")]);
    let id = blake3_id(b"content").to_string();
    fs::write(bench.path("list"), format!("{id}  share/file\n")).expect("a file");
    for command in [bench.get(&[&id, "-o", "file"]), bench.tool("cjp2p-hash", &["-c", "--status", "list"])] {
        let (done, told) = code(&mut redirected(&command, ">&- 2>&- <&-"));
        assert_eq!(done, Some(0), "{command:?}: {told}");
    }
    assert_eq!(fs::read(bench.path("file")).expect("a file"), b"content");
}

#[test]
fn standard_input_that_is_closed_is_no_empty_content() {
    let bench = Bench::sharing(&[]);
    for arguments in [&[][..], &["-"], &["-c"]] {
        let (failed, told) = code(&mut redirected(&bench.tool("cjp2p-hash", arguments), "<&-"));
        assert_eq!(failed, Some(1), "{told}");
        assert!(told.contains("Bad file descriptor"), "{told}");
    }
}

#[test]
fn standard_output_that_is_set_not_to_block_is_waited_for() {
    let bytes = content::bytes(1, LARGE);
    let names: Vec<String> = (0..40).map(|n| format!("name-{n}-{}", "x".repeat(100))).collect();
    let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, name.as_bytes())).collect();
    files.push(("large", &bytes));
    let bench = Bench::sharing(&files);
    let ids = bench.server.ids("large");
    let address = bench.server.address.to_string();
    let paths: Vec<String> = names.iter().map(|name| format!("share/{name}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let commands = [
        bench.get(&[&ids[0]]),
        bench.get(&[&ids[1]]),
        bench.tool("cjp2p-hash", &paths),
        bench.tool("cjp2p-peers", &["content", &address]),
    ];
    for mut command in commands {
        let expected = command.output().expect("it runs");
        assert!(expected.status.success() && expected.stdout.len() > 4096, "{command:?}: {expected:?}");
        let (mut reader, writer) = small_pipe();
        set_not_to_block(&writer, true);
        let child = command.stdout(writer).stderr(Stdio::piped()).spawn().expect("it starts");
        // The other end of the pipe.
        command.stdout(Stdio::null());
        wait_until_full(&reader);
        let mut found = Vec::new();
        reader.read_to_end(&mut found).expect("bytes");
        let Output { status, stderr, .. } = child.wait_with_output().expect("its end");
        assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
        assert!(found == expected.stdout, "{command:?}: {} bytes", found.len());
    }
}

#[test]
fn a_tool_whose_output_nobody_takes_is_ended_by_term() {
    let names: Vec<String> = (0..60).map(|n| format!("name-{n}-{}", "x".repeat(100))).collect();
    let contents: Vec<String> = (0..60).map(|n| format!("content {n}")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&contents).map(|(name, bytes)| (&**name, bytes.as_bytes())).collect();
    let bench = Bench::sharing(&files);
    let address = bench.server.address.to_string();
    let ids: Vec<String> = contents.iter().map(|bytes| blake3_id(bytes.as_bytes()).to_string()).collect();
    let paths: Vec<String> = names.iter().map(|name| format!("share/{name}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let commands = [
        bench.get(&[&["--json", "--into", "to"][..], &ids].concat()),
        bench.tool("cjp2p-peers", &["content", &address]),
        bench.tool("cjp2p-hash", &paths),
        bench.tool("cjp2p-serve", &["--listen", "127.0.0.1:0", "share"]),
        bench.tool("cjp2p-serve", &["--listen", "127.0.0.1:0", "--json", "share"]),
    ];
    for mut command in commands {
        let (reader, writer) = small_pipe();
        let child = command.stdout(writer).stderr(Stdio::null()).spawn().expect("it starts");
        command.stdout(Stdio::null());
        wait_until_full(&reader);
        assert_eq!(terminate(child).signal(), Some(15), "{command:?}");
    }
}

#[test]
fn a_terminal_that_shows_nothing_any_more_holds_nobody_up() {
    let bytes = content::bytes(3, LARGE);
    let bench = Bench::sharing(&[("large", &bytes)]);
    let id = blake3_id(&bytes).to_string();
    let (mut master, slave) = terminal(80).expect("a terminal");
    fcntl_setfl(&slave, OFlags::RDWR | OFlags::NONBLOCK).expect("flags that anybody may choose");
    while write(&slave, &[b'x'; 1000]) != Err(Errno::AGAIN) {}
    fcntl_setfl(&slave, OFlags::RDWR).expect("flags that anybody may choose");
    // Now there is room for a part of a line.
    master.read_exact(&mut [0; 10]).expect("bytes");
    let stuck = |command: &mut Command| -> Child {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.env("TERM", "xterm").stderr(slave.try_clone().expect("a descriptor"));
        command.spawn().expect("it starts")
    };
    for arguments in [&["-vvv"][..], &["--progress", "always"]] {
        let mut done = bench.get(&[arguments, &[&id, "-o", "file", "--force"]].concat());
        assert!(end_of(&mut stuck(&mut done)).success());
        let nobody = blake3_id(b"nothing").to_string();
        let mut waits = bench.get(&[arguments, &["--timeout", "5m", &nobody, "-o", "to"]].concat());
        let waits = stuck(&mut waits);
        wait_until(|| has_begun(waits.id()));
        assert_eq!(terminate(waits).signal(), Some(15));
        let serve = ["--listen", "127.0.0.1:0", "share"];
        let serves = stuck(&mut bench.tool("cjp2p-serve", &[arguments, &serve].concat()));
        wait_until(|| has_begun(serves.id()));
        assert_eq!(terminate(serves).signal(), Some(15));
    }
}

#[test]
fn a_bar_has_room_in_a_terminal_of_any_width() {
    let bench = Bench::sharing(&[]);
    let nobody = blake3_id(b"nothing").to_string();
    for columns in [1, 4, 8, 10, 80] {
        let (mut master, slave) = terminal(columns).expect("a terminal");
        let mut get = bench.get(&["--progress", "always", "--timeout", "500ms", "-o", "to", &nobody]);
        get.stdout(Stdio::null()).env("TERM", "xterm");
        let mut child = get.stderr(slave).spawn().expect("it starts");
        // The other end of the terminal.
        get.stderr(Stdio::null());
        let mut shown = Vec::new();
        // Ends with an error once nobody has the terminal open.
        let _ = master.read_to_end(&mut shown);
        assert_eq!(end_of(&mut child).code(), Some(3));
        let shown = String::from_utf8(shown).expect("text");
        let lines = shown.split(['\r', '\n']).map(|line| line.trim_start_matches("\x1b[K"));
        let bars: Vec<&str> = lines.filter(|line| !line.starts_with("cjp2p-get: ")).collect();
        assert!(bars.iter().all(|line| line.len() < usize::from(columns)), "{columns}: {shown:?}");
        let widest =
            bars.iter().map(|line| line.trim_end()).max_by_key(|line| line.len()).unwrap_or_default();
        assert!("0 B, 0 B/s".starts_with(widest), "{columns}: {shown:?}");
        assert_eq!(
            widest.len(),
            usize::from(columns - 1).min(if columns < 11 { 3 } else { 10 }),
            "{shown:?}"
        );
    }
}

#[test]
fn standard_input_that_is_set_not_to_block_is_waited_for() {
    let bench = Bench::sharing(&[("file", b"content")]);
    let id = blake3_id(b"content").to_string();
    let commands = [
        (bench.tool("cjp2p-hash", &["-"]), "slow", blake3_id(b"slow").to_string()),
        (bench.get(&["-", "--json", "--into", "to"]), &*id, "complete".to_owned()),
        (bench.tool("cjp2p-peers", &["set", "-"]), "[]", String::new()),
    ];
    for (mut command, text, expected) in commands {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let flags = fcntl_getfl(&reader).expect("flags");
        fcntl_setfl(&reader, flags | OFlags::NONBLOCK).expect("flags that anybody may choose");
        let child = command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.expect("it starts");
        command.stdin(Stdio::null());
        thread::sleep(Duration::from_millis(100));
        writer.write_all(text.as_bytes()).expect("somebody reads");
        drop(writer);
        let found = child.wait_with_output().expect("its end");
        assert!(found.status.success(), "{command:?}: {found:?}");
        assert!(String::from_utf8_lossy(&found.stdout).contains(&expected), "{command:?}: {found:?}");
    }
}

#[test]
fn a_tool_whose_complaints_nobody_reads_does_its_work_and_answers_signals() {
    let bytes = content::bytes(2, LARGE);
    let bench = Bench::sharing(&[("large", &bytes)]);
    let id = blake3_id(&bytes).to_string();
    let (reader, writer) = small_pipe();
    set_not_to_block(&writer, true);
    while write(&writer, b"x") != Err(Errno::AGAIN) {}
    set_not_to_block(&writer, false);
    let stuck = |command: &mut Command| -> Child {
        let writer = writer.try_clone().expect("a descriptor");
        command.stdout(Stdio::piped()).stderr(writer).spawn().expect("it starts")
    };
    let done = stuck(bench.get(&["-vvv", "--progress", "always", &id, "-o", "file"]).stdin(Stdio::null()));
    assert!(done.wait_with_output().expect("its end").status.success());
    assert!(fs::read(bench.path("file")).expect("a file") == bytes);
    // Nobody has it.
    let mut waits = bench.get(&["-v", "--timeout", "5m", &blake3_id(b"nothing").to_string(), "-o", "to"]);
    let waits = stuck(&mut waits);
    wait_until(|| has_begun(waits.id()));
    assert_eq!(terminate(waits).signal(), Some(15));
    drop(reader);
}

/// Whether a process has its own handling of TERM.
fn has_begun(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask >> (Signal::SIGTERM as u32 - 1) & 1 == 1)
}

#[test]
fn hup_that_was_ignored_at_the_start_stays_so_in_confinement_and_without() {
    let bench = Bench::sharing(&[]);
    let nobody = blake3_id(b"nothing").to_string();
    for arguments in [
        &["--timeout", "5m", "-o", "to", &nobody][..],
        &["--no-sandbox", "--timeout", "5m", &nobody, "-o", "to"],
    ] {
        let mut shell = by_shell("trap '' HUP", &bench.get(arguments), "2> /dev/null");
        let mut child = shell.spawn().expect("it starts");
        wait_until(|| has_begun(child.id()));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGHUP).expect("it is there");
        // A second signal would arrive after the first.
        thread::sleep(Duration::from_millis(300));
        assert_eq!(child.try_wait().expect("its state"), None, "{arguments:?}");
        assert_eq!(terminate(child).signal(), Some(15));
    }
}
