//! Metainfo that was made here is read again; what hostile metainfo says is refused.

use cjp2p_wire::folder::PathError;

use std::sync::Arc;

use cjp2p_wire::content_id::ContentId;

use super::*;
use crate::info_hash::InfoHash;
use crate::layout::{LayoutError, Role};
use cjp2p_wire::folder::FolderPath;

fn path(text: &str) -> FolderPath {
    FolderPath::new(text.as_bytes()).unwrap()
}

/// `info` of a file of 3 bytes, with these fields in the place of its own.
fn info_with(changes: &[(&str, &str)]) -> Vec<u8> {
    let hash = format!("20:{}", "h".repeat(20));
    let mut fields = vec![("length", "i3e".to_owned()), ("name", "1:n".to_owned())];
    fields.extend([("piece length", "i16384e".to_owned()), ("pieces", hash)]);
    for (key, value) in changes {
        fields.retain(|(name, _)| name != key);
        if !value.is_empty() {
            fields.push((key, (*value).to_owned()));
        }
    }
    fields.sort();
    let pairs: String = fields.iter().map(|(key, value)| format!("{}:{key}{value}", key.len())).collect();
    format!("d{pairs}e").into_bytes()
}

fn parse(changes: &[(&str, &str)]) -> Result<Info, MetainfoError> {
    Info::parse(&info_with(changes))
}

/// Changes that make a folder of the file.
fn files(files: &str) -> [(&str, &str); 2] {
    [("length", ""), ("files", files)]
}

#[test]
fn what_was_made_is_read_again() {
    let bytes = [b"abc".repeat(10_000), b"x".to_vec()].concat();
    let pieces: Vec<u8> = bytes.chunks(16384).flat_map(|piece| *InfoHash::of(piece).as_bytes()).collect();
    let spec = Spec {
        name: path("album"),
        files: vec![(path("a/b"), 30_000, true), (path("c"), 0, false), (path("d"), 1, false)],
        is_folder: true,
        piece_length: 16384,
        is_private: true,
    };
    let mut metainfo = Metainfo::new(spec.info(&pieces).unwrap());
    assert_eq!(Metainfo::parse(&metainfo.to_bytes()).unwrap(), metainfo);
    metainfo.trackers = vec![vec!["http://a/announce".into(), "udp://b:1".into()], vec!["http://c/".into()]];
    metainfo.web_seeds = vec!["http://d/".into()];
    assert_eq!(Metainfo::parse(&metainfo.to_bytes()).unwrap(), metainfo);

    let info = &metainfo.info;
    assert_eq!((info.len(), info.pieces().count(), info.pieces().len_of(1)), (30_001, 2, 13_617));
    assert!(info.is_private() && info.is_piece(0, &bytes[..16384]) && info.is_piece(1, &bytes[16384..]));
    assert!(!info.is_piece(1, &bytes[..16384]) && !info.is_piece(2, b""));
    assert_eq!(info.layout().path(0), path("album/a/b"));
    assert_eq!(info.layout().files()[0].role(), Role::File { is_executable: true });
    assert_eq!(info.hash(), InfoHash::of(info.raw()));
}

#[test]
fn the_id_in_the_other_network_is_kept_for_a_single_file_only() {
    let mut metainfo = Metainfo::new(parse(&[]).unwrap());
    metainfo.content = Some(ContentId::Blake3([7; 32]));
    assert_eq!(Metainfo::parse(&metainfo.to_bytes()).unwrap(), metainfo);
    metainfo.info = Arc::new(parse(&files("ld6:lengthi3e4:pathl1:aeee")).unwrap());
    assert_eq!(Metainfo::parse(&metainfo.to_bytes()).unwrap().content, None);
}

#[test]
fn the_info_hash_is_of_the_bytes_that_came() {
    let raw = info_with(&[("zzz", "d1:xl0:ee"), ("source", "3:abc")]);
    let info = Info::parse(&raw).unwrap();
    assert_eq!((info.hash(), info.raw()), (InfoHash::of(&raw), &*raw));
    let text = [b"d4:info", &*raw, b"e"].concat();
    assert_eq!(Metainfo::parse(&text).unwrap().to_bytes(), text);
}

#[test]
fn the_name_in_utf_8_wins() {
    let info = parse(&[("name.utf-8", "2:\u{e9}")]).unwrap();
    assert_eq!(info.name(), &path("é"));
    let info = parse(&files("ld6:lengthi3e4:pathl1:ae10:path.utf-8l1:beee")).unwrap();
    assert_eq!(info.layout().path(0), path("n/b"));
}

#[test]
fn paths_that_lead_out_are_refused() {
    for name in ["0:", "1:.", "2:..", "3:a/b", "4:/etc", "2:a\0"] {
        assert!(matches!(parse(&[("name", name)]), Err(MetainfoError::Path(_))), "{name}");
    }
    for parts in ["le", "l0:e", "l2:..1:ae", "l1:a2:..e", "l3:a/be", "l1:a0:e", "l1:.e"] {
        let one = format!("ld6:lengthi3e4:path{parts}ee");
        assert!(matches!(parse(&files(&one)), Err(MetainfoError::Path(_))), "{parts}");
    }
    let many = format!("ld6:lengthi3e4:pathl{}eee", "1:a".repeat(100_000));
    assert_eq!(parse(&files(&many)), Err(MetainfoError::Path(PathError::TooLong)));
}

#[test]
fn files_that_clash_are_refused_whole() {
    let twins = "ld6:lengthi1e4:pathl1:aeed6:lengthi2e4:pathl1:aeee";
    assert_eq!(parse(&files(twins)), Err(MetainfoError::Layout(LayoutError::Twins(path("a")))));
    let beneath = "ld6:lengthi1e4:pathl1:a1:beed6:lengthi2e4:pathl1:aeee";
    assert_eq!(parse(&files(beneath)), Err(MetainfoError::Layout(LayoutError::FileInFile(path("a")))));
}

#[test]
fn attributes_say_what_is_padding_and_what_is_a_link() {
    let list = "ld4:attr1:x6:lengthi1e4:pathl1:aeed4:attr1:p6:lengthi2e4:pathl4:.pad1:2eed4:attr1:l6:lengthi0e4:pathl1:leee";
    let info = parse(&files(list)).unwrap();
    let roles: Vec<_> = info.layout().files().iter().map(|file| file.role()).collect();
    assert_eq!(roles, [Role::File { is_executable: true }, Role::Padding, Role::Link]);
    let long_link = "ld6:lengthi1e4:pathl1:aeed4:attr1:l6:lengthi2e4:pathl1:leee";
    assert_eq!(parse(&files(long_link)), Err(MetainfoError::Field("length")));
}

#[test]
fn fields_that_are_wrong_missing_or_do_not_go_together_are_refused() {
    use MetainfoError::*;
    let refused = |changes: &[(&str, &str)]| parse(changes).unwrap_err();
    assert_eq!(refused(&[("name", "")]), Missing("name"));
    assert_eq!(refused(&[("length", "")]), Missing("length"));
    assert_eq!(refused(&[("pieces", "")]), Missing("pieces"));
    assert_eq!(refused(&[("pieces", ""), ("meta version", "i2e")]), OnlyV2);
    assert_eq!(refused(&[("piece length", "")]), Missing("piece length"));
    for length in ["i0e", "i-1e", "i268435457e", "i99999999999999999999e", "1:1", "le"] {
        assert_eq!(refused(&[("piece length", length)]), Field("piece length"), "{length}");
    }
    assert_eq!(refused(&[("length", "i-3e")]), Field("length"));
    assert_eq!(refused(&[("length", "i0e")]), Layout(LayoutError::Empty));
    assert_eq!(refused(&[("length", "i16385e")]), Pieces { wanted: 2, bytes: 20 });
    assert_eq!(refused(&[("pieces", "3:abc")]), Pieces { wanted: 1, bytes: 3 });
    assert_eq!(refused(&[("length", "i9223372036854775807e")]), Layout(LayoutError::TooLong));
    assert_eq!(refused(&[("files", "ld6:lengthi3e4:pathl1:aeee")]), Field("files"));
    assert_eq!(refused(&files("li1ee")), Field("files"));
    assert_eq!(refused(&files("ld4:pathl1:aeee")), Field("length"));
    assert_eq!(refused(&files("ld6:lengthi3eee")), Missing("path"));
    assert_eq!(Metainfo::parse(b"d8:announce3:urle").unwrap_err(), Missing("info"));
    assert_eq!(Metainfo::parse(b"d4:infoi1ee").unwrap_err(), Field("info"));
    assert!(matches!(Metainfo::parse(b"hello").unwrap_err(), Bencode(_)));
}

#[test]
fn what_is_wrong_around_info_is_passed_over_and_bounded() {
    let info = String::from_utf8(info_with(&[])).unwrap();
    let tiers = "ll1:a1:blei3e3:c dei7ele1:xe";
    let text = format!("d8:announcei1e13:announce-list{tiers}4:info{info}8:url-list1:we");
    let metainfo = Metainfo::parse(text.as_bytes()).unwrap();
    assert_eq!(metainfo.trackers, [["a", "b"]]);
    assert_eq!(metainfo.web_seeds, ["w"]);
    let many = "l1:ae".repeat(1000);
    let text = format!("d13:announce-listl{many}e4:info{info}e");
    assert_eq!(Metainfo::parse(text.as_bytes()).unwrap().trackers.len(), MAX_TRACKERS);
    let text = format!("d8:announce3:url4:info{info}e");
    assert_eq!(Metainfo::parse(text.as_bytes()).unwrap().trackers, [["url"]]);
}

#[test]
fn pieces_are_chosen_between_one_block_and_16_mib() {
    assert_eq!(auto_piece_length(1), 16 << 10);
    assert_eq!(auto_piece_length(2000 * (16 << 10)), 16 << 10);
    assert_eq!(auto_piece_length(2000 * (16 << 10) + 1), 32 << 10);
    assert_eq!(auto_piece_length(256 << 20), 256 << 10);
    assert_eq!(auto_piece_length(1 << 40), 16 << 20);
}
