//! What a client sees: requests one after another, limits of time, and ends that cannot be mistaken.

use std::time::Duration;

use super::super::response::Head;
use super::*;

const DATE: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

fn asked(text: &str) -> Connection {
    let mut connection = Connection::new(at(0));
    connection.on_bytes(at(0), text.as_bytes());
    connection
}

/// Sends all that can be sent now. Content is sent as dots.
fn sent(connection: &mut Connection) -> String {
    let mut text = String::new();
    while let Some(next) = connection.to_send() {
        let count = match next {
            ToSend::Bytes(bytes) => {
                // Bit by bit, as slow clients read.
                let bytes = &bytes[..bytes.len().min(7)];
                text.push_str(std::str::from_utf8(bytes).unwrap());
                bytes.len() as u64
            }
            ToSend::Content(range) => {
                text.push('.');
                assert!(range.start < range.end);
                1
            }
        };
        connection.on_sent(at(1), count);
    }
    text
}

fn content(range: Range<u64>) -> Answer {
    Answer { head: Head::new(200), body: Body::Pieces([Piece::Content(range)].into()) }
}

#[test]
fn requests_that_came_together_are_answered_one_after_another() {
    let mut connection =
        asked("GET /a HTTP/1.1\r\nHost: h\r\n\r\nHEAD /b HTTP/1.1\r\nHost: h\r\n\r\nGET /c HTTP/1.0\r\n\r\n");
    for (path, answer) in [
        ("/a", "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 5\r\n\r\n....."),
        ("/b", "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 5\r\n\r\n"),
        (
            "/c",
            "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 5\r\nConnection: close\r\n\r\n.....",
        ),
    ] {
        let request = connection.take_request().expect("a request").unwrap();
        assert_eq!(request.path, path);
        assert!(connection.take_request().is_none() && connection.to_send().is_none());
        connection.answer(at(0), DATE, content(7..12));
        assert_eq!(sent(&mut connection), answer);
    }
    assert_eq!(connection.is_over(), Some(End::Close));
}

#[test]
fn an_answer_of_unknown_length_comes_in_chunks_or_until_the_end() {
    let stream = || Answer { head: Head::new(200), body: Body::Stream };
    let mut connection = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    connection.take_request();
    connection.answer(at(0), DATE, stream());
    connection.push(b"hello");
    connection.push(b"");
    connection.push(&[b'x'; 16]);
    connection.finish(at(1));
    let text = sent(&mut connection);
    assert!(
        text.ends_with("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\nxxxxxxxxxxxxxxxx\r\n0\r\n\r\n"),
        "{text}"
    );
    assert!(connection.is_idle());
    let mut old = asked("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    old.take_request();
    old.answer(at(0), DATE, stream());
    old.push(b"hello");
    let text = sent(&mut old);
    assert!(text.ends_with("Connection: close\r\n\r\nhello"), "{text}");
    assert_eq!((old.is_over(), old.timeout_at()), (None, Time::NEVER));
    old.finish(at(1));
    assert_eq!(old.is_over(), Some(End::Close));
}

#[test]
fn a_client_that_reads_slowly_is_queued_only_so_much() {
    let mut connection = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    connection.take_request();
    connection.answer(at(0), DATE, Answer { head: Head::new(200), body: Body::Stream });
    let mut pushed = 0;
    while connection.has_room() {
        connection.push(&[0; 1000]);
        pushed += 1000;
    }
    assert!((MAX_QUEUED - 10_000..=MAX_QUEUED).contains(&pushed), "{pushed}");
    let some = match connection.to_send() {
        Some(ToSend::Bytes(bytes)) => bytes.len() as u64,
        other => panic!("{other:?}"),
    };
    connection.on_sent(at(1), some);
    assert!(connection.has_room());
}

#[test]
fn a_part_of_an_answer_is_not_mistaken_for_all_of_it() {
    let mut connection = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    connection.take_request();
    connection.answer(at(0), DATE, content(0..5));
    connection.on_sent(at(0), 10);
    connection.fail();
    assert_eq!((connection.is_over(), connection.to_send()), (Some(End::Reset), None));
}

#[test]
fn a_body_is_read_only_where_it_is_wanted() {
    let head = "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut connection = asked(head);
    connection.take_request().unwrap().unwrap();
    connection.accept_body(at(0));
    assert_eq!(sent(&mut connection), "HTTP/1.1 100 Continue\r\n\r\n");
    for byte in "5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: t\r\n\r\n".bytes() {
        connection.on_bytes(at(1), &[byte]);
        assert!(!connection.is_body_broken());
    }
    assert!(!connection.is_body_over());
    assert_eq!(connection.take_body(), b"hello!");
    assert!(connection.is_body_over());
    connection.answer(at(1), DATE, Answer::of_line(201, "done"));
    assert!(sent(&mut connection).ends_with("\r\n\r\ndone\n"));
    assert!(connection.is_idle(), "the next request may come");

    let mut refused = asked("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
    refused.take_request();
    refused.on_bytes(at(1), &[b'x'; 50]);
    refused.answer(at(1), DATE, Answer::of_line(403, "no"));
    assert!(sent(&mut refused).contains("Connection: close\r\n"));
    assert!(refused.is_lingering() && refused.wants_bytes());
    refused.on_bytes(at(1), &[b'x'; 50]);
    assert_eq!(refused.is_over(), None);
    refused.handle_timeout(at(1) + LINGER);
    assert_eq!(refused.is_over(), Some(End::Close));
    let mut endless = asked("GET\r\n\r\n");
    assert_eq!(endless.take_request().unwrap().unwrap_err().status, 400);
    endless.answer(at(0), DATE, Answer::of_line(400, "no"));
    sent(&mut endless);
    for _ in 0..=MAX_DISCARDED / 65_536 {
        endless.on_bytes(at(0), &[0; 65_536]);
    }
    assert_eq!(endless.is_over(), Some(End::Close));
}

#[test]
fn chunks_that_are_none_break_the_body_and_a_long_body_waits_to_be_taken() {
    for chunk in ["x\r\n", "\r\n", "1\r\nab", "-1\r\n", "10000000000000000\r\n", "5 5\r\n"] {
        let mut connection = asked("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        connection.take_request();
        connection.accept_body(at(0));
        connection.on_bytes(at(0), chunk.as_bytes());
        connection.on_bytes(at(0), b"\r\n");
        assert!(connection.is_body_broken(), "{chunk:?}");
    }
    let mut connection = asked("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    connection.take_request();
    connection.accept_body(at(0));
    let (mut given, mut taken) = (0, 0);
    while taken < 1_000_000 {
        while connection.wants_bytes() && given < 1_000_000 {
            let some = 50_000.min(1_000_000 - given);
            connection.on_bytes(at(0), &vec![1; some]);
            given += some;
        }
        assert!(given - taken <= MAX_QUEUED + 50_000);
        taken += connection.take_body().len();
    }
    assert!(connection.is_body_over());
}

#[test]
fn whoever_takes_too_long_is_ended_and_whoever_waits_for_us_is_not() {
    let mut idle = Connection::new(at(0));
    idle.handle_timeout(at(0) + IDLE_TIMEOUT - Duration::from_millis(1));
    assert_eq!(idle.is_over(), None);
    idle.handle_timeout(at(0) + IDLE_TIMEOUT);
    assert_eq!(idle.is_over(), Some(End::Close));

    let mut slow = asked("GET /");
    // Each byte in time does not make a head in time.
    for second in 1..10 {
        slow.on_bytes(at(second), b"x");
        slow.handle_timeout(at(second));
    }
    slow.handle_timeout(at(10));
    assert_eq!(slow.take_request().unwrap().unwrap_err().status, 408);

    let mut waits = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(waits.timeout_at(), Time::NEVER);
    waits.take_request();
    waits.answer(at(100), DATE, content(0..10));
    waits.on_waiting(at(900));
    waits.handle_timeout(at(1400));
    assert_eq!(waits.is_over(), None);
    waits.handle_timeout(at(1500));
    assert_eq!(waits.is_over(), Some(End::Reset));
}

#[test]
fn a_client_that_goes_is_not_answered_and_one_that_only_ends_its_requests_is() {
    let mut gone = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    gone.take_request();
    gone.on_end();
    assert!(gone.is_over().is_some());
    let mut half = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    half.take_request();
    half.answer(at(0), DATE, content(0..2));
    half.on_end();
    assert!(!half.wants_bytes(), "there is nothing more to read");
    assert!(sent(&mut half).ends_with("\r\n\r\n.."));
    assert_eq!(half.is_over(), Some(End::Close));
    // Several requests, and no more.
    let mut several = asked(&"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2));
    several.take_request();
    several.answer(at(0), DATE, content(0..2));
    several.on_end();
    assert!(sent(&mut several).ends_with("\r\n\r\n.."));
    assert!(several.take_request().is_some());
    several.answer(at(0), DATE, content(0..3));
    assert!(sent(&mut several).ends_with("\r\n\r\n..."));
    assert_eq!(several.is_over(), Some(End::Close));
}
