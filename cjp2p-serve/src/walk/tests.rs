//! Which files of a folder are found, in which order, and which are passed over.

use super::*;
use rustix::fs::{FileType, Mode};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

/// Makes the files named, each with its own name as content.
fn share(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    folder
}

#[derive(Default)]
struct Walked {
    files: Vec<String>,
    folders: Vec<String>,
    problems: Vec<String>,
    contents: Vec<String>,
}

fn walked_from(argument: &Path, relative: &str, rules: Rules) -> Walked {
    let source = Arc::new(Source::open(0, argument).unwrap());
    let mut walked = Walked::default();
    walk_from(&source, Path::new(relative), rules, &mut |step| {
        match step {
            Step::File(place, identity) => {
                let relative = place.relative.to_string_lossy().into_owned();
                if let Ok((file, opened)) = place.open(crate::open::Patience::Wait) {
                    assert_eq!(identity, opened);
                    walked.contents.push(io::read_to_string(file).unwrap());
                }
                walked.files.push(relative);
            }
            Step::Folder { relative, .. } => {
                walked.folders.push(relative.to_string_lossy().into_owned());
            }
            Step::Problem { path, .. } => {
                walked.problems.push(path.to_string_lossy().into_owned());
            }
        }
        ControlFlow::Continue(())
    });
    walked
}

fn walked(folder: &tempfile::TempDir, rules: Rules) -> Walked {
    walked_from(folder.path(), "", rules)
}

const PLAIN: Rules = Rules { hidden: false, follow: false };
const HIDDEN: Rules = Rules { hidden: true, follow: false };
const FOLLOW: Rules = Rules { hidden: false, follow: true };

#[test]
fn files_come_in_order_and_hidden_or_partial_ones_do_not() {
    let folder = share(&[
        "b",
        "a",
        "z/y",
        "c/d/e",
        ".secret",
        ".git/config",
        "c/.hidden/f",
        "iso.cjp2p-part",
        "c/iso.cjp2p-resume",
    ]);
    let plain = walked(&folder, PLAIN);
    assert_eq!(plain.files, ["a", "b", "c/d/e", "z/y"]);
    assert_eq!(plain.folders, ["", "c", "c/d", "z"]);
    assert!(plain.problems.is_empty());
    let hidden = walked(&folder, HIDDEN);
    assert_eq!(hidden.files, [".secret", "a", "b", ".git/config", "c/.hidden/f", "c/d/e", "z/y"]);
}

#[test]
fn part_of_a_share_is_visited_by_the_same_rules() {
    let folder = share(&["a", "c/d/e", "c/f", ".git/config"]);
    let files = |relative| walked_from(folder.path(), relative, PLAIN).files;
    assert_eq!(files("c"), ["c/f", "c/d/e"]);
    assert_eq!(files("c/f"), ["c/f"]);
    assert_eq!(files("gone"), [""; 0]);
    assert_eq!(files("gone/too"), [""; 0]);
    assert_eq!(files(".git"), [""; 0]);
    assert_eq!(files(".git/config"), [""; 0]);
}

#[test]
fn a_file_may_be_the_argument_also_hidden_or_through_a_link() {
    let folder = share(&["a", ".b", "c.cjp2p-part"]);
    symlink("a", folder.path().join("link")).unwrap();
    let one = |name| walked_from(&folder.path().join(name), "", PLAIN);
    assert_eq!(one("a").contents, ["a"]);
    assert_eq!(one(".b").contents, [".b"]);
    assert_eq!(one("link").contents, ["a"]);
    let partial = one("c.cjp2p-part");
    assert_eq!((partial.files.len(), partial.problems.len()), (0, 1));
}

#[test]
fn what_is_no_file_is_passed_over_without_opening_it() {
    let folder = share(&["a"]);
    let handle = fs::File::open(folder.path()).unwrap();
    for (name, kind) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
        rustix::fs::mknodat(&handle, name, kind, rustix::fs::Mode::from(0o600), 0).unwrap();
    }
    symlink("/dev/zero", folder.path().join("zero")).unwrap();
    for rules in [PLAIN, HIDDEN, FOLLOW] {
        let walked = walked(&folder, rules);
        assert_eq!((walked.files.len(), walked.problems.len()), (1, 0));
    }
}

#[test]
fn devices_are_passed_over_too() {
    let folder = share(&["a"]);
    let handle = fs::File::open(folder.path()).unwrap();
    let null = rustix::fs::makedev(1, 3);
    for (name, kind) in [("character", FileType::CharacterDevice), ("block", FileType::BlockDevice)] {
        if rustix::fs::mknodat(&handle, name, kind, rustix::fs::Mode::from(0o600), null).is_err() {
            eprintln!("skipped: only root may make devices, and not everywhere");
            return;
        }
    }
    let walked = walked(&folder, PLAIN);
    assert_eq!((walked.files.len(), walked.problems.len()), (1, 0));
}

#[test]
fn a_folder_of_100_000_files_is_walked_in_order() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let names: Vec<String> = (0..100_000).map(|n| format!("{n:06}")).collect();
    for name in &names {
        fs::File::create(folder.path().join(name)).unwrap();
    }
    let source = Arc::new(Source::open(0, folder.path()).unwrap());
    let mut found = Vec::new();
    walk(&source, PLAIN, &mut |step| {
        match step {
            Step::File(place, _) => found.push(place.relative.to_str().unwrap().to_owned()),
            Step::Folder { .. } => {}
            Step::Problem { path, error } => panic!("{}: {error}", path.display()),
        }
        ControlFlow::Continue(())
    });
    assert!(found == names);
}

#[test]
fn links_are_passed_over_unless_followed() {
    let folder = share(&["real/a", ".store/object"]);
    let outside = share(&["b", "deep/c"]);
    let link = |to: &Path, name: &str| symlink(to, folder.path().join(name)).unwrap();
    link(Path::new(".store/object"), "to-hidden");
    link(&outside.path().join("b"), "to-file");
    link(outside.path(), "to-folder");
    link(Path::new("nowhere"), "broken");
    assert_eq!(walked(&folder, PLAIN).files, ["real/a"]);
    let followed = walked(&folder, FOLLOW);
    assert_eq!(followed.files, ["real/a", "to-file", "to-folder/b", "to-folder/deep/c", "to-hidden"]);
    assert_eq!(followed.contents, ["real/a", "b", "b", "deep/c", ".store/object"]);
    assert_eq!(followed.problems.len(), 1, "the broken link");
}

#[test]
fn links_never_make_the_walk_loop_or_explode() {
    let folder = share(&["a/file", "b/file", "c/file"]);
    // Each folder links to all others, to its parent and to itself.
    for from in ["a", "b", "c"] {
        for to in ["../a", "../b", "../c", "..", "."] {
            let name = format!("{from}/to{}", to.replace('/', ""));
            symlink(to, folder.path().join(name)).unwrap();
        }
    }
    symlink("loop", folder.path().join("loop")).unwrap();
    let walked = walked(&folder, FOLLOW);
    assert_eq!(walked.files, ["a/file", "b/file", "c/file"]);
    assert_eq!(walked.problems.len(), 1, "the link to itself");
}

#[test]
fn names_may_be_any_bytes() {
    let folder = share(&["line\nbreak", "back\\slash"]);
    let name = OsStr::from_bytes(b"caf\xe9");
    fs::write(folder.path().join(name), "latin").unwrap();
    let walked = walked(&folder, PLAIN);
    assert_eq!(walked.contents, ["back\\slash", "latin", "line\nbreak"]);
}

#[test]
fn a_folder_that_may_not_be_read_is_one_problem() {
    let folder = share(&["open/a", "closed/b"]);
    let closed = folder.path().join("closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let walked = walked(&folder, PLAIN);
    let root_may_do_anything = fs::read_dir(&closed).is_ok();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    if !root_may_do_anything {
        assert_eq!(walked.files, ["open/a"]);
        assert_eq!(walked.problems.len(), 1);
    }
}

#[test]
fn files_in_folders_deeper_than_the_longest_path_are_found_and_opened() {
    let folder = share(&["a"]);
    let name = "n".repeat(20);
    let mut at: OwnedFd = fs::File::open(folder.path()).unwrap().into();
    for _ in 0..300 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &name, rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CREATE;
    let file = rustix::fs::openat(&at, "deep", flags, Mode::RUSR).unwrap();
    rustix::io::write(file, b"down there").unwrap();
    let walked = walked(&folder, PLAIN);
    assert_eq!(walked.contents, ["a", "down there"]);
    assert_eq!((walked.folders.len(), walked.problems.len()), (301, 0));
    let deepest = walked.folders.last().unwrap();
    assert_eq!(walked_from(folder.path(), deepest, PLAIN).contents, ["down there"]);
}

#[test]
fn a_walk_ends_where_the_visitor_says_so() {
    let folder = share(&["a", "b", "sub/c", "sub/deeper/d", "sub2/e"]);
    let source = Arc::new(Source::open(0, folder.path()).unwrap());
    for after in 1..=9 {
        let mut steps = 0;
        walk(&source, PLAIN, &mut |_| {
            steps += 1;
            if steps == after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(steps, after);
    }
}
