//! Where one may join a stream: offsets from which a program that reads it can go on, found as the bytes come.

mod detect;
mod joins;
mod lines;
mod ts;

use std::time::Duration;

use crate::time::Time;
use detect::{Detector, Found};
pub use joins::Joins;
use lines::Lines;
use ts::Ts;

/// Of streams that are neither MPEG-TS nor text one place in so much time is as good as another.
const EVERY: Duration = Duration::from_secs(1);

/// Which places are marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MarkKind {
    /// What suits the first bytes: of MPEG-TS its random access points, of text its lines, else a place each second.
    #[default]
    Auto,
    /// Random access points of MPEG-TS, from the tables (PAT, PMT) before them on.
    Ts,
    /// Beginnings of lines.
    Lines,
    /// Whatever comes when so much time is over.
    Every(Duration),
}

/// See the [module](self). Takes all bytes of a stream, in order.
#[derive(Clone, Debug)]
pub struct Marks {
    kind: MarkKind,
    offset: u64,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// What it is does not show yet.
    Undecided(Detector),
    Ts(Box<Ts>),
    Lines(Lines),
    Every {
        every: Duration,
        next: Time,
    },
}

impl Marks {
    /// Marks of this kind in a stream that begins at this offset.
    pub fn new(kind: MarkKind, offset: u64) -> Marks {
        let state = match kind {
            MarkKind::Auto => State::Undecided(Detector::default()),
            MarkKind::Ts => State::Ts(Box::default()),
            MarkKind::Lines => State::Lines(Lines::default()),
            MarkKind::Every(every) => State::Every { every, next: Time::ZERO },
        };
        Marks { kind, offset, state }
    }

    /// The bytes that come next are those of a new part, at this offset.
    pub fn begin_part(&mut self, offset: u64) {
        *self = Marks::new(self.kind, offset);
    }

    /// Takes the next bytes. Gives the places among these, and among those before whose meaning shows only now, in ascending
    /// order: offsets in the stream.
    pub fn push(&mut self, now: Time, bytes: &[u8]) -> Vec<u64> {
        let mut marks = Vec::new();
        if let State::Undecided(detector) = &mut self.state {
            match detector.push(bytes) {
                None => return marks,
                Some((found, head)) => {
                    self.state = match found {
                        Found::Ts => State::Ts(Box::default()),
                        Found::Text => State::Lines(Lines::default()),
                        Found::Other => State::Every { every: EVERY, next: Time::ZERO },
                    };
                    self.scan(now, &head, &mut marks);
                    return marks;
                }
            }
        }
        self.scan(now, bytes, &mut marks);
        marks
    }

    fn scan(&mut self, now: Time, bytes: &[u8], marks: &mut Vec<u64>) {
        if bytes.is_empty() {
            return;
        }
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        match &mut self.state {
            State::Undecided(_) => {}
            State::Ts(ts) => ts.push(now, offset, bytes, marks),
            State::Lines(lines) => marks.extend(lines.push(now, offset, bytes)),
            State::Every { every, next } => {
                if now >= *next {
                    *next = now + *every;
                    marks.push(offset);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_place_is_marked_whenever_the_time_is_over() {
        let mut marks = Marks::new(MarkKind::Every(Duration::from_secs(1)), 4096);
        assert_eq!(marks.push(at(0), b"abc"), [4096]);
        assert_eq!(marks.push(at(999), b"def"), [0u64; 0]);
        assert_eq!(marks.push(at(1000), b""), [0u64; 0]);
        assert_eq!(marks.push(at(1001), b"g"), [4102]);
        marks.begin_part(8192);
        assert_eq!(marks.push(at(1002), b"x"), [8192], "a new part can be joined");
    }

    #[test]
    fn what_suits_a_stream_shows_in_its_first_bytes() {
        let kinds = |bytes: &[u8]| {
            let mut marks = Marks::new(MarkKind::Auto, 0);
            marks.push(at(0), bytes);
            marks.state
        };
        assert!(matches!(kinds(b"GET / HTTP/1.1 200\n"), State::Undecided(_)), "G is 0x47");
        assert!(matches!(kinds("a l\u{f6}g line\n".as_bytes()), State::Lines(_)));
        assert!(matches!(kinds(&[0xff, 0xfb, 0x90, 0]), State::Every { .. }));
        let mut ts = vec![0xff; 4 * 188];
        ts.iter_mut().step_by(188).for_each(|sync| *sync = 0x47);
        assert!(matches!(kinds(&ts), State::Ts(_)));
        // Byte for byte too.
        let mut marks = Marks::new(MarkKind::Auto, 0);
        ts.iter().for_each(|byte| drop(marks.push(at(0), &[*byte])));
        assert!(matches!(marks.state, State::Ts(_)));
        assert_eq!(marks.offset, ts.len() as u64);
    }

    #[test]
    fn nothing_is_lost_while_it_does_not_show_what_a_stream_is() {
        let text = format!("G{}\nsecond\n", "x".repeat(400));
        let mut marks = Marks::new(MarkKind::Auto, 100);
        let mut found = Vec::new();
        for (n, byte) in text.bytes().enumerate() {
            found.extend(marks.push(at(10 * n as u64), &[byte]));
        }
        assert_eq!(found, [100, 100 + 402]);
    }
}
