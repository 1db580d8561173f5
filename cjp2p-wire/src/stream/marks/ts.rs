//! Random access points of MPEG-TS (ISO 13818-1): a decoder can begin at the tables before them, PAT and PMT.
//!
//! A packet begins such a point if its adaptation field says so, or if a picture begins in it that needs no other one (H.264,
//! H.265, MPEG-1 and 2). Of a program without pictures any begin of a frame of sound will do, once a second.

use std::time::Duration;

use crate::time::Time;

/// Bytes of a packet.
pub(super) const PACKET_LEN: usize = 188;
/// The first byte of each packet.
pub(super) const SYNC: u8 = 0x47;
/// So many packets in a row show that they are packets.
const PACKETS_TO_TRUST: u32 = 3;
/// Tables that lie further before a point, in bytes, are not those to begin with: too much would come in between.
const MAX_LEAD: u64 = 1 << 20;
/// How often sound without pictures is marked.
const SOUND_EVERY: Duration = Duration::from_secs(1);
/// The identifier of a packet without anything in it; also what stands for none.
const NO_PID: u16 = 0x1fff;

/// See the [module](self). Bytes that are no packets are passed over.
#[derive(Clone, Debug)]
pub(super) struct Ts {
    packet: [u8; PACKET_LEN],
    /// Bytes of it that came.
    len: usize,
    /// Where it begins.
    packet_at: u64,
    /// Packets in a row.
    in_a_row: u32,
    pmt_pid: u16,
    stream: Option<Elementary>,
    /// The last PAT, and whether its PMT came after it.
    pat_at: Option<u64>,
    has_pmt: bool,
    last_mark: Option<u64>,
    next_sound: Time,
}

/// What a decoder waits for.
#[derive(Clone, Copy, Debug)]
struct Elementary {
    pid: u16,
    codec: Codec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Mpeg,
    H264,
    H265,
    OtherPictures,
    Sound,
}

impl Default for Ts {
    fn default() -> Ts {
        Ts {
            packet: [0; PACKET_LEN],
            len: 0,
            packet_at: 0,
            in_a_row: 0,
            pmt_pid: NO_PID,
            stream: None,
            pat_at: None,
            has_pmt: false,
            last_mark: None,
            next_sound: Time::ZERO,
        }
    }
}

impl Ts {
    /// Takes bytes that lie at `offset`, and appends the marks that they show.
    pub(super) fn push(&mut self, now: Time, offset: u64, bytes: &[u8], marks: &mut Vec<u64>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.len == 0 {
                let skipped = memchr::memchr(SYNC, rest).unwrap_or(rest.len());
                if skipped > 0 {
                    self.in_a_row = 0;
                }
                rest = &rest[skipped..];
                self.packet_at = offset + (bytes.len() - rest.len()) as u64;
            }
            let taken = rest.len().min(PACKET_LEN - self.len);
            self.packet[self.len..self.len + taken].copy_from_slice(&rest[..taken]);
            self.len += taken;
            rest = &rest[taken..];
            if self.len == PACKET_LEN {
                self.len = 0;
                self.in_a_row = self.in_a_row.saturating_add(1);
                marks.extend(self.take_packet(now));
            }
        }
    }

    fn take_packet(&mut self, now: Time) -> Option<u64> {
        let packet = self.packet;
        if packet[1] & 0x80 != 0 {
            // Damaged on its way.
            return None;
        }
        let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
        let begins_unit = packet[1] & 0x40 != 0;
        let has_adaptation = packet[3] & 0x20 != 0;
        let (adaptation, payload_at) = match has_adaptation {
            true => (packet.get(5).filter(|_| packet[4] > 0), 5 + usize::from(packet[4])),
            false => (None, 4),
        };
        let has_payload = packet[3] & 0x10 != 0;
        let payload = packet.get(payload_at..).filter(|_| has_payload).unwrap_or_default();
        if !begins_unit {
            return None;
        }
        if pid == 0 {
            self.take_pat(payload);
            return None;
        }
        if pid == self.pmt_pid {
            self.take_pmt(payload);
            return None;
        }
        let stream = self.stream.filter(|stream| stream.pid == pid)?;
        let is_random_access = adaptation.is_some_and(|flags| flags & 0x40 != 0);
        let is_point = match stream.codec {
            Codec::Sound => now >= self.next_sound,
            codec => is_random_access || begins_picture(codec, payload),
        };
        let pat_at = self.pat_at.filter(|pat_at| self.packet_at - pat_at <= MAX_LEAD && self.has_pmt)?;
        if !is_point || self.in_a_row < PACKETS_TO_TRUST || self.last_mark == Some(pat_at) {
            return None;
        }
        self.last_mark = Some(pat_at);
        self.next_sound = now + SOUND_EVERY;
        Some(pat_at)
    }

    /// Takes a PAT: the first program counts.
    fn take_pat(&mut self, payload: &[u8]) {
        let Some(section) = section(payload, 0x00) else { return };
        let programs = section.get(8..section.len().saturating_sub(4)).unwrap_or_default().as_chunks::<4>().0;
        let pmt_pid = programs
            .iter()
            .find(|program| program[..2] != [0, 0])
            .map(|program| u16::from(program[2] & 0x1f) << 8 | u16::from(program[3]));
        let Some(pmt_pid) = pmt_pid else { return };
        if pmt_pid != self.pmt_pid {
            (self.pmt_pid, self.stream) = (pmt_pid, None);
        }
        (self.pat_at, self.has_pmt) = (Some(self.packet_at), false);
    }

    /// Takes a PMT: the first pictures count, and where there are none the first sound.
    fn take_pmt(&mut self, payload: &[u8]) {
        let Some(section) = section(payload, 0x02) else { return };
        let Some(&[high, low]) = section.get(10..12) else { return };
        let mut rest =
            section.get(12 + usize::from(high & 0x0f) * 256 + usize::from(low)..).unwrap_or_default();
        let mut sound = None;
        let mut pictures = None;
        // A checksum of four bytes is at the end; shorter is no entry.
        while let Some(&[kind, pid_high, pid_low, info_high, info_low]) =
            rest.get(..5).filter(|_| rest.len() > 4 + 4)
        {
            let pid = u16::from(pid_high & 0x1f) << 8 | u16::from(pid_low);
            match Codec::of(kind) {
                Some(Codec::Sound) => _ = sound.get_or_insert(Elementary { pid, codec: Codec::Sound }),
                Some(codec) => _ = pictures.get_or_insert(Elementary { pid, codec }),
                None => {}
            }
            rest = rest
                .get(5 + usize::from(info_high & 0x0f) * 256 + usize::from(info_low)..)
                .unwrap_or_default();
        }
        self.stream = pictures.or(sound);
        self.has_pmt = true;
    }
}

impl Codec {
    /// By the type of a stream, as it is in a PMT.
    fn of(kind: u8) -> Option<Codec> {
        match kind {
            0x01 | 0x02 => Some(Codec::Mpeg),
            0x1b => Some(Codec::H264),
            0x24 => Some(Codec::H265),
            0x10 | 0x21 | 0x33 | 0x42 | 0xd1 | 0xea => Some(Codec::OtherPictures),
            0x03 | 0x04 | 0x0f | 0x11 | 0x1c | 0x81 | 0x87 => Some(Codec::Sound),
            _ => None,
        }
    }
}

/// The section of a table with this id that begins in a payload, as far as it is in it.
fn section(payload: &[u8], table: u8) -> Option<&[u8]> {
    let pointer = usize::from(*payload.first()?);
    let section = payload.get(1 + pointer..)?;
    let &[id, high, low] = section.get(..3)? else { return None };
    let length = 3 + usize::from(high & 0x0f) * 256 + usize::from(low);
    (id == table).then(|| &section[..length.min(section.len())])
}

/// Whether a picture begins in this payload that needs no other one, or what precedes each such.
fn begins_picture(codec: Codec, payload: &[u8]) -> bool {
    memchr::memmem::find_iter(payload, &[0, 0, 1]).any(|at| {
        let Some(&unit) = payload.get(at + 3) else { return false };
        match codec {
            Codec::Mpeg => unit == 0xb3,
            Codec::H264 => unit & 0x80 == 0 && matches!(unit & 0x1f, 5 | 7),
            Codec::H265 => unit & 0x80 == 0 && matches!(unit >> 1 & 0x3f, 16..=21 | 32),
            Codec::OtherPictures | Codec::Sound => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet with this payload, and in its adaptation field these flags.
    fn packet(pid: u16, flags: Option<u8>, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![SYNC, 0x40 | (pid >> 8) as u8, pid as u8];
        let room = PACKET_LEN - 4 - payload.len();
        match (flags, room) {
            (None, 0) => packet.push(0x10),
            (flags, room) => {
                packet.push(0x30);
                packet.push(room as u8 - 1);
                packet.push(flags.unwrap_or(0));
                packet.resize(PACKET_LEN - payload.len(), 0xff);
            }
        }
        packet.extend_from_slice(payload);
        assert_eq!(packet.len(), PACKET_LEN);
        packet
    }

    fn pat() -> Vec<u8> {
        let mut payload = vec![0, 0x00, 0xb0, 17, 0, 1, 0xc1, 0, 0, 0, 0, 0xe0, 0x10, 0, 1, 0xf0, 0x00];
        payload.extend([0; 4]);
        packet(0, None, &payload)
    }

    /// Of a program with sound at 0x101, and perhaps pictures of this kind at 0x100.
    fn pmt(pictures: Option<u8>) -> Vec<u8> {
        let mut entries = vec![0x0f, 0xe1, 0x01, 0xf0, 2, 9, 9];
        if let Some(kind) = pictures {
            entries.extend([kind, 0xe1, 0x00, 0xf0, 0]);
        }
        let mut payload = vec![0, 0x02, 0xb0, 13 + entries.len() as u8, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0];
        payload.extend(entries);
        payload.extend([0; 4]);
        packet(0x1000, None, &payload)
    }

    fn pictures(flags: u8, unit: u8) -> Vec<u8> {
        packet(0x100, Some(flags), &[0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0, 0, 0, 0, 1, unit, 0x42, 0, 0])
    }

    fn other() -> Vec<u8> {
        packet(0x101, None, &[0, 0, 1, 0xc0, 0, 0, 0, 0])
    }

    fn marks_of(bytes: &[u8], step: usize) -> Vec<u64> {
        let (mut ts, mut marks) = (Ts::default(), Vec::new());
        for (n, bytes) in bytes.chunks(step).enumerate() {
            ts.push(Time::ZERO, (n * step) as u64, bytes, &mut marks);
        }
        marks
    }

    #[test]
    fn a_point_is_marked_at_the_tables_before_it() {
        let noise = b"not a packet".to_vec();
        let at = |packets: usize| (noise.len() + packets * PACKET_LEN) as u64;
        for (kind, flags, unit) in [
            (0x1b, 0x40, 1),
            (0x1b, 0, 5),
            (0x1b, 0, 0x67),
            (0x24, 0, 0x26),
            (0x02, 0, 0xb3),
            (0x42, 0x40, 0),
        ] {
            let none = pictures(0, 0x02);
            let stream = [
                noise.clone(),
                other(),
                pictures(flags, unit),
                pat(),
                pmt(Some(kind)),
                none.clone(),
                other(),
                pictures(flags, unit),
                pictures(flags, unit),
                pat(),
                pmt(Some(kind)),
                none,
                pat(),
                pictures(flags, unit),
                pat(),
                pmt(Some(kind)),
                pictures(flags, unit),
            ]
            .concat();
            for step in [1, 7, 188, 1000, stream.len()] {
                assert_eq!(
                    marks_of(&stream, step),
                    [at(2), at(13)],
                    "{kind} {step}: the PMT comes after the PAT"
                );
            }
        }
    }

    #[test]
    fn sound_alone_is_marked_now_and_then() {
        let piece = [pat(), pmt(None), other()].concat();
        let (mut ts, mut marks) = (Ts::default(), Vec::new());
        for n in 0..30 {
            let now = Time::ZERO + Duration::from_millis(100 * n);
            ts.push(now, n * piece.len() as u64, &piece, &mut marks);
        }
        assert_eq!(marks, [0, 10, 20].map(|n| n * piece.len() as u64));
    }

    #[test]
    fn tables_far_before_a_point_are_not_begun_with() {
        let far = [pat(), pmt(Some(0x1b)), other().repeat(6000), pictures(0x40, 0)].concat();
        assert_eq!(marks_of(&far, far.len()), [0u64; 0]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_passed_over_and_marks_lie_in_them(bytes in proptest::collection::vec(prop_oneof![Just(0x47u8), Just(0), Just(0x40), any::<u8>()], 0..3000), step in 1..400usize) {
            let marks = marks_of(&bytes, step);
            prop_assert!(marks.iter().all(|mark| *mark < bytes.len() as u64));
            prop_assert!(marks.is_sorted());
            prop_assert_eq!(marks_of(&bytes, 1), marks);
        }
    }
}
