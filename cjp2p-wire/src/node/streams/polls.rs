//! Asking other programs for a stream, block by block. They answer what is here and are silent about the rest, the end included: so the
//! blocks that come next are asked for again and again, the less often the longer nothing comes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::window::Window;
use crate::path::rtt::Rtt;
use crate::stream::record;
use crate::time::Time;

/// Blocks that are asked for at a time, at the least and at the most: each answer is cut into four packets.
const WIDTH: (usize, usize) = (2, 16);
const FIRST_WIDTH: usize = 4;
/// The pause after which the block is asked for again that is to come next, at first and at last.
const POLL: Duration = Duration::from_millis(50);
const MAX_POLL: Duration = Duration::from_secs(1);
/// Blocks asked for at a time to find the newest, and how long to wait for them beside a round trip.
const POINTS: u64 = 8;
const SEARCH_PAUSE: Duration = Duration::from_millis(300);

#[derive(Debug)]
struct Asked {
    at: Time,
    tries: u32,
}

/// The search for the newest block.
#[derive(Debug)]
struct Search {
    /// This one is there.
    low: u64,
    /// This one is not, as far as silence shows that.
    high: Option<u64>,
    points: Vec<u64>,
    until: Time,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Polls {
    // Invariant: at most the greatest width.
    asked: BTreeMap<u64, Asked>,
    search: Option<Search>,
    rtt: Rtt,
    width: usize,
    /// All blocks before this one are there, gaps aside.
    top: u64,
    /// How often in a row nothing came where the next block was asked for.
    quiet: u32,
    look_at: Time,
}

impl Default for Polls {
    fn default() -> Polls {
        Polls {
            asked: BTreeMap::new(),
            search: None,
            rtt: Rtt::default(),
            width: FIRST_WIDTH,
            top: 0,
            quiet: 0,
            look_at: Time::ZERO,
        }
    }
}

impl Polls {
    /// When somebody is to be asked.
    pub(super) fn next_at(&self) -> Time {
        self.look_at
    }

    /// More may be wanted than before.
    pub(super) fn wake(&mut self, now: Time) {
        self.look_at = self.look_at.min(now);
    }

    /// Nobody is to be asked before this.
    pub(super) fn wait_until(&mut self, time: Time) {
        self.look_at = time;
    }

    /// This block came, and is right.
    pub(super) fn on_block(&mut self, now: Time, index: u64) {
        if let Some(asked) = self.asked.remove(&index) {
            if asked.tries == 1 {
                self.rtt.sample(now, now.since(asked.at));
            }
            self.width = (self.width + 1).min(WIDTH.1);
        }
        if index >= self.top {
            (self.top, self.quiet) = (index + 1, 0);
        }
        if let Some(search) = &mut self.search {
            search.low = search.low.max(index);
        }
        self.look_at = now;
    }

    fn pause(&self, index: u64, tries: u32) -> Duration {
        match index < self.top {
            true => self.rtt.timeout(tries.clamp(1, 5) - 1),
            false => {
                (POLL * 2u32.pow(self.quiet.min(6))).max(self.rtt.smoothed().min(MAX_POLL)).min(MAX_POLL)
            }
        }
    }

    /// Which blocks of the window to ask for now, and how often each was asked for before.
    pub(super) fn due(&mut self, now: Time, window: &Window) -> Vec<(u64, u32)> {
        let wanted = window.wanted();
        let (first, end) = (record::index_at(wanted.start), record::index_at(wanted.end));
        self.asked.retain(|index, _| window.wants(*index, record::range_of(*index).end));
        // Past the newest block one is asked for; more while they keep coming.
        let ahead = if self.quiet == 0 { self.width as u64 } else { 1 };
        let end = end.min(self.top.max(first) + ahead);
        let (mut due, mut live, mut lost, mut next) = (Vec::new(), 0, false, Time::NEVER);
        for index in first..end {
            if live >= self.width {
                break;
            }
            if !window.wants(index, record::range_of(index).end) {
                continue;
            }
            live += 1;
            let tries = self.asked.get(&index).map_or(0, |asked| asked.tries);
            let again_at = self.asked.get(&index).map_or(now, |asked| asked.at + self.pause(index, tries));
            if again_at <= now {
                lost |= tries > 0 && index < self.top;
                due.push((index, tries));
            } else {
                next = next.min(again_at);
            }
        }
        if due.iter().any(|(index, tries)| *index >= self.top && *tries > 0) {
            self.quiet += 1;
        }
        if lost {
            self.width = (self.width / 2).max(WIDTH.0);
        }
        for &(index, tries) in &due {
            self.asked.insert(index, Asked { at: now, tries: tries + 1 });
            next = next.min(now + self.pause(index, tries + 1));
        }
        // Those that no window holds any more make room.
        while self.asked.len() > WIDTH.1 {
            self.asked.pop_last();
        }
        self.look_at = next;
        due
    }

    /// Goes on with the search for the newest block. Returns which blocks to ask for, or which the newest is.
    pub(super) fn search(&mut self, now: Time) -> Result<Vec<u64>, u64> {
        let low = self.top.saturating_sub(1);
        let search =
            self.search.get_or_insert(Search { low, high: None, points: Vec::new(), until: Time::ZERO });
        if now < search.until {
            self.look_at = search.until;
            return Ok(Vec::new());
        }
        let low = search.low;
        let silent = search.points.iter().copied().filter(|point| *point > low).min();
        search.high = silent.or(search.high).filter(|high| *high > low);
        search.points = match search.high {
            Some(high) if high <= low + 1 => return Err(low),
            Some(high) => {
                let step = ((high - low) / (POINTS + 1)).max(1);
                (1..=POINTS).map(|n| low + n * step).filter(|point| *point < high).collect()
            }
            None => (0..POINTS).map(|n| low + 8u64.pow(n as u32)).collect(),
        };
        search.until = now + SEARCH_PAUSE + self.rtt.smoothed();
        self.look_at = search.until;
        Ok(search.points.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_block_is_found_by_what_is_answered() {
        for newest in [0, 1, 7, 8, 9, 1000, 123_456, 2_000_000] {
            let mut polls = Polls::default();
            let mut now = Time::ZERO;
            polls.on_block(now, 0);
            let mut asked = 0;
            let found = loop {
                match polls.search(now) {
                    Err(found) => break found,
                    Ok(points) => {
                        asked += points.len();
                        points
                            .into_iter()
                            .filter(|point| *point <= newest)
                            .for_each(|point| polls.on_block(now, point));
                    }
                }
                now += Duration::from_secs(1);
            };
            assert_eq!(found, newest);
            assert!(asked <= 100, "{asked} for {newest}");
        }
    }

    #[test]
    fn what_is_there_is_asked_for_fast_and_what_is_to_come_ever_more_seldom() {
        let mut polls = Polls::default();
        let window = Window::new(0, 100 * 4096);
        let mut now = Time::ZERO;
        let first: Vec<u64> = polls.due(now, &window).iter().map(|(index, _)| *index).collect();
        assert_eq!(first, [0, 1, 2, 3]);
        let mut asked = 0;
        for _ in 0..60_000 {
            now += Duration::from_millis(1);
            if polls.next_at() <= now {
                asked += polls.due(now, &window).len();
            }
        }
        assert!((50..80).contains(&asked), "{asked} in a minute");
    }
}
