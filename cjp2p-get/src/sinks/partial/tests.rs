use super::*;

#[test]
fn what_was_written_before_the_disk_failed_is_in_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths {
        target: folder.path().join("a"),
        partial: folder.path().join("a.part"),
        record: folder.path().join("a.record"),
        make_folders: false,
    };
    let (id, block) = (ContentId::Sha256([7; 32]), 64 << 10);
    let Ok(Prepared::Ready(mut partial, None)) = prepare(&id, Ranges::default(), paths.clone(), false) else {
        panic!("there is nothing yet");
    };
    partial.on_length(1 << 20);
    partial.stage(0, &vec![1; block]).unwrap();
    partial.stage(block as u64, &vec![2; block]).unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    partial.behind = WriteBehind::grown_up(full);
    partial.behind.write(2 * block as u64, &[3; 100]).unwrap();
    assert_eq!(partial.save().unwrap_err().kind(), io::ErrorKind::StorageFull);
    let found = super::super::record::read(&paths.record, &id).unwrap().unwrap();
    assert_eq!(found.done, std::iter::once(0..2 * block as u64).collect());
}
