//! Arguments are names: what takes the place of a folder, file or link that was named is shared in its stead.

mod bench;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use bench::{Bench, Running, blake3_id, name};
use cjp2p_serve::share::Options;

#[test]
fn a_share_that_is_replaced_or_comes_back_is_shared_again() {
    let bench = Bench::new();
    bench.write("a", "old");
    let mut running =
        bench.start_with(&Options { poll_every: Duration::from_millis(200), ..Options::default() });
    running.until_ready();
    fs::rename(bench.path(""), bench.outside("aside")).unwrap();
    running.until_withdrawn("a");
    fs::create_dir(bench.path("")).unwrap();
    bench.write("b", "new");
    running.until_shared("b", "new");
    bench.write("c", "watched again");
    running.until_shared("c", "watched again");
}

#[test]
fn a_share_that_is_removed_and_made_again_at_once_is_shared_again() {
    let bench = Bench::new();
    bench.write("sub/a", "old");
    let mut running = bench.ready();
    // The new folder may well get the number of the old one.
    fs::remove_dir_all(bench.path("")).unwrap();
    fs::create_dir(bench.path("")).unwrap();
    bench.write("sub/b", "new");
    running.until_shared("sub/b", "new");
    assert_eq!(running.read(&blake3_id(b"old"), 0, 10), None);
}

#[test]
fn a_link_that_is_an_argument_is_followed_when_it_is_switched() {
    let bench = Bench::new();
    for release in ["1", "2"] {
        fs::create_dir_all(bench.outside("releases").join(release).join("public")).unwrap();
        fs::write(bench.outside("releases").join(release).join("public/file"), release).unwrap();
    }
    symlink("releases/1", bench.outside("current")).unwrap();
    let arguments = [bench.outside("current"), bench.outside("current/public")];
    for argument in &arguments {
        let argument = std::slice::from_ref(argument);
        let mut running = Running::start(argument, &Options::default(), &bench.state());
        assert_eq!(running.until_ready().0, 1);
        for release in ["2", "1"] {
            symlink(format!("releases/{release}"), bench.outside("next")).unwrap();
            fs::rename(bench.outside("next"), bench.outside("current")).unwrap();
            running.until_shared("file", release);
        }
        assert_eq!(running.read(&blake3_id(b"2"), 0, 10), None);
    }
}

#[test]
fn of_two_arguments_that_lead_to_one_folder_both_are_followed_when_they_part() {
    let bench = Bench::new();
    for release in ["1", "2"] {
        fs::create_dir(bench.outside(release)).unwrap();
        fs::write(bench.outside(release).join("file"), release).unwrap();
    }
    symlink("1", bench.outside("current")).unwrap();
    for arguments in [["1", "current"], ["current", "1"]] {
        let paths = arguments.map(|name| bench.outside(name));
        let mut running = Running::start(&paths, &Options::default(), &bench.state());
        assert_eq!(running.until_ready().0, 1);
        for release in ["2", "1"] {
            symlink(release, bench.outside("next")).unwrap();
            fs::rename(bench.outside("next"), bench.outside("current")).unwrap();
            match release {
                // The other argument has to be looked at first, where it was not the one that is shared.
                "2" if arguments[0] == "current" => {
                    running.until_shared("file", "2");
                    running.until_shared("file", "1");
                }
                "2" => running.until_shared("file", "2"),
                _ => running.until_withdrawn("file"),
            }
            assert!(running.read(&blake3_id(b"1"), 0, 10).is_some());
        }
    }
}

#[test]
fn what_lies_in_an_argument_that_is_gone_is_shared_by_the_other_that_names_it() {
    let bench = Bench::new();
    fs::create_dir_all(bench.outside("1/sub")).unwrap();
    fs::write(bench.outside("1/sub/file"), "1").unwrap();
    for other in ["1", "1/sub", "1/sub/file"] {
        symlink("1", bench.outside("current")).unwrap();
        let paths = ["current", other].map(|name| bench.outside(name));
        let mut running = Running::start(&paths, &Options::default(), &bench.state());
        assert_eq!(running.until_ready().0, 1);
        fs::remove_file(bench.outside("current")).unwrap();
        running.until_shared("1/sub/file", "1");
        symlink("1", bench.outside("current")).unwrap();
        running.until_withdrawn("1/sub/file");
        assert!(running.read(&name("file"), 0, 10).is_some(), "not the name of two files");
        fs::remove_file(bench.outside("current")).unwrap();
    }
}

#[test]
fn several_files_of_one_folder_are_each_followed_through_replacement() {
    let bench = Bench::new();
    let names = ["a", "b", "c"];
    names.iter().for_each(|name| bench.write(name, name));
    let arguments: Vec<_> = names.iter().map(|name| bench.path(name)).collect();
    let mut running = Running::start(&arguments, &Options::default(), &bench.state());
    assert_eq!(running.until_ready().0, 3);
    for name in names {
        bench.write("new", format!("new {name}"));
        fs::rename(bench.path("new"), bench.path(name)).unwrap();
        running.until_shared(name, format!("new {name}"));
        bench.write(name, format!("written {name}"));
        running.until_shared(name, format!("written {name}"));
    }
}

#[test]
fn a_share_in_a_folder_that_is_replaced_is_found_in_the_new_one() {
    let bench = Bench::new();
    fs::create_dir_all(bench.outside("above/share")).unwrap();
    fs::write(bench.outside("above/share/a"), "old").unwrap();
    let mut running = Running::start(&[bench.outside("above/share")], &Options::default(), &bench.state());
    assert_eq!(running.until_ready().0, 1);
    fs::rename(bench.outside("above"), bench.outside("old")).unwrap();
    running.until_withdrawn("a");
    fs::create_dir_all(bench.outside("above/share")).unwrap();
    fs::write(bench.outside("above/share/a"), "new").unwrap();
    running.until_shared("a", "new");
}

#[test]
fn arguments_that_cover_each_other_share_nothing_twice() {
    let bench = Bench::new();
    bench.write("sub/a", "a");
    bench.write(".hidden/b", "b");
    let arguments = [
        bench.path("sub/a"),
        bench.path(""),
        bench.path("sub"),
        bench.path("sub/../"),
        bench.path(".hidden"),
    ];
    let mut running = Running::start(&arguments, &Options::default(), &bench.state());
    assert_eq!(running.until_ready().0, 2);
    assert!(running.read(&name("a"), 0, 10).is_some(), "not the name of two files");
    assert!(running.read(&name("b"), 0, 10).is_some());
}

#[test]
fn a_single_file_is_shared_and_followed_through_replacement() {
    let bench = Bench::new();
    bench.write("wanted", "1");
    bench.write("other", "2");
    let arguments = [bench.path("wanted")];
    let mut running = Running::start(&arguments, &Options::default(), &bench.state());
    assert_eq!(running.until_ready().0, 1);
    assert_eq!(running.read(&blake3_id(b"2"), 0, 10), None);
    bench.write("new", "3");
    fs::rename(bench.path("new"), bench.path("wanted")).unwrap();
    running.until_shared("wanted", "3");
    fs::remove_file(bench.path("wanted")).unwrap();
    running.until_withdrawn("wanted");
}
