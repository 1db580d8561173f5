//! Disks that are full, and processes that are killed: what is sent is right, and later requests are answered.

use std::time::Duration;

use cjp2p_tests::content;

use crate::support::{Gateway, sharing};

#[test]
fn a_full_disk_holds_what_fits_and_what_was_read_makes_room() {
    let long = content::bytes(21, 20_000_000);
    let others: Vec<Vec<u8>> = (0..6).map(|n| content::bytes(30 + n, 1_500_000)).collect();
    let mut all = others.clone();
    all.push(long.clone());
    let peer = sharing(&all);
    let Some(gateway) = Gateway::start_on_disk(5 << 20, &peer, &[]) else { return };
    // All of them do not fit together, and the long one does not by itself.
    for bytes in others.iter().chain([&long]).chain(&others).chain([&long]) {
        let answer = gateway.get(&format!("/{}", content::blake3_id(bytes)), "");
        let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]).into_owned();
        assert_eq!(answer.status, 200, "{} bytes: {text}", bytes.len());
        assert!(answer.is_whole && answer.body == *bytes, "{} of {}", answer.body.len(), bytes.len());
    }
    // What has to be there whole cannot be had, and that is said. Then others are served.
    let answer = gateway.get(&format!("/{}", content::sha256_id(&long)), "");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 507, "{text}");
    assert!(text.contains("No space left"), "{text}");
    let answer = gateway.get(&format!("/{}", content::sha256_id(&others[0])), "");
    assert!(answer.status == 200 && answer.body == others[0], "{}", answer.status);
}

#[test]
fn a_client_that_reads_slowly_from_a_full_disk_gets_all_of_it() {
    let bytes = content::bytes(22, 30_000_000);
    let peer = sharing(std::slice::from_ref(&bytes));
    let Some(gateway) = Gateway::start_on_disk(4 << 20, &peer, &["--stall", "2s"]) else { return };
    let mut client = gateway.connect();
    let id = content::blake3_id(&bytes);
    client.send(&format!("GET /{id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let answer = client.answer_while(|| ());
    assert!(answer.is_whole && answer.body == bytes, "{} of {}", answer.body.len(), bytes.len());
}

#[test]
fn a_process_that_is_killed_while_it_fetches_leaves_nothing_wrong() {
    let bytes = content::bytes(23, 30_000_000);
    let peer = sharing(std::slice::from_ref(&bytes));
    let path = format!("/{}", content::blake3_id(&bytes));
    let mut folder = tempfile::tempdir().unwrap();
    for nth in 0..12 {
        let gateway = Gateway::start_in(folder, &peer, &[]);
        let mut client = gateway.connect();
        let range = nth * 2_000_000;
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nRange: bytes={range}-\r\n\r\n"));
        std::thread::sleep(Duration::from_millis(nth * 7));
        folder = gateway.kill();
        // Whatever came is a beginning of what was asked for.
        if let Some(body) = client.body_so_far() {
            assert!(bytes[range as usize..].starts_with(&body), "after the kill {nth}");
        }
    }
    let gateway = Gateway::start_in(folder, &peer, &[]);
    let answer = gateway.get(&path, "");
    assert!(answer.is_whole && answer.body == bytes);
}
