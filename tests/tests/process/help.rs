//! The help of each tool: short enough to be read, and true to the manual.

use std::fs;
use std::path::Path;

use cjp2p_tests::real::tool;

/// Two screens.
const MOST_LINES: usize = 50;
const MOST_COLUMNS: usize = 100;

fn help(name: &str, arguments: &[&str]) -> String {
    let state = tempfile::tempdir().expect("a folder");
    let mut command = tool(name, state.path());
    let output = command.args(arguments).output().expect("the tool runs");
    assert!(output.status.success(), "{name} {arguments:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("help is text")
}

/// The long options that a help lists.
fn options(help: &str) -> Vec<&str> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    lines
        .filter_map(|line| Some(&line[line.find("--")?..]))
        .filter_map(|rest| rest.split(ends).next())
        .collect()
}

#[test]
fn help_fits_two_screens_and_lists_no_option_that_the_manual_lacks() {
    let manuals = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let commands = ["add", "remove", "set", "ping", "discover", "find", "content"];
    let of_peers = commands.map(|command| ("cjp2p-peers", vec![command, "--help"]));
    let of_tools = ["cjp2p-hash", "cjp2p-serve", "cjp2p-get", "cjp2p-http", "cjp2p-peers"]
        .map(|name| (name, vec!["--help"]));
    let mut listed = 0;
    for (name, arguments) in of_tools.into_iter().chain(of_peers) {
        let help = help(name, &arguments);
        let count = help.lines().count();
        assert!(count <= MOST_LINES, "{name} {arguments:?} takes {count} lines");
        let long = help.lines().find(|line| line.chars().count() > MOST_COLUMNS);
        assert_eq!(long, None, "{name} {arguments:?}");
        let manual = fs::read_to_string(manuals.join(format!("{name}.md"))).expect("a manual");
        for option in options(&help) {
            listed += 1;
            assert!(manual.contains(option), "the manual of {name} lacks {option}");
        }
    }
    assert!(listed > 60, "only {listed} options were found");
}

#[test]
fn options_that_help_leaves_out_are_in_the_manual() {
    let manuals = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let help = help("cjp2p-get", &["--help"]);
    let manual = fs::read_to_string(manuals.join("cjp2p-get.md")).expect("a manual");
    for option in ["--allow-empty", "--temp-dir", "--relay-for", "--keep"] {
        assert!(!help.contains(option) && manual.contains(&format!("`{option}`")), "{option}");
    }
}
