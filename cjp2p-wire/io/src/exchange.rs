//! Asking those who send content whom they know: who has some of it often knows others who do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::time::Time;

/// A fetch that is done by then needs nobody else.
const AFTER: Duration = Duration::from_secs(2);
/// The same peer is asked again after this time: until then it hardly met anybody new.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// So many of those who send most are asked for each fetch.
pub const ASKED_EACH: usize = 4;
/// Peers of which it is remembered when they were asked; of more, a few are asked a little earlier.
const MAX_REMEMBERED: usize = 1024;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Exchange {
    asked: BTreeMap<SocketAddr, Time>,
}

impl Exchange {
    /// Who of the senders of a fetch that began at `started` is to be asked now.
    pub fn due(&mut self, now: Time, started: Time, senders: &[SocketAddr]) -> Vec<SocketAddr> {
        if now.since(started) < AFTER {
            return Vec::new();
        }
        let mut asked = Vec::new();
        for &sender in senders.iter().take(ASKED_EACH) {
            if self.asked.get(&sender).is_none_or(|at| now.since(*at) >= AGAIN_AFTER) {
                if self.asked.len() >= MAX_REMEMBERED {
                    self.asked.clear();
                }
                self.asked.insert(sender, now);
                asked.push(sender);
            }
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_senders_are_asked_once_a_minute() {
        let at = |n: u16| SocketAddr::from(([127, 0, 0, 1], n));
        let senders: Vec<SocketAddr> = (1..10).map(at).collect();
        let second = |n: u64| Time::from_millis(n * 1000);
        let mut exchange = Exchange::default();
        assert_eq!(exchange.due(second(1), second(0), &senders), [], "it may be done in a moment");
        assert_eq!(exchange.due(second(2), second(0), &senders), senders[..ASKED_EACH]);
        assert_eq!(exchange.due(second(3), second(0), &senders[3..5]), [senders[4]]);
        assert_eq!(exchange.due(second(61), second(0), &senders[..5]), []);
        assert_eq!(exchange.due(second(62), second(0), &senders[..5]), senders[..4]);
    }
}
