//! Folders by their id: files, pages, and what does not leave them.

use std::collections::BTreeMap;

use cjp2p_tests::real::host::Host;
use cjp2p_wire::folder::{Builder, Entry, FolderPath, Kind, ListRef, reference_of};

use crate::support::{Gateway, sharing};

/// A peer that shares a folder of these files, and the folder's id.
fn shared(files: &BTreeMap<&str, &[u8]>, links: &[(&str, &str)]) -> (Host, String) {
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    let mut contents: Vec<Vec<u8>> = Vec::new();
    for (path, bytes) in files {
        let root = *blake3::hash(bytes).as_bytes();
        kinds.insert((*path).to_owned(), Kind::File { length: bytes.len() as u64, root, exec: false });
        contents.push(bytes.to_vec());
        for (at, _) in path.match_indices('/') {
            kinds.insert(path[..at].to_owned(), Kind::Folder { list: None });
        }
    }
    for (path, target) in links {
        kinds.insert((*path).to_owned(), Kind::Link { target: target.as_bytes().to_vec() });
    }
    let mut builder = Builder::new(|text: &[u8]| {
        contents.push(text.to_vec());
        Ok::<ListRef, std::convert::Infallible>(reference_of(text))
    });
    let entries = kinds.into_iter();
    let entry = |(path, kind): (String, Kind)| Entry {
        path: FolderPath::new(path.as_bytes()).expect("a path"),
        kind,
        mtime: None,
    };
    let mut entries: Vec<Entry> = entries.map(entry).collect();
    entries.sort_by(|one, other| one.path.cmp_tree(&other.path));
    entries.iter().for_each(|entry| builder.push(entry).expect("in order"));
    let folder = builder.finish().expect("a folder").folder_id();
    (sharing(&contents), folder)
}

#[test]
fn files_are_found_by_their_paths_and_folders_have_pages() {
    let files = BTreeMap::from([
        ("index.html", &b"<h1>start</h1>"[..]),
        ("a/b/deep.css", b"h1{}"),
        ("a/<x>&.txt", b"odd"),
        ("plain/one.txt", b"1"),
        ("plain/index.htm", b"no index"),
    ]);
    let links = [
        ("to", "a/b/deep.css"),
        ("a/up", "../plain/one.txt"),
        ("a/now", "b"),
        ("latest", "a/now"),
        ("loop", "loop"),
        ("out", "/etc"),
        ("a/out", "../../x"),
    ];
    let (peer, folder) = shared(&files, &links);
    let gateway = Gateway::start(&peer, &[]);
    let get = |path: &str| gateway.get(&format!("/{folder}{path}"), "");
    for (path, body) in [
        ("/", "<h1>start</h1>"),
        ("/index.html", "<h1>start</h1>"),
        ("/a/b/deep.css", "h1{}"),
        ("/a/%3Cx%3E&.txt", "odd"),
        ("/./a/./../index.html", "<h1>start</h1>"),
        ("/to", "h1{}"),
        ("/a/up", "1"),
        ("/a/now/deep.css", "h1{}"),
        ("/latest/deep.css", "h1{}"),
    ] {
        let answer = get(path);
        assert_eq!((answer.status, String::from_utf8_lossy(&answer.body).as_ref()), (200, body), "{path}");
        let policy = answer.field("content-security-policy").unwrap();
        assert!(
            policy.starts_with("sandbox allow-same-origin; default-src http://localhost/folder/"),
            "{policy}"
        );
        assert_eq!(answer.field("cache-control"), Some("public, max-age=31536000, immutable"));
    }
    for path in ["", "/a", "/plain", "/latest"] {
        let answer = get(path);
        assert_eq!(answer.status, 308, "{path}");
        assert_eq!(answer.field("location"), Some(&*format!("/{folder}{path}/")));
    }
    let page = get("/plain/");
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains("href=\"./one.txt\"") && text.contains("href=\"../\""), "{text}");
    let text = String::from_utf8(get("/a/").body).unwrap();
    assert!(!text.contains("<x>") && text.contains("href=\"./b/\""), "{text}");
    let tag = page.fields["etag"].clone();
    let again = gateway.get(&format!("/{folder}/plain/"), &format!("If-None-Match: {tag}\r\n"));
    assert_eq!(again.status, 304);
    for path in [
        "/nothing",
        "/a/b/deep.css/",
        "/a/b/deep.css/x",
        "/out",
        "/out/passwd",
        "/a/out",
        "/a/out/y",
        "/to/x",
        "/loop",
        "/loop/x",
        "/latest/none",
        "/a//b",
        "/%00",
    ] {
        assert_eq!(get(path).status, 404, "{path}");
    }
}

#[test]
fn a_list_that_is_none_is_a_bad_gateway() {
    let peer = sharing(&[b"this is no list\n".to_vec(), vec![7; 100_000]]);
    let gateway = Gateway::start(&peer, &[]);
    for bytes in [b"this is no list\n".to_vec(), vec![7; 100_000]] {
        let answer = gateway.get(&format!("/folder/{}/x", blake3::hash(&bytes).to_hex()), "");
        assert_eq!(answer.status, 502);
    }
}
