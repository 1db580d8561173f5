//! No import runs in a circle: a part that others import can be understood, tested and replaced without them.

use std::fs;
use std::path::PathBuf;

use cjp2p_tests::imports::{Crate, circles};

use super::{read, root};

/// The folders of all packages, from the workspace's.
fn packages() -> Vec<String> {
    let text = read("Cargo.toml");
    let members = text.split("members = [").nth(1).and_then(|rest| rest.split(']').next());
    let members = members.expect("the workspace has members");
    members.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The root files of a package's crates: its library, and its programs.
fn roots(package: &str) -> Vec<PathBuf> {
    let source = root().join(package).join("src");
    let mut roots = vec![source.join("lib.rs"), source.join("main.rs")];
    for entry in fs::read_dir(source.join("bin")).into_iter().flatten() {
        let path = entry.expect("the workspace can be read").path();
        roots.push(if path.is_dir() { path.join("main.rs") } else { path });
    }
    roots.retain(|root| root.exists());
    roots
}

#[test]
fn no_import_runs_in_a_circle() {
    let packages = packages();
    assert!(packages.len() >= 8, "{packages:?}");
    let mut found = Vec::new();
    for package in &packages {
        let files = roots(package);
        assert!(!files.is_empty(), "{package} has no source");
        for file in files {
            let name = file.strip_prefix(root()).expect("it lies in the workspace").display().to_string();
            found.extend(circles(&Crate::read(&file)).into_iter().map(|circle| format!("{name}: {circle}")));
        }
    }
    assert!(found.is_empty(), "imports run in circles:\n{}", found.join("\n"));
}
