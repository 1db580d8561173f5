//! The tool as people and scripts see it, beside the sha256sum of this machine.

mod common;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::CommandCargoExt;
use rustix::fs::{Mode, OFlags};
use serde_json::Value;

use common::{HI_BLAKE3, HI_CID, HI_SHA256, complaint, folder, pipe, run, sha256sum, stdout, text, tool};

fn blake3_line(content: &[u8], name: &str) -> String {
    format!("blake3/{}  {name}\n", blake3::hash(content).to_hex())
}

#[test]
fn each_algorithm_prints_its_spelling_and_the_name() {
    let folder = folder();
    fs::write(folder.path().join("a"), "hi").unwrap();
    let blake3 = format!("blake3/{HI_BLAKE3}  a\n");
    let sha256 = format!("{HI_SHA256}  a\n");
    for (args, expected) in [
        (&["a"][..], blake3.clone()),
        (&["-a", "blake3", "a"], blake3.clone()),
        (&["-a", "sha256", "a"], sha256.clone()),
        (&["-a", "cid", "a"], format!("{HI_CID}  a\n")),
        (&["-a", "all", "a"], format!("{blake3}{sha256}")),
        (&["--", "a", "a"], format!("{blake3}{blake3}")),
    ] {
        assert_eq!(stdout(&run(folder.path(), args)), expected);
    }
}

#[test]
fn standard_input_is_read_where_no_file_is_named_or_a_dash_is() {
    let folder = folder();
    for args in [&[][..], &["-"]] {
        let mut command = tool(folder.path());
        command.args(args);
        assert_eq!(stdout(&pipe(command, b"hi")), format!("blake3/{HI_BLAKE3}  -\n"));
    }
    fs::write(folder.path().join("-"), "other").unwrap();
    assert_eq!(stdout(&run(folder.path(), &["./-"])), blake3_line(b"other", "./-"));
}

#[test]
fn standard_input_is_hashed_from_where_it_stands() {
    let folder = folder();
    let content = vec![7; 9 << 20];
    fs::write(folder.path().join("large"), &content).unwrap();
    let script = r#"{ dd bs=4096 count=1 of=/dev/null 2>/dev/null; exec "$0"; } < large"#;
    let program = Command::cargo_bin("cjp2p-hash").unwrap();
    let output = Command::new("sh")
        .current_dir(folder.path())
        .args([OsStr::new("-c"), OsStr::new(script), program.get_program()])
        .output()
        .unwrap();
    assert_eq!(stdout(&output), blake3_line(&content[4096..], "-"));
}

#[test]
fn sha256_lines_are_exactly_those_of_sha256sum() {
    let folder = folder();
    let names: Vec<OsString> = [
        &b"plain"[..],
        b" two  words ",
        b"new\nline",
        b"back\\slash",
        b"\\n",
        b"\xff\xfe",
        "ü".as_bytes(),
        b"-x",
        b"*star",
    ]
    .iter()
    .map(|name| OsStr::from_bytes(name).to_owned())
    .collect();
    for name in &names {
        fs::write(folder.path().join(name), name.as_bytes()).unwrap();
    }
    fs::write(folder.path().join("large"), vec![5; (5 << 20) + 1]).unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    let mut args: Vec<OsString> = ["-a", "sha256", "--"].iter().map(OsString::from).collect();
    args.extend(names);
    args.extend(["large", "empty", "/proc/version"].iter().map(OsString::from));
    let ours = run(folder.path(), &args);
    let theirs = sha256sum(folder.path(), &args[2..]);
    assert!(ours.status.success() && ours.stdout == theirs.stdout, "{}", text(&ours.stdout));

    args[2] = "-0".into();
    args.insert(3, "--".into());
    let ours = run(folder.path(), &args);
    args[2] = "-z".into();
    let theirs = sha256sum(folder.path(), &args[2..]);
    assert!(ours.status.success() && ours.stdout == theirs.stdout, "{}", text(&ours.stdout));
}

#[test]
fn json_has_every_spelling_of_what_was_computed() {
    let folder = folder();
    fs::write(folder.path().join("a"), "hi").unwrap();
    let name = OsString::from_vec(b"\xffx".to_vec());
    fs::write(folder.path().join(&name), "").unwrap();
    let args = ["--json", "-a", "all", "--tree", "trees", "a"].map(OsString::from);
    let output = stdout(&run(folder.path(), &[&args[..], &[name]].concat()));
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = serde_json::json!({
        "path": "a",
        "length": 2,
        "ids": [format!("blake3/{HI_BLAKE3}"), HI_SHA256],
        "cids": [HI_CID, "bafkreiepinbumzepnoln7co5vea4kf3lcctnqolb3u6bvsellgznymt2uq"],
        "tree": format!("trees/{HI_BLAKE3}"),
    });
    assert_eq!(lines[0], expected);
    assert_eq!((lines[1]["path"].as_str(), lines[1]["path_hex"].as_str()), (Some("\u{fffd}x"), Some("ff78")));
}

#[test]
fn ids_and_tree_files_are_those_of_the_vectors() {
    let folder = folder();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/trees.json");
    let vectors: Value = serde_json::from_slice(&fs::read(vectors).unwrap()).unwrap();
    let cases: Vec<&Value> = vectors["cases"].as_array().unwrap().iter().collect();
    for case in cases.into_iter().filter(|case| case.get("content_base64").is_none()) {
        let length = case["length"].as_u64().unwrap();
        let content: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        fs::write(folder.path().join("file"), content).unwrap();
        let output = stdout(&run(folder.path(), &["-a", "all", "--json", "--tree", ".", "file"]));
        let printed: Value = serde_json::from_str(&output).unwrap();
        let blake3 = case["blake3"].as_str().unwrap();
        assert_eq!(printed["ids"], serde_json::json!([format!("blake3/{blake3}"), case["sha256"]]));
        assert_eq!(printed["cids"], serde_json::json!([case["cid_blake3"], case["cid_sha256"]]));
        let tree = fs::read(folder.path().join(blake3)).unwrap();
        assert_eq!(tree.len() as u64, case["tree_length"].as_u64().unwrap());
        assert_eq!(blake3::hash(&tree).to_hex().as_str(), case["tree_blake3"].as_str().unwrap(), "{length}");
    }
}

#[test]
fn folders_are_walked_in_order_without_their_links() {
    let folder = folder();
    let path = folder.path();
    fs::create_dir_all(path.join("dir/deep")).unwrap();
    fs::create_dir(path.join("dir/.git")).unwrap();
    for name in ["dir/b", "dir/a", "dir/deep/c", "dir/.dot", "dir/.git/config", "dir/b.cjp2p-part"] {
        fs::write(path.join(name), name).unwrap();
    }
    symlink("a", path.join("dir/link")).unwrap();
    symlink("..", path.join("dir/deep/up")).unwrap();
    symlink("dir", path.join("to-dir")).unwrap();
    let lines_of = |names: &[&str], start: &str| -> String {
        names.iter().map(|name| blake3_line(name.as_bytes(), &name.replacen("dir", start, 1))).collect()
    };
    let lines = |start: &str| lines_of(&["dir/a", "dir/b", "dir/deep/c"], start);
    let hidden = ["dir/.dot", "dir/.git/config", "dir/a", "dir/b", "dir/deep/c"];
    assert_eq!(stdout(&run(path, &["-r", "--hidden", "dir"])), lines_of(&hidden, "dir"));
    assert_eq!(stdout(&run(path, &["-r", "dir/.git"])), blake3_line(b"dir/.git/config", "dir/.git/config"));
    assert_eq!(stdout(&run(path, &["-r", "dir"])), lines("dir"));
    assert_eq!(stdout(&run(path, &["-r", "to-dir"])), lines("to-dir"));
    assert_eq!(stdout(&run(path, &["-r", "dir/link"])), blake3_line(b"dir/a", "dir/link"));
    assert_eq!(stdout(&run(&path.join("dir"), &["-r"])), lines("."));
}

#[test]
fn folders_deeper_than_the_longest_path_are_walked_and_can_be_checked() {
    let folder = folder();
    let name = "n".repeat(20);
    let mut at: OwnedFd = fs::File::open(folder.path()).unwrap().into();
    let mut path = String::from("top");
    rustix::fs::mkdirat(&at, "top", Mode::RWXU).unwrap();
    at = rustix::fs::openat(&at, "top", OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..300 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
        path = format!("{path}/{name}");
    }
    let file = rustix::fs::openat(&at, "file", OFlags::WRONLY | OFlags::CREATE, Mode::RUSR).unwrap();
    rustix::io::write(file, b"down there").unwrap();
    let listed = stdout(&run(folder.path(), &["-r", "top"]));
    assert_eq!(listed, blake3_line(b"down there", &format!("{path}/file")));
    fs::write(folder.path().join("list"), listed).unwrap();
    assert_eq!(stdout(&run(folder.path(), &["-c", "list"])), format!("{path}/file: OK\n"));
}

#[test]
fn names_come_from_a_list_too() {
    let folder = folder();
    for name in ["a", "new\nline"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    fs::write(folder.path().join("names"), "a\n\na").unwrap();
    let twice = blake3_line(b"a", "a").repeat(2);
    assert_eq!(stdout(&run(folder.path(), &["--files-from", "names"])), twice);
    for (begins, code) in [("\u{feff}", 0), ("\u{feff}\n", 0), ("\u{feff}\u{feff}", 1), ("a\n\u{feff}", 1)] {
        fs::write(folder.path().join("names"), format!("{begins}a\n")).unwrap();
        let output = run(folder.path(), &["--files-from", "names"]);
        assert_eq!(output.status.code(), Some(code), "{begins:?}");
    }
    let mut command = tool(folder.path());
    command.args(["-0", "--files-from", "-"]);
    assert_eq!(pipe(command, b"\xef\xbb\xbfa\0").status.code(), Some(1), "no text, so a name");
    let mut command = tool(folder.path());
    command.args(["-0", "--files-from", "-"]);
    let expected = format!("{}{}", blake3_line(b"a", "a"), blake3_line(b"new\nline", "new\nline"));
    let output = stdout(&pipe(command, b"a\0new\nline\0"));
    assert_eq!(output, expected.replace("  a\n", "  a\0").replace("line\n", "line\0"));
    let mut command = tool(folder.path());
    command.args(["--files-from", "-"]);
    let own = pipe(command, b"-\n");
    assert_eq!(own.status.code(), Some(1));
    assert_eq!(complaint(&own), "-: standard input is the list itself");
    let missing = run(folder.path(), &["--files-from", "no-list"]);
    assert_eq!(
        (missing.status.code(), complaint(&missing)),
        (Some(1), "no-list: No such file or directory".into())
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_and_the_others_are_hashed() {
    let folder = folder();
    fs::write(folder.path().join("a"), "hi").unwrap();
    for (name, told) in [
        ("missing", "missing: No such file or directory"),
        (".", ".: is a folder; -r hashes the files in it, --folder all of it"),
        ("esc\u{1b}[2J\n", "esc\\u{1b}[2J\\n: No such file or directory"),
    ] {
        let output = run(folder.path(), &[name, "a"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(complaint(&output), told);
        assert_eq!(text(&output.stdout), format!("blake3/{HI_BLAKE3}  a\n"));
    }
}

/// Files of very different lengths, and what is to be printed of them.
fn short_and_long(folder: &Path, algorithm: &str) -> (Vec<String>, String) {
    let mut lines = String::new();
    let lengths = [9 << 20, 5, 700_000, 0, 2 << 20, 100_000, 10 << 20, 1];
    let names = lengths.iter().cycle().take(40).enumerate().map(|(number, &length)| {
        let (name, content) = (format!("{number:02}"), vec![number as u8; length]);
        fs::write(folder.join(&name), &content).expect("there is room for it");
        lines += &match algorithm {
            "blake3" => blake3_line(&content, &name),
            _ => text(&sha256sum(folder, &[&name]).stdout),
        };
        name
    });
    (names.collect(), lines)
}

#[test]
fn lines_come_in_the_order_of_the_files_whichever_is_hashed_first() {
    for algorithm in ["blake3", "sha256"] {
        let folder = folder();
        let (names, lines) = short_and_long(folder.path(), algorithm);
        let mut args = vec!["-a".into(), algorithm.into()];
        args.extend(names);
        assert_eq!(stdout(&run(folder.path(), &args)), lines);
        args.insert(22, "missing".into());
        let output = run(folder.path(), &args);
        assert_eq!(text(&output.stdout), lines);
        assert_eq!(complaint(&output), "missing: No such file or directory");
    }
}

#[test]
fn few_descriptors_are_enough() {
    let folder = folder();
    let (names, lines) = short_and_long(folder.path(), "blake3");
    let mut command = Command::new("sh");
    command.current_dir(folder.path()).stdin(Stdio::null());
    command.args(["-c", "ulimit -n 6 && exec \"$0\" \"$@\""]).arg(tool(folder.path()).get_program());
    assert_eq!(stdout(&command.args(names).output().unwrap()), lines);
}

#[test]
fn who_names_files_one_after_another_sees_the_id_of_each_before_naming_the_next() {
    let folder = folder();
    let content = vec![7; 1 << 20];
    fs::write(folder.path().join("a"), &content).unwrap();
    let mut command = tool(folder.path());
    command.args(["--files-from", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut names, mut lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for _ in 0..3 {
        names.write_all(b"a\n").unwrap();
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, blake3_line(&content, "a"));
    }
    drop(names);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_wrong_command_line_is_one_line_and_exit_code_2() {
    let folder = folder();
    for args in [
        &["--no-such-option"][..],
        &["-a", "md5"],
        &["--quiet", "a"],
        &["--strict"],
        &["-c", "--tree", "t"],
        &["--files-from", "-", "a"],
    ] {
        let output = run(folder.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        complaint(&output);
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn output_that_cannot_be_written_is_exit_code_7() {
    let folder = folder();
    fs::write(folder.path().join("a"), "hi").unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = tool(folder.path()).arg("a").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(complaint(&output).starts_with("standard output: No space left on device"));
    let output = run(folder.path(), &["--tree", "a/b", "a"]);
    assert_eq!((output.status.code(), complaint(&output)), (Some(7), "a/b: Not a directory".into()));
}

#[test]
fn a_reader_that_goes_away_ends_the_tool_quietly() {
    let folder = folder();
    fs::write(folder.path().join("a"), "hi").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = tool(folder.path()).arg("a").stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(141), String::new()));
}

#[test]
fn an_interrupt_ends_it_by_that_signal_and_leaves_no_tree() {
    let folder = folder();
    // Also where these tests run in the background of a shell, which has INT ignored.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(tool(folder.path()).get_program()).current_dir(folder.path());
    let mut child =
        command.args(["--tree", "."]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&vec![0; 3 << 20]).unwrap();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().signal(), Some(2));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The most memory that a process has had, in KiB. `None` where it is gone.
fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn memory_stays_flat_however_long_the_content() {
    let folder = folder();
    fs::File::create(folder.path().join("sparse")).unwrap().set_len(1 << 30).unwrap();
    for args in [&["sparse"][..], &["-a", "all", "-"]] {
        let mut command = tool(folder.path());
        command.args(args).stdout(Stdio::null());
        if args.len() > 1 {
            command.stdin(fs::File::open(folder.path().join("sparse")).unwrap());
        }
        let mut child = command.spawn().unwrap();
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            peak = peak.max(peak_memory(child.id()).unwrap_or(0));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(peak > 0 && peak <= 48 * 1024, "{args:?}: {peak} KiB");
    }
}

#[test]
fn a_name_with_terminal_escapes_does_not_reach_a_terminal_and_a_pipe_gets_it_as_it_is() {
    let folder = folder();
    fs::write(folder.path().join("a\x1b[2Jb"), "hi").unwrap();
    assert_eq!(stdout(&run(folder.path(), &["a\x1b[2Jb"])), format!("blake3/{HI_BLAKE3}  a\x1b[2Jb\n"));
    // `script` gives the tool a terminal.
    let program = Command::cargo_bin("cjp2p-hash").unwrap();
    let line = format!("'{}' -r .", program.get_program().to_str().unwrap());
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = text(&output.stdout);
    assert!(shown.contains(&format!("blake3/{HI_BLAKE3}  ./a\\u{{1b}}[2Jb")), "{shown:?}");
}
