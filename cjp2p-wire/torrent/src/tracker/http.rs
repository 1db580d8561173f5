//! Trackers by HTTP: the address that is asked for, and the bencoded answer.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bendy::decoding::{ListDecoder, Object};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::announce::{Announce, Answer, MAX_PEERS, Moment, TrackerError};
use crate::bencode::{self, BencodeError};
use crate::wire::{compact_v4, compact_v6};

/// An answer has so many bytes at the most.
pub const MAX_ANSWER: usize = 256 << 10;
/// What a tracker wants returned has so many bytes at the most.
const MAX_TRACKER_ID: usize = 256;
/// Bytes that need no escape in a query (RFC 3986: unreserved).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl From<BencodeError> for TrackerError {
    fn from(_: BencodeError) -> TrackerError {
        TrackerError::Malformed
    }
}

/// What to ask a tracker of this URL for, whose own query stays.
#[must_use]
pub fn request_url(url: &str, announce: &Announce) -> String {
    let url = url.split('#').next().unwrap_or(url);
    let hash = percent_encode(announce.info_hash.as_bytes(), ESCAPED);
    let peer = percent_encode(announce.peer_id.as_bytes(), ESCAPED);
    let first = if url.contains('?') { '&' } else { '?' };
    let Announce { port, uploaded, downloaded, left, want, key, .. } = announce;
    let mut asked = format!(
        "{url}{first}info_hash={hash}&peer_id={peer}&port={port}&uploaded={uploaded}&downloaded={downloaded}\
         &left={left}&compact=1&numwant={want}&key={key:08x}"
    );
    let moment = match announce.moment {
        Some(Moment::Started) => "&event=started",
        Some(Moment::Completed) => "&event=completed",
        Some(Moment::Stopped) => "&event=stopped",
        None => "",
    };
    asked.push_str(moment);
    if let Some(id) = &announce.tracker_id {
        let _ = write!(asked, "&trackerid={}", percent_encode(id, ESCAPED));
    }
    asked
}

/// Reads what a tracker answers: peers in compact form or as a list.
///
/// # Errors
///
/// Where it is no dictionary in strict bencode, or says why it refuses.
pub fn read_answer(body: &[u8]) -> Result<Answer, TrackerError> {
    let (mut answer, mut failure) = (Answer::default(), None);
    bencode::dictionary(body, |key, value| {
        match key {
            b"failure reason" => {
                failure = Some(TrackerError::refused(bencode::bytes(value).unwrap_or_default()))
            }
            b"interval" => answer.interval = bencode::number(value).map(Duration::from_secs),
            b"min interval" => answer.min_interval = bencode::number(value).map(Duration::from_secs),
            b"complete" => answer.seeders = count(value),
            b"incomplete" => answer.leechers = count(value),
            b"tracker id" => {
                let id = bencode::bytes(value).filter(|id| id.len() <= MAX_TRACKER_ID);
                answer.tracker_id = id.map(<[u8]>::to_vec);
            }
            b"peers" => match value {
                Object::List(mut list) => read_list(&mut list, &mut answer.peers)?,
                value => {
                    answer.peers.extend(compact_v4(bencode::bytes(value).unwrap_or_default()).take(MAX_PEERS))
                }
            },
            b"peers6" => {
                let left = MAX_PEERS.saturating_sub(answer.peers.len());
                answer.peers.extend(compact_v6(bencode::bytes(value).unwrap_or_default()).take(left));
            }
            _ => {}
        }
        Ok::<_, TrackerError>(())
    })?;
    failure.map_or(Ok(answer), Err)
}

fn count(value: Object<'_, '_>) -> Option<u32> {
    bencode::number(value)?.try_into().ok()
}

/// A dictionary for each peer. Names of hosts are passed over: nobody looks them up.
fn read_list(list: &mut ListDecoder<'_, '_>, peers: &mut Vec<SocketAddr>) -> Result<(), TrackerError> {
    bencode::each_item(list, |item| {
        let Object::Dict(mut pairs) = item else { return Ok(()) };
        let (mut ip, mut port): (Option<IpAddr>, Option<u16>) = (None, None);
        bencode::each_pair(&mut pairs, |key, value| {
            match key {
                b"ip" => ip = bencode::text(value).and_then(|ip| ip.parse().ok()),
                b"port" => port = bencode::number(value).and_then(|port| port.try_into().ok()),
                _ => {}
            }
            Ok::<_, TrackerError>(())
        })?;
        if let (Some(ip), Some(port)) = (ip, port)
            && peers.len() < MAX_PEERS
        {
            peers.push(SocketAddr::new(ip, port));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info_hash::InfoHash;
    use crate::peer_id::PeerId;

    fn announce() -> Announce {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(b"\x00a~&");
        Announce {
            info_hash: InfoHash::from_bytes(hash),
            peer_id: PeerId::from_bytes(*b"-CJ0100-abcdefghijkl"),
            port: 6881,
            uploaded: 1,
            downloaded: 2,
            left: 3,
            moment: Some(Moment::Started),
            want: 50,
            key: 0xab,
            tracker_id: Some(b"a b".to_vec()),
        }
    }

    #[test]
    fn everything_is_asked_in_one_url_beside_what_was_in_it() {
        let asked = request_url("http://t.example/announce?pass=1#x", &announce());
        let zeros = "%00".repeat(16);
        assert_eq!(
            asked,
            format!(
                "http://t.example/announce?pass=1&info_hash=%00a~%26{zeros}&peer_id=-CJ0100-abcdefghijkl&port=6881\
                 &uploaded=1&downloaded=2&left=3&compact=1&numwant=50&key=000000ab&event=started&trackerid=a%20b"
            )
        );
        assert!(request_url("http://t.example/a", &announce()).starts_with("http://t.example/a?info_hash="));
    }

    #[test]
    fn compact_peers_and_lists_of_them_are_read() {
        let compact = b"d8:completei2e10:incompletei3e8:intervali1800e12:min intervali60e5:peers6:\x01\x02\x03\x04\x1a\xe1\
                        6:peers618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x05e";
        let answer = read_answer(compact).unwrap();
        assert_eq!(answer.peers, ["1.2.3.4:6881".parse().unwrap(), "[2001:db8::1]:5".parse().unwrap()]);
        assert_eq!((answer.seeders, answer.leechers), (Some(2), Some(3)));
        assert_eq!(answer.interval, Some(Duration::from_secs(1800)));
        let list = b"d5:peersld2:ip7:1.2.3.44:porti5eed2:ip9:localhost4:porti5eed2:ip3:::17:peer id1:x4:porti70000eeee";
        assert_eq!(read_answer(list).unwrap().peers, ["1.2.3.4:5".parse().unwrap()]);
    }

    #[test]
    fn a_refusal_is_told_without_what_harms_a_terminal() {
        let refused = read_answer(b"d14:failure reason7:no\x1b[2Jee");
        assert_eq!(refused, Err(TrackerError::Refused("no[2Je".to_string())));
        for body in [&b""[..], b"<html>", b"d5:peers6:", b"d8:intervali1e5:peers6:abcdef7:intervali1ee"] {
            assert_eq!(read_answer(body), Err(TrackerError::Malformed), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn of_very_many_peers_some_are_taken() {
        let mut body = b"d5:peers60000:".to_vec();
        body.extend(std::iter::repeat_n(1, 60_000));
        body.push(b'e');
        assert_eq!(read_answer(&body).unwrap().peers.len(), MAX_PEERS);
        let many = format!("d5:peersl{}ee", "d2:ip7:1.2.3.44:porti5ee".repeat(5000));
        assert_eq!(read_answer(many.as_bytes()).unwrap().peers.len(), MAX_PEERS);
    }
}
