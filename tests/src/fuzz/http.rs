//! Requests over HTTP: however they are cut, the same is read and answered; what is sent is as long as it says, and lies in the content.

use cjp2p_http::guard::Guard;
use cjp2p_http::http::content::{self, Described};
use cjp2p_http::http::limits::{LINGER, MAX_DISCARDED};
use cjp2p_http::http::{Answer, Connection, Method, ToSend};
use cjp2p_http::routes::route;
use cjp2p_wire::time::Time;

use super::input::Input;

/// Bytes of the content that is asked for, whatever the path says.
const LENGTH: u64 = 1000;
const DATE: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let most = usize::from(input.byte() % 32) + 1;
    let sent = input.rest();
    let whole = answered(sent, usize::MAX);
    let cut = answered(sent, most);
    assert!(whole == cut, "{whole}\nand in pieces of {most}:\n{cut}");
}

/// What a client sees that sends these bytes, so many at a time. Content is a dot for each byte.
fn answered(bytes: &[u8], most: usize) -> String {
    let now = Time::ZERO;
    let mut connection = Connection::new(now);
    let mut seen = String::new();
    let mut taken = 0;
    for piece in bytes.chunks(most.min(bytes.len().max(1))) {
        connection.on_bytes(now, piece);
        let mut is_taking = false;
        loop {
            let before = seen.len();
            if let Some(request) = connection.take_request() {
                let answer = match request {
                    Ok(request)
                        if matches!(request.method, Method::Put | Method::Post) && request.has_body() =>
                    {
                        connection.accept_body(now);
                        is_taking = true;
                        None
                    }
                    Ok(request) => {
                        judge(&request);
                        let described = Described {
                            tag: "\"t\"",
                            content_type: "text/plain",
                            length: LENGTH,
                            boundary: "B",
                        };
                        let without = content::without_content(&request, "\"t\"");
                        Some(without.unwrap_or_else(|| content::answer(&request, &described, &[])))
                    }
                    Err(bad) => Some(Answer::of_line(bad.status, bad.why)),
                };
                if let Some(answer) = answer {
                    connection.answer(now, DATE, answer);
                }
            }
            if is_taking || connection.is_receiving() {
                taken += connection.take_body().len();
                if connection.is_body_broken() {
                    connection.fail();
                } else if connection.is_body_over() {
                    connection.answer(now, DATE, Answer::of_line(201, &format!("{taken} bytes")));
                    (taken, is_taking) = (0, false);
                }
            }
            send(&mut connection, now, &mut seen);
            if seen.len() == before && !connection.has_request() {
                break;
            }
        }
        assert!(
            bytes.len() as u64 > MAX_DISCARDED || connection.is_over().is_none() || !connection.wants_bytes()
        );
    }
    connection.handle_timeout(now + LINGER);
    check_lengths(&seen);
    seen.replace(CONTINUE, "")
}

fn judge(request: &cjp2p_http::http::Request) {
    // Neither may panic, whatever they say.
    let guard = Guard::new(vec!["host".into()], vec!["https://good.example".into()], Some("token".into()));
    if let Ok((host, _)) = guard.admit(request, std::net::Ipv4Addr::LOCALHOST.into()) {
        assert!(request.fetch_site.as_deref() != Some("cross-site") || request.origin.is_some());
        let _ = route(&host, &request.path);
    }
    assert!(guard.admit_change(request).is_err() || request.token.as_deref() == Some("token"));
}

fn send(connection: &mut Connection, now: Time, seen: &mut String) {
    while let Some(next) = connection.to_send() {
        let count = match next {
            ToSend::Bytes(bytes) => {
                seen.push_str(std::str::from_utf8(bytes).expect("what is said is ASCII"));
                bytes.len() as u64
            }
            ToSend::Content(range) => {
                assert!(range.start < range.end && range.end <= LENGTH, "{range:?}");
                seen.extend((range.start..range.end).map(|_| '.'));
                range.end - range.start
            }
        };
        connection.on_sent(now, count);
    }
}

/// Each answer has as many bytes after its head as it says, and the next begins right behind them; answers to HEAD have none.
fn check_lengths(seen: &str) {
    let mut rest = seen;
    while !rest.is_empty() {
        let (head, after) = rest.split_once("\r\n\r\n").expect("a head has an end");
        assert!(head.starts_with("HTTP/1.1 "), "{head}");
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |text| text.parse().expect("a number"));
        let is_next = |text: &str| text.is_empty() || text.starts_with("HTTP/1.1 ");
        rest = match after.get(length..) {
            Some(next) if is_next(next) => next,
            _ => after,
        };
        assert!(is_next(rest), "{head}");
    }
}
