//! Files that clients send: with the token, as new files, whole or not at all.

use std::fs;

use cjp2p_tests::content;
use serde_json::Value;

use crate::support::{Gateway, sharing, until};

fn put(gateway: &Gateway, name: &str, token: &str, body: &[u8]) -> crate::support::Answer {
    use std::io::Write;
    let mut client = gateway.connect();
    let length = body.len();
    client.send(&format!(
        "PUT /{name} HTTP/1.1\r\nHost: localhost\r\nX-CJP2P-Token: {token}\r\nContent-Length: {length}\r\n\r\n"
    ));
    // Where it is refused, the rest may not be read.
    let _ = client.stream.write_all(body);
    client.answer(false)
}

#[test]
fn a_file_that_is_sent_with_the_token_is_a_new_file_and_its_ids_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let share = folder.path().join("share");
    fs::create_dir(&share).unwrap();
    let peer = sharing(&[]);
    let arguments = ["--share", share.to_str().unwrap(), "--max-upload", "3M"];
    let gateway = Gateway::start(&peer, &arguments);
    let token = fs::read_to_string(gateway.cache().join("../state/http-token")).unwrap();
    let token = token.trim();
    let bytes = content::bytes(30, 2_000_000);
    let answer = put(&gateway, "a%20b.bin", token, &bytes);
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    let id = content::blake3_id(&bytes).to_string();
    assert_eq!((&told["id"], &told["length"]), (&Value::from(&*id), &Value::from(2_000_000)));
    assert_eq!(told["sha256"], content::sha256_id(&bytes).to_string());
    assert_eq!(answer.field("location"), Some(&*format!("/{id}/a%20b.bin")));
    assert!(fs::read(share.join("a b.bin")).unwrap() == bytes);
    for (name, token, body, status) in [
        ("a%20b.bin", token, &b"other"[..], 409),
        ("new", "wrong", b"x", 401),
        ("new", "", b"x", 401),
        ("..%2Fnew", token, b"x", 400),
        (".new", token, b"x", 400),
        ("a/new", token, b"x", 400),
        ("", token, b"x", 400),
        ("new", token, &[0; 3_145_729], 413),
    ] {
        assert_eq!(put(&gateway, name, token, body).status, status, "{name}");
    }
    let mut foreign = gateway.connect();
    foreign.send(&format!(
        "PUT /new HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\nX-CJP2P-Token: {token}\r\nContent-Length: 1\r\n\r\nx"
    ));
    assert_eq!(foreign.answer(false).status, 403);
    // One that goes before the end.
    let mut goes = gateway.connect();
    goes.send(&format!(
        "PUT /half HTTP/1.1\r\nHost: localhost\r\nX-CJP2P-Token: {token}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    ));
    until("it is not begun", || fs::read_dir(&share).unwrap().count() == 2);
    drop(goes);
    until("what is not whole stays", || fs::read_dir(&share).unwrap().count() == 1);
    let mut chunks = gateway.connect();
    chunks.send(&format!(
        "POST /chunks HTTP/1.1\r\nHost: localhost\r\nX-CJP2P-Token: {token}\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    ));
    assert_eq!(chunks.answer(false).status, 100);
    chunks.send("5\r\nhello\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(chunks.answer(false).status, 201);
    assert_eq!(chunks.answer(false).status, 200, "the connection is of use for the next request");
    assert_eq!(fs::read(share.join("chunks")).unwrap(), b"hello");
}
