//! Files that change, and are swapped for others, while they are read.

mod bench;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use bench::{Bench, blake3_id, name, noise, sha256_id, tree_id, tree_of};
use cjp2p_wire::content_id::ContentId;

const SECRET: &[u8] = b"SECRET-SECRET-SECRET";

#[test]
fn ids_that_look_like_paths_lead_nowhere() {
    let bench = Bench::new();
    fs::write(bench.outside("secret"), SECRET).unwrap();
    symlink(bench.outside("secret"), bench.path("link")).unwrap();
    symlink(bench.outside(""), bench.path("way")).unwrap();
    bench.write("sub/file", "inside");
    bench.write("plain", "inside too");
    let mut running = bench.ready();
    let absolute = bench.outside("secret").to_string_lossy().into_owned();
    for text in [
        "../secret",
        "..",
        ".",
        "/",
        "",
        "link",
        "way",
        "way/secret",
        "sub/file",
        "./plain",
        "plain/",
        "sub/../plain",
        "/etc/passwd",
        "//etc/passwd",
        "..\\secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "plain\0",
        "\0",
        "share/plain",
        "blake3/../../secret",
        "blake3_tree_v2/../plain",
        "CON",
        "plain:stream",
        "~",
        "$HOME",
        "file:///etc/passwd",
        &absolute,
        &"a/".repeat(100),
        &"..".repeat(120),
    ] {
        if let Ok(id) = ContentId::parse(text) {
            assert_eq!(running.read(&id, 0, 100), None, "{text:?}");
        }
    }
    assert!(running.read(&name("plain"), 0, 100).is_some());
    assert_eq!(running.read(&blake3_id(SECRET), 0, 100), None);
}

/// One thread swaps a file, then its folder, for links to something outside; another reads all the while.
#[test]
fn what_is_swapped_for_a_link_while_it_is_read_never_leads_outside() {
    const SWAPS: usize = 10_000;
    // On a busy machine it may take longer until a read falls between two swaps.
    const MOST_SWAPS: usize = 100 * SWAPS;
    let bench = Bench::new();
    let content = noise(7, SECRET.len());
    bench.write("folder/file", &content);
    fs::create_dir(bench.outside("evil")).unwrap();
    fs::write(bench.outside("evil/file"), SECRET).unwrap();
    let mut running = bench.ready();
    let ids = [blake3_id(&content), sha256_id(&content), name("file")];
    let done = AtomicBool::new(false);
    let (folder, aside) = (bench.path("folder"), bench.outside("aside"));
    let evil = bench.outside("evil");
    let found = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for swap in 0..MOST_SWAPS {
                if swap >= SWAPS && found.load(Ordering::Relaxed) > 0 {
                    break;
                }
                let (path, target) = if swap % 2 == 0 {
                    (folder.join("file"), evil.join("file"))
                } else {
                    (folder.clone(), evil.clone())
                };
                fs::rename(&path, &aside).unwrap();
                symlink(target, &path).unwrap();
                fs::remove_file(&path).unwrap();
                fs::rename(&aside, &path).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            for id in &ids {
                if let Some((bytes, _)) = running.read(id, 0, 100) {
                    assert!(bytes == content, "something else was read by {id}");
                    found.fetch_add(1, Ordering::Relaxed);
                }
            }
            running.share.poll(&mut running.library);
        }
    });
    assert_eq!(running.read(&blake3_id(SECRET), 0, 100), None);
    assert!(found.into_inner() > 0, "nothing was ever read, so nothing was tested");
    running.until_shared("folder/file", &content);
}

/// One thread overwrites, truncates, replaces and appends; what is read under an id is always of that content.
#[test]
fn no_byte_of_another_version_is_ever_given_for_an_id() {
    const CHANGES: u64 = 160;
    const SIZE: usize = 150_000;
    let bench = Bench::new();
    let versions: Vec<Vec<u8>> = (0..4).map(|seed| noise(seed, SIZE)).collect();
    let trees: Vec<Vec<u8>> = versions.iter().map(|content| tree_of(content)).collect();
    bench.write("file", &versions[0]);
    let mut running = bench.ready();
    let done = AtomicBool::new(false);
    let path = bench.path("file");
    let mut found = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for change in 0..CHANGES {
                let content = &versions[change as usize % 4];
                let file = File::options().write(true).open(&path).unwrap();
                match change / 4 % 4 {
                    // In place, without any change of length.
                    0 => file.write_all_at(content, 0).unwrap(),
                    // From back to front.
                    1 => {
                        for at in (0..SIZE).step_by(5_000).rev() {
                            file.write_all_at(&content[at..at + 5_000], at as u64).unwrap();
                        }
                    }
                    2 => {
                        file.set_len(0).unwrap();
                        file.write_all_at(content, 0).unwrap();
                    }
                    _ => {
                        let new = path.with_extension("cjp2p-part");
                        fs::write(&new, content).unwrap();
                        fs::rename(&new, &path).unwrap();
                    }
                }
                // Now and then long enough to be hashed and shared.
                let pause = if change % 8 == 7 { 400 } else { 1 };
                thread::sleep(std::time::Duration::from_millis(pause));
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut random = 1u64;
        while !done.load(Ordering::Relaxed) {
            running.share.poll(&mut running.library);
            for (content, tree) in versions.iter().zip(&trees) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let ids = [blake3_id, sha256_id, tree_id];
                let which = (random >> 40) as usize % 3;
                let whole = if which == 2 { tree } else { content };
                let offset = (random >> 20) as usize % whole.len();
                let length = [900, 4096, 40_960][(random >> 50) as usize % 3];
                let id = ids[which](content);
                if let Some((bytes, eof)) = running.read(&id, offset as u64, length) {
                    assert!(bytes == whole[offset..offset + bytes.len()], "wrong bytes of {id}");
                    assert_eq!(eof, whole.len() as u64);
                    found += 1;
                }
            }
        }
    });
    assert!(found > 1000, "only {found} reads found anything");
    running.until_shared("file", &versions[(CHANGES - 1) as usize % 4]);
}

#[test]
fn content_that_is_not_in_memory_comes_later() {
    let bench = Bench::new();
    let content = noise(3, 3 << 20);
    bench.write("file", &content);
    let mut running = bench.ready();
    for step in [4096, 40_960] {
        let file = File::open(bench.path("file")).unwrap();
        file.sync_all().unwrap();
        // Only a hint to the kernel; where it is not taken, the test is weaker.
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert!(running.read_all(&sha256_id(&content), step).unwrap() == content);
    }
}
