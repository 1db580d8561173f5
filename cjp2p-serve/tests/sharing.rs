//! What is shared, under which ids, and what changes of the files do to that.

mod bench;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::time::Duration;

use bench::{Bench, Running, blake3_id, name, noise, sha256_id, tree_id, tree_of};
use cjp2p_serve::share::Options;
use cjp2p_serve::walk::Rules;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::store::{Asker, Library, Read};
use cjp2p_wire::tree::Geometry;

#[test]
fn a_file_is_served_under_both_ids_its_name_and_with_its_tree() {
    let bench = Bench::new();
    let sizes = [0, 1, 4095, 4096, 4097, (1 << 20) + 1, 3 << 20];
    for size in sizes {
        bench.write(&format!("of-{size}"), noise(size, size as usize));
    }
    let mut running = bench.ready();
    for size in sizes {
        let content = noise(size, size as usize);
        let tree = tree_of(&content);
        for step in [960, 4096, 40_960] {
            for id in [blake3_id(&content), sha256_id(&content), name(&format!("of-{size}"))] {
                assert_eq!(running.read_all(&id, step).as_deref(), Some(&content[..]), "{id}");
            }
            let read = running.read_all(&tree_id(&content), step);
            assert!(read.as_deref() == Some(&tree[..]), "tree of {size} bytes by {step}");
        }
        let length = content.len() as u64;
        for id in [blake3_id(&content), sha256_id(&content)] {
            assert_eq!(running.read(&id, length, 100), Some((vec![], length)));
            assert_eq!(running.read(&id, u64::MAX, 100), Some((vec![], length)));
            assert_eq!(running.read(&id, 0, 0), Some((vec![], length)));
        }
        let past = (vec![], tree.len() as u64);
        assert_eq!(running.read(&tree_id(&content), u64::MAX, 1), Some(past));
    }
    assert_eq!(running.read(&blake3_id(b"something else"), 0, 10), None);
    assert_eq!(running.read(&name("something-else"), 0, 10), None);
}

#[test]
fn the_other_id_of_a_file_is_known_as_long_as_the_file_is_shared() {
    let bench = Bench::new();
    let content = noise(5, 10_000);
    bench.write("file", &content);
    let mut running = bench.ready();
    let (ContentId::Sha256(sha256), ContentId::Blake3(blake3)) = (sha256_id(&content), blake3_id(&content))
    else {
        panic!("that is what they are called")
    };
    assert_eq!(running.library.blake3_of(&sha256), Some(blake3));
    assert_eq!(running.library.blake3_of(&blake3), None);
    fs::remove_file(bench.path("file")).unwrap();
    running.until_withdrawn("file");
    assert_eq!(running.library.blake3_of(&sha256), None);
}

#[test]
fn any_range_of_content_and_tree_is_right() {
    let bench = Bench::new();
    let content = noise(1, 5_000_000);
    let tree = tree_of(&content);
    bench.write("file", &content);
    let mut running = bench.ready();
    let mut random = 1u64;
    for _ in 0..300 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let length = [1, 32, 960, 4096, 20_000, 40_960][(random >> 33) as usize % 6];
        for (id, whole) in [(blake3_id(&content), &content), (tree_id(&content), &tree)] {
            let offset = (random >> 20) as usize % whole.len();
            let (bytes, eof) = running.read(&id, offset as u64, length).unwrap();
            assert_eq!(eof, whole.len() as u64);
            assert!(!bytes.is_empty() && bytes.len() <= length);
            assert!(bytes == whole[offset..offset + bytes.len()], "{id} from {offset}");
        }
    }
}

#[test]
fn files_are_hashed_once_and_at_the_next_start_only_those_that_changed() {
    let bench = Bench::new();
    for number in 0..500 {
        bench.write(&format!("file-{number}"), format!("content {number}"));
    }
    let mut running = bench.start();
    assert_eq!(running.until_ready(), (500, 500));
    drop(running);
    let mut running = bench.start();
    assert_eq!(running.until_ready(), (500, 0));
    for number in [0, 250, 499] {
        let content = format!("content {number}").into_bytes();
        assert_eq!(running.read_all(&blake3_id(&content), 4096), Some(content));
    }
    drop(running);
    bench.write("one-more", "new");
    bench.write("file-7", "changed");
    assert_eq!(bench.start().until_ready(), (501, 2));
}

#[test]
fn a_change_is_noticed_and_the_new_content_shared() {
    let bench = Bench::new();
    bench.write("a", "first");
    let mut running = bench.ready();
    bench.write("a", "other");
    running.until_changed("a");
    running.until_shared("a", "other");
    assert_eq!(running.read(&sha256_id(b"first"), 0, 10), None);
    assert_eq!(running.read(&name("a"), 0, 10), Some((b"other".to_vec(), 5)));
    fs::rename(bench.path("a"), bench.path("b")).unwrap();
    running.until_withdrawn("a");
    running.until_shared("b", "other");
    assert_eq!(running.read(&name("a"), 0, 10), None);
    fs::remove_file(bench.path("b")).unwrap();
    running.until_withdrawn("b");
    assert_eq!(running.read(&blake3_id(b"other"), 0, 10), None);
}

#[test]
fn new_folders_are_watched_and_moved_or_removed_ones_withdrawn() {
    let bench = Bench::new();
    let mut running = bench.ready();
    bench.write("x/y/z/file", "deep");
    running.until_shared("x/y/z/file", "deep");
    bench.write("x/y/second", "later");
    running.until_shared("x/y/second", "later");
    fs::rename(bench.path("x"), bench.path("w")).unwrap();
    running.until_withdrawn("x/y/second");
    running.until_shared("w/y/second", "later");
    bench.write("w/y/third", "last");
    running.until_shared("w/y/third", "last");
    fs::remove_dir_all(bench.path("w")).unwrap();
    running.until_withdrawn("w/y/z/file");
}

#[test]
fn a_download_is_shared_once_it_has_its_final_name() {
    let bench = Bench::new();
    let mut running = bench.ready();
    bench.write("film.cjp2p-part", "not all of");
    bench.write("film.cjp2p-resume", "record");
    bench.write(".dot", "hidden");
    bench.write("marker", "1");
    running.until_shared("marker", "1");
    assert_eq!(running.read(&blake3_id(b"not all of"), 0, 10), None);
    fs::write(bench.path("film.cjp2p-part"), "all of it").unwrap();
    fs::rename(bench.path("film.cjp2p-part"), bench.path("film")).unwrap();
    running.until_shared("film", "all of it");
    assert_eq!(running.read(&blake3_id(b"record"), 0, 10), None);
    assert_eq!(running.read(&blake3_id(b"hidden"), 0, 10), None);
}

#[test]
fn a_name_that_two_files_have_is_not_served_until_one_is_gone() {
    let bench = Bench::new();
    bench.write("x/readme", "one");
    let mut running = bench.ready();
    assert_eq!(running.read(&name("readme"), 0, 9), Some((b"one".to_vec(), 3)));
    bench.write("y/readme", "two");
    running.until_shared("y/readme", "two");
    assert_eq!(running.read(&name("readme"), 0, 9), None);
    assert!(running.read(&blake3_id(b"one"), 0, 9).is_some());
    fs::remove_file(bench.path("x/readme")).unwrap();
    running.until_withdrawn("x/readme");
    assert_eq!(running.read(&name("readme"), 0, 9), Some((b"two".to_vec(), 3)));
}

#[test]
fn names_that_are_no_ids_are_still_shared_by_hash() {
    let bench = Bench::new();
    let digits = "0123456789abcdef".repeat(4);
    let odd = [b"caf\xe9" as &[u8], b"line\nbreak", b"back\\slash", digits.as_bytes()];
    for name in odd {
        fs::write(bench.path("").join(OsStr::from_bytes(name)), name).unwrap();
    }
    let mut running = bench.ready();
    for content in odd {
        assert_eq!(running.read_all(&blake3_id(content), 100).as_deref(), Some(content));
    }
    assert_eq!(running.read(&ContentId::parse(&digits).unwrap(), 0, 10), None);
    let listed = running.library.list(100);
    assert!(listed.iter().all(|(id, _)| matches!(id, ContentId::Blake3(_))), "{listed:?}");
}

#[test]
fn without_names_files_are_shared_by_hash_only() {
    let bench = Bench::new();
    bench.write("a", "content");
    let mut running = bench.start_with(&Options { names: false, ..Options::default() });
    running.until_ready();
    assert_eq!(running.read(&name("a"), 0, 10), None);
    assert!(running.read(&blake3_id(b"content"), 0, 10).is_some());
}

#[test]
fn lists_are_bounded_and_together_tell_everything() {
    let bench = Bench::new();
    for number in 0..100 {
        bench.write(&format!("file-{number}"), format!("content {number}"));
    }
    let mut running = bench.ready();
    let mut told = BTreeSet::new();
    for _ in 0..20 {
        let list = running.library.list(16);
        assert!(list.len() <= 16);
        told.extend(list);
    }
    assert_eq!(told.len(), 200, "an id and a name of each");
}

#[test]
fn two_files_with_the_same_content_stand_in_for_each_other() {
    let bench = Bench::new();
    let content = noise(1, 100_000);
    bench.write("a", &content);
    bench.write("b", &content);
    let mut running = bench.ready();
    assert!(running.read(&blake3_id(&content), 0, 50_000).is_some());
    // Read at once, before any notice can have come: what is found wrong while reading is passed over.
    fs::write(bench.path("a"), noise(2, 100_000)).unwrap();
    let (bytes, _) = running.read(&blake3_id(&content), 50_000, 40_960).unwrap();
    assert!(bytes == content[50_000..90_960]);
}

#[test]
fn a_lost_or_damaged_tree_is_made_anew_and_never_served() {
    let bench = Bench::new();
    let content = noise(1, 3 << 20);
    let tree = tree_of(&content);
    bench.write("file", &content);
    drop(bench.ready());
    let trees: Vec<_> = fs::read_dir(bench.state().join("trees-2")).unwrap().collect();
    assert_eq!(trees.len(), 1);
    let kept = trees[0].as_ref().unwrap().path();
    for damage in ["flip a bit", "remove"] {
        if damage == "remove" {
            fs::remove_file(&kept).unwrap();
        } else {
            let mut bytes = fs::read(&kept).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&kept, bytes).unwrap();
        }
        let mut running = bench.start();
        assert_eq!(running.until_ready(), (1, 0));
        let start = std::time::Instant::now();
        let read = loop {
            match running.read_all(&tree_id(&content), 4096) {
                Some(read) => break read,
                None => std::thread::sleep(Duration::from_millis(50)),
            }
            assert!(start.elapsed() < bench::TIMEOUT, "never made anew");
            assert!(running.read(&blake3_id(&content), 0, 100).is_some(), "content stays");
        };
        assert!(read == tree, "{damage}");
        assert!(kept.exists());
    }
}

#[test]
fn a_state_folder_that_cannot_be_written_costs_only_the_memory() {
    let bench = Bench::new();
    let content = noise(1, 2 << 20);
    bench.write("file", &content);
    fs::remove_dir(bench.state()).unwrap();
    fs::write(bench.state(), "in the way").unwrap();
    for _ in 0..2 {
        let mut running = bench.start();
        assert_eq!(running.until_ready(), (1, 1));
        assert_eq!(running.read_all(&tree_id(&content), 4096), Some(tree_of(&content)));
    }
}

#[test]
fn damaged_lines_in_the_store_only_cost_hashing_again() {
    let bench = Bench::new();
    for number in 0..10 {
        bench.write(&format!("file-{number}"), format!("content {number}"));
    }
    drop(bench.ready());
    let path = bench.state().join("hashes-1");
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().filter(|line| !line.is_empty()).nth(4).unwrap();
    // A digit of one of its numbers.
    let damaged = format!("{}{}", &line[..20], line[20..].replacen(|c: char| c.is_ascii_digit(), "x", 1));
    fs::write(&path, text.replace(line, &damaged)).unwrap();
    assert_eq!(bench.start().until_ready(), (10, 1));
    assert_eq!(bench.start().until_ready(), (10, 0));
}

#[test]
fn a_store_that_is_empty_foreign_or_100_mb_of_nothing_only_costs_hashing_again() {
    let bench = Bench::new();
    for number in 0..10 {
        bench.write(&format!("file-{number}"), format!("content {number}"));
    }
    drop(bench.ready());
    let path = bench.state().join("hashes-1");
    let spoil: [fn(&fs::File); 3] = [
        |file| file.set_len(0).unwrap(),
        |mut file| {
            use std::io::Write;
            file.set_len(0).unwrap();
            file.write_all(b"# cjp2p hashes 99: quite different\n{\"files\":[1,2,3]}\n").unwrap();
        },
        |file| {
            file.set_len(0).unwrap();
            file.set_len(100_000_000).unwrap();
        },
    ];
    for spoil in spoil {
        spoil(&fs::File::options().write(true).open(&path).unwrap());
        assert_eq!(bench.start().until_ready(), (10, 10));
        assert_eq!(bench.start().until_ready(), (10, 0));
        assert!(fs::metadata(&path).unwrap().len() < 10_000, "nothing of it is kept");
    }
}

#[test]
fn links_out_of_the_share_are_followed_only_on_request_and_then_kept_up_with() {
    let bench = Bench::new();
    fs::create_dir(bench.outside("away")).unwrap();
    fs::write(bench.outside("away/far"), "far").unwrap();
    symlink(bench.outside("away"), bench.path("link")).unwrap();
    bench.write("near", "near");
    let mut running = bench.ready();
    assert_eq!(running.read(&blake3_id(b"far"), 0, 10), None);
    drop(running);
    let mut running = bench.start_with(&Options {
        rules: Rules { follow: true, hidden: false },
        poll_every: Duration::from_millis(200),
        ..Options::default()
    });
    assert_eq!(running.until_ready().0, 2);
    assert!(running.read(&blake3_id(b"far"), 0, 10).is_some());
    fs::write(bench.outside("away/later"), "later").unwrap();
    running.until_shared("link/later", "later");
    fs::remove_file(bench.path("link")).unwrap();
    running.until_withdrawn("link/far");
}

#[test]
fn small_reads_here_and_there_leave_nothing_in_memory_and_those_in_order_not_for_long() {
    let bench = Bench::new();
    let content: Vec<u8> = (0..4_000_000u32).map(|n| (n / 7) as u8).collect();
    bench.write("large", &content);
    let mut running = bench.ready();
    let id = blake3_id(&content);
    let read = |running: &mut Running, offset: usize| {
        let got = running.read(&id, offset as u64, 1000).unwrap();
        assert_eq!(got.0, content[offset..offset + 1000], "{offset}");
    };
    for n in 0..200 {
        read(&mut running, n * 7919 % 3999 * 1000);
    }
    let few = running.library.held();
    assert!(few < 64 << 10, "{few} bytes of what nobody asks for again");
    for n in 0..500 {
        // Two getters at once, each in order.
        read(&mut running, n * 1000);
        read(&mut running, 2_000_000 + n * 1000);
    }
    let held = running.library.held();
    assert!(held >= 900_000, "{held}: the next small reads are not answered from memory");
    let computed = Geometry::new(content.len() as u64).unwrap().prefix_length();
    running.read(&tree_id(&content), computed, 1000).unwrap();
    let with_tree = running.library.held();
    assert!(with_tree > held + 4096, "the leaves of a group of which a part was wanted");
    running.library.forget_unused();
    read(&mut running, 500_000);
    running.library.forget_unused();
    let held = running.library.held();
    assert!(held <= 16 << 10, "{held} bytes of what nobody has asked for");
}

#[test]
fn a_glance_gives_what_a_read_gave_and_begins_nothing() {
    // Both where a file system can say that a read would wait, and where it cannot.
    for at in ["/dev/shm", "/tmp"] {
        let Ok(base) = tempfile::tempdir_in(at) else { continue };
        let bench = Bench::at(base);
        let bytes = noise(1, 3_000_000);
        bench.write("file", &bytes);
        let mut running = bench.ready();
        let (id, tree) = (blake3_id(&bytes), tree_id(&bytes));
        for _ in 0..2 {
            let mut out = Vec::new();
            assert_eq!(
                running.library.read(Asker::Unvalidated, &tree, 0, 4096, &mut out),
                Read::Later,
                "{at}"
            );
            let glanced = running.library.read(Asker::Unvalidated, &id, 5, 50_000, &mut out);
            assert_eq!(glanced, Read::Found { eof: Some(bytes.len() as u64) }, "{at}");
            assert!(out == bytes[5..5 + out.len()] && out.len() == 4096, "{at}: {}", out.len());
            assert_eq!(running.read(&id, 0, 9000).unwrap().0, bytes[..9000], "{at}");
        }
    }
}
