//! Requests and answers, byte by byte; and what comes of clients that go, wait, or send nothing of use.

use std::time::{Duration, Instant};

use cjp2p_tests::content;
use serde_json::Value;

use crate::support::{Gateway, LIMIT, sharing};

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

#[test]
fn every_request_of_the_table_is_answered_as_it_says() {
    let peer = sharing(&[LETTERS.to_vec()]);
    let gateway = Gateway::start(&peer, &[]);
    let table = include_str!("../../../tests/vectors/http_requests.json");
    let table: Value = serde_json::from_str(table).unwrap();
    let names = |text: &str| {
        text.replace("ID", &content::blake3_id(LETTERS).to_string())
            .replace("SHA", &content::sha256_id(LETTERS).to_string())
            .replace("NONE", &"17".repeat(32))
    };
    let rows = table["rows"].as_array().unwrap();
    assert!(rows.len() > 50);
    for row in rows {
        let name = row["name"].as_str().unwrap();
        let send = names(row["send"].as_str().unwrap());
        let mut client = gateway.connect();
        client.send(&send);
        let answer = client.answer(send.trim_start().starts_with("HEAD"));
        assert_eq!(u64::from(answer.status), row["status"].as_u64().unwrap(), "{name}: {answer:?}");
        assert!(answer.is_whole, "{name}");
        assert!(answer.field("date").is_some_and(|date| date.ends_with(" GMT")), "{name}");
        for (field, value) in row["fields"].as_object().into_iter().flatten() {
            let expected = value.as_str().map(names);
            assert_eq!(answer.field(field), expected.as_deref(), "{name}: {field}");
        }
        let body = String::from_utf8_lossy(&answer.body);
        if let Some(expected) = row["body"].as_str() {
            assert_eq!(body, expected, "{name}");
        }
        if let Some(expected) = row["body_has"].as_str() {
            assert!(body.contains(expected), "{name}: {body}");
        }
        if row["closes"].as_bool().unwrap_or(false) {
            assert!(client.is_closed(), "{name}");
        } else if !send.contains("Content-Length") {
            // The connection is of use for the next request.
            client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(client.answer(false).status, 200, "{name}: the next request");
        }
    }
}

#[test]
fn requests_that_come_together_or_bit_by_bit_are_answered_in_order() {
    let peer = sharing(&[LETTERS.to_vec()]);
    let gateway = Gateway::start(&peer, &[]);
    let path = format!("/{}", content::blake3_id(LETTERS));
    let mut client = gateway.connect();
    let requests: String = (0..26)
        .map(|n| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nRange: bytes={n}-{n}\r\n\r\n"))
        .collect();
    let (first, rest) = requests.split_at(101);
    client.send(first);
    for byte in rest[..40].chars() {
        client.send(&byte.to_string());
    }
    client.send(&rest[40..]);
    for letter in LETTERS {
        assert_eq!(client.answer(false).body, [*letter]);
    }
}

#[test]
fn a_source_that_goes_before_the_end_breaks_the_answer_off() {
    let bytes = content::bytes(1, 40 << 20);
    let peer = sharing(std::slice::from_ref(&bytes));
    let gateway = Gateway::start(&peer, &["--stall", "2s"]);
    let mut client = gateway.connect();
    client.send(&format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", content::blake3_id(&bytes)));
    // Not all of it fits the buffers of a socket, and what is ahead of the reader.
    std::thread::sleep(Duration::from_millis(300));
    drop(peer);
    let answer = client.answer(false);
    if answer.is_whole {
        // The machine was fast enough to have it all.
        assert!(answer.body == bytes);
    } else {
        assert!(bytes.starts_with(&answer.body) && answer.body.len() < bytes.len());
    }
}

#[test]
fn a_client_that_stops_reading_holds_nobody_up_and_what_it_does_not_read_is_not_fetched() {
    let bytes = content::bytes(2, 150 << 20);
    let peer = sharing(std::slice::from_ref(&bytes));
    let gateway = Gateway::start(&peer, &[]);
    let id = content::blake3_id(&bytes);
    let mut stops = gateway.connect();
    stops.send(&format!("GET /{id} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let mut last = 0;
    // Until nothing more comes.
    crate::support::until("it goes on and on", || {
        std::thread::sleep(Duration::from_millis(700));
        let room = crate::support::room(&gateway.cache());
        std::mem::replace(&mut last, room) == room && room > 0
    });
    assert!(last < 60 << 20, "{last} bytes were fetched for a client that read nothing");
    let answer = gateway.get(&format!("/{id}"), "Range: bytes=140000000-140000999\r\n");
    assert!(answer.status == 206 && answer.body == bytes[140_000_000..140_001_000]);
    let status: Value = serde_json::from_slice(&gateway.get("/status.json", "").body).unwrap();
    assert_eq!(status["contents"][0]["id"], id.to_string());
    assert!(status["contents"][0]["done"].as_u64().unwrap() < 70 << 20, "what lies between is not fetched");
}

#[test]
fn clients_that_send_half_a_request_are_ended_and_others_are_served_meanwhile() {
    let peer = sharing(&[LETTERS.to_vec()]);
    let gateway = Gateway::start(&peer, &["--max-connections", "50"]);
    let mut slow: Vec<_> = (0..40).map(|_| gateway.connect()).collect();
    let begun = Instant::now();
    for client in &mut slow {
        client.send("GET / HTTP/1.1\r\nHost: loc");
    }
    let path = format!("/{}", content::blake3_id(LETTERS));
    for _ in 0..100 {
        // More than there may be: those that are idle make room.
        assert_eq!(gateway.get(&path, "").body, LETTERS);
    }
    for mut client in slow {
        assert_eq!(client.answer(false).status, 408);
        assert!(client.is_closed());
    }
    assert!(begun.elapsed() < LIMIT);
}
