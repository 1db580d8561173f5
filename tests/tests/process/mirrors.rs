//! The order in which a mirror does its last steps: what is left when the power goes at any of them.

use std::fs;
use std::path::Path;

use cjp2p_tests::faults::mirrors::Mirror;
use cjp2p_tests::real::strace::{self, insist, strace, under, worked};

/// What a line of the trace is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// All bytes are brought to the disk.
    Sync,
    /// What was written is written down.
    Record,
    /// Something that waited gets its name.
    Name,
    /// Something that is not in the list goes.
    Delete,
}

fn step(line: &str, folder: &Path) -> Option<Step> {
    let call = line.split_once(' ').map_or(line, |(_, call)| call.trim_start());
    let (name, arguments) = call.split_once('(')?;
    if !line.contains(") = 0") {
        return None;
    }
    let folder = folder.to_str()?;
    let staging = format!("{folder}/.cjp2p-partial>");
    match name {
        "syncfs" => Some(Step::Sync),
        "rename" | "renameat" | "renameat2" if arguments.contains(".lists") => None,
        "rename" | "renameat" | "renameat2" if arguments.contains("/folders/") => Some(Step::Record),
        "renameat" | "renameat2" => {
            let (from, to) = arguments.split_once(">, ")?;
            let is_ours = format!("{from}>").contains(&staging);
            (is_ours && !to.contains(&staging)).then_some(Step::Name)
        }
        // Not what is tidied up where files waited.
        "unlinkat" => (!arguments.contains(".cjp2p-partial")).then_some(Step::Delete),
        _ => None,
    }
}

#[test]
fn a_mirror_brings_bytes_to_the_disk_before_it_names_them_and_deletes_last() {
    if let Some(why) = strace::unavailable() {
        eprintln!("skipped, since no call can be looked at here: {why}");
        return;
    }
    let mirror = Mirror::start().expect("a server");
    let trace = mirror.path().join("trace");
    let steps = insist(|| {
        mirror.reset()?;
        assert!(mirror.command(0).status()?.success());
        let mut command = strace(&trace);
        command.args(["-e", "trace=syncfs,rename,renameat,renameat2,unlinkat"]);
        let output = under(&mut command, &mirror.command(1)).output()?;
        worked(&String::from_utf8_lossy(&output.stderr))?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(&trace)?;
        let steps: Vec<Step> = text.lines().filter_map(|line| step(line, &mirror.folder())).collect();
        Ok(steps)
    })
    .expect("strace does its work");
    let mut order = steps.clone();
    order.dedup();
    let expected = [Step::Sync, Step::Record, Step::Name, Step::Delete, Step::Sync, Step::Record];
    assert_eq!(order, expected, "{steps:?}");
    let named = steps.iter().filter(|step| **step == Step::Name).count();
    assert!((50..150).contains(&named), "what changed, and no more: {named}");
}
