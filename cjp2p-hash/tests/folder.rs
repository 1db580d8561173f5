//! `--folder`: the ids of folders, and checking folders against them.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

use common::{HI_BLAKE3, complaint, folder, pipe, run, stdout, text, tool};

/// What a list in `docs/folder-format.md` makes of it, without the library.
fn id_of(lines: &[String]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("folder/{}", blake3::hash(text.as_bytes()).to_hex())
}

fn first_line(output: &str) -> &str {
    output.lines().next().unwrap()
}

fn set_time(path: &Path, seconds: u64, nanos: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// A folder with one of everything, and the lines of its list.
fn small(at: &Path) -> Vec<String> {
    fs::create_dir_all(at.join("bin")).unwrap();
    fs::create_dir(at.join("empty")).unwrap();
    fs::write(at.join("bin/run"), "hi").unwrap();
    fs::set_permissions(at.join("bin/run"), Permissions::from_mode(0o744)).unwrap();
    fs::write(at.join("bin.txt"), "hi").unwrap();
    fs::set_permissions(at.join("bin.txt"), Permissions::from_mode(0o611)).unwrap();
    fs::write(at.join(OsStr::from_bytes(b"caf\xe9%")), "hi").unwrap();
    symlink("../outside/\"x", at.join("link")).unwrap();
    let file = format!(r#""kind":"file","length":2,"blake3":"{HI_BLAKE3}""#);
    vec![
        r#"{"path":"bin","kind":"folder"}"#.into(),
        format!(r#"{{"path":"bin.txt",{file}}}"#),
        format!(r#"{{"path":"bin/run",{file},"exec":true}}"#),
        format!(r#"{{"path_escaped":"caf%E9%25",{file}}}"#),
        r#"{"path":"empty","kind":"folder"}"#.into(),
        r#"{"path":"link","kind":"link","target":"../outside/\"x"}"#.into(),
    ]
}

#[test]
fn a_folder_has_the_id_of_its_list_wherever_it_is_and_whoever_looks() {
    let at = folder();
    let lines = small(&at.path().join("one"));
    let printed = stdout(&run(at.path(), &["--folder", "one"]));
    let id = id_of(&lines);
    let expected = [
        format!("{id}  one"),
        format!("blake3/{HI_BLAKE3}  one/bin/run"),
        format!("blake3/{HI_BLAKE3}  one/bin.txt"),
        format!("blake3/{HI_BLAKE3}  one/caf\u{fffd}%"),
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
    fs::rename(at.path().join("one"), at.path().join("two")).unwrap();
    symlink("two", at.path().join("three")).unwrap();
    for (folder, args, name) in [
        (at.path(), &["--folder", "two/"][..], "two/"),
        (at.path(), &["--folder", "three"], "three"),
        (&at.path().join("two"), &["--folder"], "."),
    ] {
        assert_eq!(first_line(&stdout(&run(folder, args))), format!("{id}  {name}"));
    }
    let empty = run(at.path(), &["--folder", "two/empty"]);
    assert_eq!(stdout(&empty), format!("{}  two/empty\n", id_of(&[])));
}

#[test]
fn what_cannot_be_in_a_list_is_left_out_and_dot_names_are_taken_on_demand() {
    let at = folder();
    let lines = small(&at.path().join("one"));
    for name in ["one/.hidden", "one/a.cjp2p-part", "one/empty/a.cjp2p-resume"] {
        fs::write(at.path().join(name), "hi").unwrap();
    }
    make_fifo(&at.path().join("one/pipe"));
    assert_eq!(first_line(&stdout(&run(at.path(), &["--folder", "one"]))), format!("{}  one", id_of(&lines)));
    let hidden = format!(r#"{{"path":".hidden","kind":"file","length":2,"blake3":"{HI_BLAKE3}"}}"#);
    let all: Vec<String> = std::iter::once(hidden).chain(lines).collect();
    let printed = stdout(&run(at.path(), &["--folder", "--hidden", "one"]));
    assert_eq!(first_line(&printed), format!("{}  one", id_of(&all)));
    let check = |args: &[&str]| pipe_to(at.path(), args, printed.replace('\u{fffd}', "?").as_bytes());
    assert!(text(&check(&["-c", "--hidden"]).stdout).starts_with("one: OK\n"));
    assert!(text(&check(&["-c"]).stdout).starts_with("one: FAILED\n"));
}

fn make_fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn pipe_to(folder: &Path, args: &[&str], input: &[u8]) -> std::process::Output {
    let mut command = tool(folder);
    command.args(args);
    pipe(command, input)
}

#[test]
fn times_make_another_id_and_only_where_they_are_asked_for() {
    let at = folder();
    let top = at.path().join("one");
    fs::create_dir_all(top.join("sub")).unwrap();
    fs::write(top.join("a"), "hi").unwrap();
    set_time(&top.join("a"), 5, 7);
    set_time(&top.join("sub"), 1 << 33, 0);
    let plain = stdout(&run(at.path(), &["--folder", "one"]));
    let timed = stdout(&run(at.path(), &["--folder", "--times", "one"]));
    let file = format!(r#""kind":"file","length":2,"blake3":"{HI_BLAKE3}""#);
    let lines = [
        format!(r#"{{"path":"a",{file},"mtime":5,"mtime_ns":7}}"#),
        r#"{"path":"sub","kind":"folder","mtime":8589934592}"#.into(),
    ];
    assert_eq!(first_line(&timed), format!("{}  one", id_of(&lines)));
    for list in [&plain, &timed] {
        assert_eq!(stdout(&pipe_to(at.path(), &["-c"], list.as_bytes())), "one: OK\none/a: OK\n");
    }
    set_time(&top.join("a"), 6, 7);
    assert_eq!(stdout(&run(at.path(), &["--folder", "one"])), plain);
    let checked = pipe_to(at.path(), &["-c"], timed.as_bytes());
    assert_eq!(
        (text(&checked.stdout).as_str(), checked.status.code()),
        ("one: FAILED\none/a: OK\n", Some(1))
    );
}

#[test]
fn any_change_of_a_folder_fails_its_check() {
    let at = folder();
    let top = at.path().join("new\nline");
    small(&top);
    let list = run(at.path(), &["--folder", "new\nline"]).stdout;
    let check = || pipe_to(at.path(), &["-c", "--quiet"], &list);
    assert_eq!(stdout(&check()), "");
    type Change = fn(&Path);
    let changes: [(Change, Change); 6] = [
        (|top| fs::write(top.join("more"), "").unwrap(), |top| fs::remove_file(top.join("more")).unwrap()),
        (|top| fs::create_dir(top.join("f")).unwrap(), |top| fs::remove_dir(top.join("f")).unwrap()),
        (|top| fs::remove_dir(top.join("empty")).unwrap(), |top| fs::create_dir(top.join("empty")).unwrap()),
        (
            |top| fs::set_permissions(top.join("bin.txt"), Permissions::from_mode(0o711)).unwrap(),
            |top| fs::set_permissions(top.join("bin.txt"), Permissions::from_mode(0o600)).unwrap(),
        ),
        (
            |top| fs::rename(top.join("bin"), top.join("bin2")).unwrap(),
            |top| fs::rename(top.join("bin2"), top.join("bin")).unwrap(),
        ),
        (
            |top| {
                fs::remove_file(top.join("link")).unwrap();
                symlink("elsewhere", top.join("link")).unwrap();
            },
            |top| {
                fs::remove_file(top.join("link")).unwrap();
                symlink("../outside/\"x", top.join("link")).unwrap();
            },
        ),
    ];
    for (number, (change, undo)) in changes.iter().enumerate() {
        change(&top);
        let checked = check();
        let said = text(&checked.stdout);
        assert!(said.starts_with("\\new\\nline: FAILED\n"), "change {number}: {said}");
        assert_eq!(checked.status.code(), Some(1));
        undo(&top);
        assert_eq!(stdout(&check()), "", "change {number} is undone");
    }
    let json = text(&pipe_to(at.path(), &["-c", "--json"], &list).stdout);
    let id = text(&list).split(' ').next().unwrap().trim_start_matches('\\').to_owned();
    assert_eq!(first_line(&json), format!(r#"{{"path":"new\nline","id":"{id}","result":"ok"}}"#));
}

#[test]
fn a_folder_of_which_not_all_can_be_read_has_no_id() {
    let at = folder();
    fs::create_dir(at.path().join("one")).unwrap();
    fs::write(at.path().join("one/a"), "hi").unwrap();
    // Deeper than any path in a list.
    let long = "x".repeat(250);
    let mut inner = File::open(at.path().join("one")).unwrap();
    for _ in 0..17 {
        rustix::fs::mkdirat(&inner, &*long, Mode::RWXU).unwrap();
        inner = rustix::fs::openat(&inner, &*long, OFlags::RDONLY, Mode::empty()).unwrap().into();
    }
    let output = run(at.path(), &["--folder", "one"]);
    assert_eq!(text(&output.stdout), format!("blake3/{HI_BLAKE3}  one/a\n"));
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(": a path of more than 4095 bytes\n"), "{said}");
    assert!(said.ends_with("cjp2p-hash: one: has no id, as not all of it could be read\n"), "{said}");
    let id = id_of(&[]);
    let checked = pipe_to(at.path(), &["-c"], format!("{id}  one\n{id}  none\n").as_bytes());
    assert_eq!(text(&checked.stdout), "one: FAILED open or read\nnone: FAILED open or read\n");
    let checked = pipe_to(at.path(), &["-c", "--ignore-missing"], format!("{id}  none\n").as_bytes());
    assert_eq!(text(&checked.stdout), "");

    let output = run(at.path(), &["--folder", "none"]);
    assert_eq!(
        (complaint(&output).as_str(), output.status.code()),
        ("none: No such file or directory", Some(1))
    );
    let output = run(at.path(), &["--folder", "one/a"]);
    assert_eq!((complaint(&output).as_str(), output.status.code()), ("one/a: Not a directory", Some(1)));
}

#[test]
fn many_files_are_printed_in_order_after_their_folder() {
    let at = folder();
    let top = at.path().join("many");
    for sub in 0..3 {
        fs::create_dir_all(top.join(format!("sub{sub}"))).unwrap();
        for file in 0..1_500 {
            fs::write(top.join(format!("sub{sub}/{file:04}")), format!("{file}")).unwrap();
        }
    }
    // One that other threads hash, and one that is hashed alone, among those that are hashed at once.
    fs::write(top.join("sub1/0700x"), vec![1; 100 << 10]).unwrap();
    fs::write(top.join("sub1/0701x"), vec![1; 9 << 20]).unwrap();
    let printed = stdout(&run(at.path(), &["--folder", "many"]));
    let names: Vec<&str> = printed.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(names.len(), 4_503);
    assert_eq!(names[0], "many");
    assert!(names.is_sorted());
    let checked = pipe_to(at.path(), &["-c", "--quiet"], printed.as_bytes());
    assert_eq!(stdout(&checked), "");
    let listed = stdout(&run(at.path(), &["-r", "many"]));
    assert_eq!(printed.split_once('\n').unwrap().1, listed, "the same as -r prints");
}

#[test]
fn options_that_make_no_sense_with_folders_are_refused() {
    let at = folder();
    for args in [
        &["--folder", "-r"][..],
        &["--folder", "-c"],
        &["--folder", "-a", "sha256"],
        &["--folder", "--tree", "t"],
        &["--folder", "--files-from", "-"],
        &["--times"],
        &["--hidden"],
    ] {
        assert_eq!(run(at.path(), args).status.code(), Some(2), "{args:?}");
    }
}
