//! `UdpExchange`: one question to a tracker by UDP (BEP 15). Datagrams and time in; datagrams, a deadline and the answer out.

use std::time::Duration;

use cjp2p_wire::time::Time;

use super::announce::{Announce, Answer, MAX_PEERS, Moment, TrackerError};
use crate::wire::{compact_v4, compact_v6};

/// What every tracker takes for a question that begins an exchange.
const PROTOCOL: u64 = 0x0417_2710_1980;
/// An answer is waited for this long, then for twice as long, and so on.
const FIRST_TIMEOUT: Duration = Duration::from_secs(3);
/// Each question is asked so often.
const ATTEMPTS: u32 = 4;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const ERROR: u32 = 3;

/// Where it stands.
#[derive(Clone, Copy, Debug)]
enum Step {
    Connecting,
    /// With the number that the tracker gave us.
    Announcing(u64),
}

/// One question, until there is an answer or none.
#[derive(Clone, Debug)]
pub struct UdpExchange {
    announce: Announce,
    is_v6: bool,
    step: Step,
    /// By which we know the answer.
    transaction: u32,
    attempts: u32,
    next_at: Time,
    random: fastrand::Rng,
}

impl UdpExchange {
    /// Nothing was sent yet. Over IPv6 a tracker names IPv6 addresses.
    #[must_use]
    pub fn new(now: Time, announce: Announce, is_v6: bool, seed: u64) -> UdpExchange {
        let mut random = fastrand::Rng::with_seed(seed);
        let (step, transaction) = (Step::Connecting, random.u32(..));
        UdpExchange { announce, is_v6, step, transaction, attempts: 0, next_at: now, random }
    }

    /// When to call [`next_datagram`](UdpExchange::next_datagram).
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.next_at
    }

    /// What to send now, if it is time.
    ///
    /// # Errors
    ///
    /// Where the tracker was asked often enough.
    pub fn next_datagram(&mut self, now: Time) -> Result<Option<Vec<u8>>, TrackerError> {
        if now < self.next_at {
            return Ok(None);
        }
        if self.attempts >= ATTEMPTS {
            return Err(TrackerError::Unreachable("it does not answer".to_string()));
        }
        self.next_at = now + FIRST_TIMEOUT * 2u32.pow(self.attempts);
        self.attempts += 1;
        let mut datagram = Vec::with_capacity(98);
        match self.step {
            Step::Connecting => {
                datagram.extend(PROTOCOL.to_be_bytes());
                datagram.extend(CONNECT.to_be_bytes());
                datagram.extend(self.transaction.to_be_bytes());
            }
            Step::Announcing(connection) => {
                let Announce {
                    info_hash, peer_id, downloaded, left, uploaded, moment, key, want, port, ..
                } = &self.announce;
                let event: u32 = match moment {
                    None => 0,
                    Some(Moment::Completed) => 1,
                    Some(Moment::Started) => 2,
                    Some(Moment::Stopped) => 3,
                };
                datagram.extend(connection.to_be_bytes());
                datagram.extend(ANNOUNCE.to_be_bytes());
                datagram.extend(self.transaction.to_be_bytes());
                datagram.extend(info_hash.as_bytes());
                datagram.extend(peer_id.as_bytes());
                for number in [downloaded, left, uploaded] {
                    datagram.extend(number.to_be_bytes());
                }
                datagram.extend(event.to_be_bytes());
                // The address is the one that it sees.
                datagram.extend(0u32.to_be_bytes());
                datagram.extend(key.to_be_bytes());
                datagram.extend(want.to_be_bytes());
                datagram.extend(port.to_be_bytes());
            }
        }
        Ok(Some(datagram))
    }

    /// A datagram came from the tracker. `None` where it was no answer, or more is to be sent.
    ///
    /// # Errors
    ///
    /// Where the tracker refuses.
    pub fn on_datagram(&mut self, now: Time, datagram: &[u8]) -> Result<Option<Answer>, TrackerError> {
        let number = |at: usize| {
            let bytes = datagram.get(at..at + 4)?;
            bytes.try_into().ok().map(u32::from_be_bytes)
        };
        if number(4) != Some(self.transaction) {
            return Ok(None);
        }
        match (number(0), self.step) {
            (Some(ERROR), _) => Err(TrackerError::refused(&datagram[8..])),
            (Some(CONNECT), Step::Connecting) => {
                let (Some(high), Some(low)) = (number(8), number(12)) else { return Ok(None) };
                self.step = Step::Announcing(u64::from(high) << 32 | u64::from(low));
                self.transaction = self.random.u32(..);
                (self.attempts, self.next_at) = (0, now);
                Ok(None)
            }
            (Some(ANNOUNCE), Step::Announcing(_)) => {
                let (Some(interval), Some(leechers), Some(seeders)) = (number(8), number(12), number(16))
                else {
                    return Ok(None);
                };
                let peers = match self.is_v6 {
                    true => compact_v6(&datagram[20..]).take(MAX_PEERS).collect(),
                    false => compact_v4(&datagram[20..]).take(MAX_PEERS).collect(),
                };
                Ok(Some(Answer {
                    interval: Some(Duration::from_secs(interval.into())),
                    min_interval: None,
                    seeders: Some(seeders),
                    leechers: Some(leechers),
                    peers,
                    tracker_id: None,
                }))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info_hash::InfoHash;
    use crate::peer_id::PeerId;

    fn exchange() -> UdpExchange {
        let announce = Announce {
            info_hash: InfoHash::from_bytes([1; 20]),
            peer_id: PeerId::from_bytes([2; 20]),
            port: 6881,
            uploaded: 0x0a,
            downloaded: 0x0b,
            left: 0x0c,
            moment: Some(Moment::Started),
            want: 50,
            key: 7,
            tracker_id: None,
        };
        UdpExchange::new(Time::ZERO, announce, false, 1)
    }

    /// The tracker's answer to the first question.
    fn connected(question: &[u8]) -> Vec<u8> {
        let mut answer = vec![0; 16];
        answer[4..8].copy_from_slice(&question[12..16]);
        answer[8..].copy_from_slice(b"a number");
        answer
    }

    #[test]
    fn first_a_number_is_asked_for_and_with_it_for_peers() {
        let mut exchange = exchange();
        let first = exchange.next_datagram(Time::ZERO).unwrap().unwrap();
        assert_eq!((first.len(), &first[..12]), (16, &b"\x00\x00\x04\x17\x27\x10\x19\x80\0\0\0\0"[..]));
        assert_eq!(exchange.next_datagram(Time::ZERO), Ok(None));
        assert_eq!(exchange.on_datagram(Time::ZERO, &connected(&first)), Ok(None));
        let second = exchange.next_datagram(Time::ZERO).unwrap().unwrap();
        assert_eq!((second.len(), &second[..12]), (98, &b"a number\0\0\0\x01"[..]));
        assert_eq!(second[16..36], [1; 20]);
        assert_eq!(second[80..84], [0, 0, 0, 2], "started");
        let mut answer = vec![0, 0, 0, 1];
        answer.extend(&second[12..16]);
        answer.extend([0, 0, 7, 8, 0, 0, 0, 3, 0, 0, 0, 2, 1, 2, 3, 4, 0x1a, 0xe1, 9]);
        let read = exchange.on_datagram(Time::ZERO, &answer).unwrap().unwrap();
        assert_eq!(read.peers, ["1.2.3.4:6881".parse().unwrap()]);
        assert_eq!(
            (read.interval, read.leechers, read.seeders),
            (Some(Duration::from_secs(1800)), Some(3), Some(2))
        );
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_passed_over() {
        let mut exchange = exchange();
        let first = exchange.next_datagram(Time::ZERO).unwrap().unwrap();
        let right = connected(&first);
        for length in 0..right.len() {
            assert_eq!(exchange.on_datagram(Time::ZERO, &right[..length]), Ok(None));
        }
        let mut other = right.clone();
        other[4] ^= 1;
        assert_eq!(exchange.on_datagram(Time::ZERO, &other), Ok(None));
        let mut early = right;
        early[3] = 1;
        assert_eq!(exchange.on_datagram(Time::ZERO, &early), Ok(None), "an announcement was not asked for");
    }

    #[test]
    fn a_refusal_ends_it_and_so_does_silence() {
        let mut exchange = exchange();
        let first = exchange.next_datagram(Time::ZERO).unwrap().unwrap();
        let mut refusal = vec![0, 0, 0, 3];
        refusal.extend(&first[12..16]);
        refusal.extend(b"go\naway");
        let refused = exchange.clone().on_datagram(Time::ZERO, &refusal);
        assert_eq!(refused, Err(TrackerError::Refused("goaway".to_string())));
        let (mut now, mut sent) = (Time::ZERO, 1);
        let end = loop {
            now = exchange.deadline().max(now);
            match exchange.next_datagram(now) {
                Ok(Some(again)) => {
                    assert_eq!(again, first);
                    sent += 1;
                }
                Ok(None) => panic!("its own deadline"),
                Err(error) => break error,
            }
        };
        assert!(matches!(end, TrackerError::Unreachable(_)));
        assert_eq!((sent, now), (4, Time::from_millis(45_000)));
    }
}
