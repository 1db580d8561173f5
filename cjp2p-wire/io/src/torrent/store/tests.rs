//! What is written is there after any interruption, gets its place when it is whole, and replaces nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_torrent::metainfo::{Info, Spec};
use cjp2p_wire::folder::FolderPath;
use sha1::{Digest, Sha1};

use super::*;
use crate::event_loop::EventLoop;
use crate::torrent::space::Space;
use crate::torrent::staging::Staging;
use crate::udp::UdpPort;

const PIECE: u32 = 32 << 10;

fn path(text: &str) -> FolderPath {
    FolderPath::new(text.as_bytes()).unwrap()
}

/// Files that share pieces, and all of their bytes.
fn torrent() -> (Arc<Info>, Vec<u8>) {
    let files =
        [("a", 40_000, false), ("sub/b", 20_000, true), ("sub/empty", 0, false), ("sub/c", 70_000, false)];
    let bytes: Vec<u8> = (0..130_000_u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes())
        .step_by(4)
        .collect();
    let hashes: Vec<u8> = bytes.chunks(PIECE as usize).flat_map(Sha1::digest).collect();
    let spec = Spec {
        name: path("top"),
        files: files.map(|(name, len, exec)| (path(name), len, exec)).to_vec(),
        is_folder: true,
        piece_length: PIECE,
        is_private: false,
    };
    (Arc::new(spec.info(&hashes).unwrap()), bytes)
}

fn disk() -> Disk {
    let port = UdpPort::bind(&[SocketAddr::from(([127, 0, 0, 1], 0))]).unwrap();
    Disk::start(EventLoop::new(port, None).unwrap().waker()).unwrap()
}

fn open_staging(folder: &Path, info: &Info, force: bool) -> io::Result<Option<Staging>> {
    let open = || File::open(folder).unwrap().into();
    Staging::open(open(), open(), info, force)
}

fn staged(folder: &Path, info: &Arc<Info>, force: bool) -> io::Result<(Store, PieceSet)> {
    let staging = open_staging(folder, info, force)?.expect("nobody else has it");
    let there = staging.look(info, &|_| true)?;
    let store = Store::new(Files::staged(info.clone(), staging, &there.placed), disk());
    store.recheck(&there.unchecked);
    Ok((store, there.unchecked))
}

/// Writes a piece in blocks, the last first where it is `backwards`.
fn write(store: &mut Store, piece: u32, bytes: &[u8], backwards: bool) {
    let range = store.files().info().pieces().range(piece);
    let bytes = &bytes[range.start as usize..range.end as usize];
    let mut blocks: Vec<_> = bytes.chunks(16 << 10).enumerate().collect();
    if backwards {
        blocks.reverse();
    }
    for (n, block) in blocks {
        store.write_block(piece, (n as u32) << 14, block);
    }
    store.check(piece);
}

/// Waits until so many pieces were hashed.
fn checked(store: &mut Store, count: usize) -> BTreeMap<u32, bool> {
    let end = Instant::now() + Duration::from_secs(60);
    let mut all = BTreeMap::new();
    while all.len() < count && Instant::now() < end {
        all.extend(store.take_checked());
        assert!(store.take_problem().is_none());
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(all.len(), count, "in time");
    all
}

fn place(store: &Store) -> io::Result<()> {
    crate::torrent::place::place(store.files(), &|_| true)
}

fn read_all(folder: &Path) -> Vec<u8> {
    ["a", "sub/b", "sub/empty", "sub/c"].map(|name| fs::read(folder.join("top").join(name)).unwrap()).concat()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_fetched_gets_its_place_once_all_is_right() {
    let (folder, (info, bytes)) = (tempfile::tempdir().unwrap(), torrent());
    let (mut store, unchecked) = staged(folder.path(), &info, false).unwrap();
    assert!(unchecked.is_empty());
    for piece in 0..4 {
        write(&mut store, piece, &bytes, piece % 2 == 1);
    }
    assert!(checked(&mut store, 4).values().all(|is_right| *is_right));
    let mut block = vec![0; 16 << 10];
    assert_eq!(store.read_block(1, 1000, &mut block), Read::Found, "it was written just now");
    assert!(block == bytes[33_768..33_768 + (16 << 10)]);
    assert_eq!(names(folder.path()), [format!("top.{}.cjp2p-part", &info.hash().to_string()[..12])]);
    place(&store).unwrap();
    assert_eq!(names(folder.path()), ["top"]);
    assert!(read_all(folder.path()) == bytes);
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o111;
    assert!(mode("top/sub/b") != 0 && mode("top/a") == 0);
    // And is read from there.
    while store.read_block(2, 0, &mut block) == Read::Later {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(block == bytes[65_536..65_536 + (16 << 10)]);
}

#[test]
fn a_wrong_piece_is_found_and_a_block_that_comes_again_counts() {
    let (folder, (info, bytes)) = (tempfile::tempdir().unwrap(), torrent());
    let (mut store, _) = staged(folder.path(), &info, false).unwrap();
    store.write_block(0, 0, &vec![0; 16 << 10]);
    store.write_block(0, 16 << 10, &bytes[16 << 10..32 << 10]);
    store.check(0);
    assert_eq!(checked(&mut store, 1), [(0, false)].into());
    store.write_block(0, 0, &bytes[..16 << 10]);
    store.check(0);
    assert_eq!(checked(&mut store, 1), [(0, true)].into());
}

#[test]
fn an_interrupted_fetch_goes_on_with_what_is_right() {
    let (folder, (info, bytes)) = (tempfile::tempdir().unwrap(), torrent());
    let (mut store, _) = staged(folder.path(), &info, false).unwrap();
    write(&mut store, 1, &bytes, false);
    let damaged = vec![9; bytes.len()];
    write(&mut store, 2, &damaged, false);
    checked(&mut store, 2);
    assert!(open_staging(folder.path(), &info, false).unwrap().is_none(), "locked");
    drop(store);
    // The threads have it open until they end.
    let end = Instant::now() + Duration::from_secs(60);
    let reopened = loop {
        match open_staging(folder.path(), &info, false).unwrap() {
            Some(staging) => break staging,
            None if Instant::now() < end => thread::sleep(Duration::from_millis(1)),
            None => panic!("it is still locked"),
        }
    };
    drop(reopened);
    let (mut store, unchecked) = staged(folder.path(), &info, false).unwrap();
    assert!(unchecked.contains(1) && unchecked.contains(2) && !unchecked.contains(3));
    let found = checked(&mut store, unchecked.count() as usize);
    assert!(found[&1] && !found[&2]);
    for piece in [0, 2, 3] {
        write(&mut store, piece, &bytes, false);
    }
    assert!(checked(&mut store, 3).values().all(|is_right| *is_right));
    place(&store).unwrap();
    assert!(read_all(folder.path()) == bytes);
}

#[test]
fn files_that_are_there_are_taken_and_others_are_not_replaced() {
    let (folder, (info, bytes)) = (tempfile::tempdir().unwrap(), torrent());
    fs::create_dir_all(folder.path().join("top/sub")).unwrap();
    fs::write(folder.path().join("top/a"), &bytes[..40_000]).unwrap();
    let (mut store, unchecked) = staged(folder.path(), &info, false).unwrap();
    // The second piece of it is shared with a file that is missing.
    assert!(unchecked.iter().eq([0]));
    assert_eq!(checked(&mut store, 1), [(0, true)].into());
    for piece in 1..4 {
        write(&mut store, piece, &bytes, false);
    }
    checked(&mut store, 3);
    place(&store).unwrap();
    assert!(read_all(folder.path()) == bytes);
    drop(store);

    // All is there.
    let (mut store, unchecked) = staged(folder.path(), &info, false).unwrap();
    assert!(unchecked.is_full());
    assert!(checked(&mut store, 4).values().all(|is_right| *is_right));
    place(&store).unwrap();
    assert_eq!(names(folder.path()), ["top"]);
    drop(store);

    // A file of another length, and one of other bytes where only a shared piece shows it.
    fs::write(folder.path().join("top/a"), "mine").unwrap();
    let error = staged(folder.path(), &info, false).err().unwrap();
    assert!(error.to_string().contains("top/a: is there already and something else"), "{error}");
    fs::write(folder.path().join("top/a"), [&bytes[..39_999], &[!bytes[39_999]]].concat()).unwrap();
    fs::remove_file(folder.path().join("top/sub/b")).unwrap();
    let (mut store, unchecked) = staged(folder.path(), &info, false).unwrap();
    checked(&mut store, unchecked.count() as usize);
    for piece in 0..4 {
        write(&mut store, piece, &bytes, false);
    }
    checked(&mut store, 4);
    let error = place(&store).unwrap_err();
    assert!(error.to_string().contains("top/a: is there already and something else"), "{error}");
    assert!(fs::read(folder.path().join("top/a")).unwrap()[39_999] != bytes[39_999]);
    drop(store);
}

#[test]
fn with_force_what_is_there_is_replaced_but_no_link_is_followed() {
    let (folder, (info, bytes)) = (tempfile::tempdir().unwrap(), torrent());
    fs::create_dir_all(folder.path().join("top/sub")).unwrap();
    fs::write(folder.path().join("top/a"), "mine").unwrap();
    let (mut store, _) = staged(folder.path(), &info, true).unwrap();
    (0..4).for_each(|piece| write(&mut store, piece, &bytes, false));
    checked(&mut store, 4);
    place(&store).unwrap();
    assert!(read_all(folder.path()) == bytes);
    drop(store);

    let outside = tempfile::tempdir().unwrap();
    fs::remove_dir_all(folder.path().join("top")).unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("top")).unwrap();
    assert!(staged(folder.path(), &info, false).is_err());
    let (mut store, _) = staged(folder.path(), &info, true).unwrap();
    (0..4).for_each(|piece| write(&mut store, piece, &bytes, false));
    checked(&mut store, 4);
    assert!(place(&store).is_err());
    assert_eq!(names(outside.path()), [] as [&str; 0]);
}

#[test]
fn a_temporary_file_is_read_until_a_reader_has_had_it() {
    let (info, bytes) = torrent();
    let mut store = Store::new(Files::temporary(info, tempfile::tempfile().unwrap()), disk());
    (0..4).for_each(|piece| write(&mut store, piece, &bytes, false));
    assert!(checked(&mut store, 4).values().all(|is_right| *is_right));
    store.files().drop_pieces(0..2);
    let mut block = vec![0; 100];
    assert_eq!(store.read_block(1, 0, &mut block), Read::Gone);
    assert_eq!(store.read_block(2, 0, &mut block), Read::Found);
    assert!(block == bytes[65_536..65_636]);
}

#[test]
fn a_seed_reads_its_files_and_notices_that_one_was_changed() {
    let (folder, (info, bytes)) = (tempfile::tempdir().unwrap(), torrent());
    fs::create_dir_all(folder.path().join("top/sub")).unwrap();
    for (name, range) in
        [("a", 0..40_000), ("sub/b", 40_000..60_000), ("sub/empty", 0..0), ("sub/c", 60_000..130_000)]
    {
        fs::write(folder.path().join("top").join(name), &bytes[range]).unwrap();
    }
    let mut space = Space::beside(File::open(folder.path()).unwrap().into(), info.layout().clone());
    space.pin();
    let mut store = Store::new(Files::seeded(info.clone(), space), disk());
    store.recheck(&PieceSet::all(4));
    assert!(checked(&mut store, 4).values().all(|is_right| *is_right));
    let mut block = vec![0; 30_000];
    while store.read_block(1, 0, &mut block) == Read::Later {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(block == bytes[32_768..62_768]);
    fs::write(folder.path().join("top/a"), vec![0; 40_000]).unwrap();
    store.recheck(&PieceSet::all(4));
    let found = checked(&mut store, 4);
    assert!(!found[&0] && !found[&1] && found[&2]);
}

#[test]
fn what_is_not_whole_may_be_in_another_folder() {
    let (folder, (info, bytes)) = (tempfile::tempdir().unwrap(), torrent());
    let (top, home) = (folder.path().join("top"), folder.path().join("home"));
    fs::create_dir(&top).unwrap();
    fs::create_dir(&home).unwrap();
    let open = |path: &Path| File::open(path).unwrap().into();
    let staging = Staging::open(open(&top), open(&home), &info, false).unwrap().unwrap();
    let there = staging.look(&info, &|_| true).unwrap();
    let mut store = Store::new(Files::staged(info.clone(), staging, &there.placed), disk());
    (0..4).for_each(|piece| write(&mut store, piece, &bytes, false));
    checked(&mut store, 4);
    assert_eq!((names(&top).len(), names(&home).len()), (0, 1));
    place(&store).unwrap();
    assert!(read_all(&top) == bytes);
    assert_eq!(names(&home), [] as [&str; 0]);
}
