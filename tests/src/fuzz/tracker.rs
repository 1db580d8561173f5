//! Answers of trackers by HTTP and UDP: bounded, and what an exchange believes is an answer to its question.

use std::time::Duration;

use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::peer_id::PeerId;
use cjp2p_torrent::tracker::{
    Announce, MAX_PEERS, Moment, TrackerError, UdpExchange, read_answer, request_url,
};
use cjp2p_wire::time::Time;

use super::input::Input;

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let moments = [None, Some(Moment::Started), Some(Moment::Completed), Some(Moment::Stopped)];
    let announce = Announce {
        info_hash: InfoHash::from_bytes([input.byte(); 20]),
        peer_id: PeerId::from_bytes([input.byte(); 20]),
        port: 6881,
        uploaded: input.number(),
        downloaded: input.number(),
        left: input.number(),
        moment: *input.choose(&moments),
        want: 50,
        key: 7,
        tracker_id: Some(input.counted().to_vec()),
    };
    let url = request_url("http://t.example/announce?a=b", &announce);
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
    let body = input.counted().to_vec();
    if input.byte() & 1 == 0 {
        http(&body);
        http(input.rest());
    } else {
        udp(announce, &mut input);
    }
}

fn http(body: &[u8]) {
    match read_answer(body) {
        Ok(answer) => assert!(answer.peers.len() <= MAX_PEERS),
        Err(TrackerError::Refused(why)) => assert!(!why.chars().any(char::is_control)),
        Err(_) => {}
    }
}

fn udp(announce: Announce, input: &mut Input<'_>) {
    let is_v6 = input.byte() & 1 != 0;
    let mut now = Time::ZERO;
    let mut exchange = UdpExchange::new(now, announce, is_v6, 1);
    let (mut question, mut sent) = (Vec::new(), 0);
    while !input.is_empty() {
        match exchange.next_datagram(now) {
            Ok(Some(datagram)) => {
                sent += 1;
                assert!(datagram.len() == 16 || datagram.len() == 98);
                question = datagram;
            }
            Ok(None) => assert!(exchange.deadline() > now),
            Err(_) => break,
        }
        let mut datagram = input.counted().to_vec();
        // Some know the number of the question.
        let knows = input.byte() & 3 != 0 && datagram.len() >= 8;
        if knows {
            datagram[4..8].copy_from_slice(&question[12..16]);
            datagram[..3].fill(0);
        }
        match exchange.on_datagram(now, &datagram) {
            Ok(Some(answer)) => {
                assert!(
                    datagram[4..8] == question[12..16]
                        && question.len() == 98
                        && answer.peers.len() <= MAX_PEERS
                );
                return;
            }
            Err(_) => {
                assert!(datagram[4..8] == question[12..16]);
                return;
            }
            Ok(None) => {}
        }
        now += Duration::from_millis(u64::from(input.byte()) * 100);
    }
    // A connection, and an announcement, four times each at the most, and what arrives between.
    assert!(sent <= 8, "{sent} datagrams");
}
