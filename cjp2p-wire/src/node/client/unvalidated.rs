//! Sources that only peers suggested, and that have not shown that they are there: they hold few of the places.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::Client;
use crate::node::shared::Shared;
use crate::time::Time;

/// Suggested addresses that are not validated and are remembered as sources; the first of those that had all
/// their datagrams then makes room. The others keep their places among [`MAX_ASKED`](super::MAX_ASKED).
pub(in crate::node) const MAX_UNVALIDATED: usize = 512;
/// So long after it was last asked, such an address will not answer any more.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Those that were tried and are not validated, in the order in which they were. Some have been since.
// Invariant: at most `MAX_UNVALIDATED`.
pub(super) type Unvalidated = VecDeque<SocketAddr>;

impl Client {
    /// Whether there is room for one more that is not validated; makes some where it can.
    pub(super) fn has_room_for_unvalidated(&mut self, shared: &mut Shared, now: Time) -> bool {
        let contacts = &shared.contacts;
        self.unvalidated
            .retain(|&address| contacts.get(address).is_some_and(|contact| contact.is_only_suggested()));
        if self.unvalidated.len() < MAX_UNVALIDATED {
            return true;
        }
        let is_spent = |&address: &SocketAddr| shared.probes.is_spent(now, address, TIMEOUT);
        let Some(spent) = self.unvalidated.iter().position(is_spent) else { return false };
        if let Some(address) = self.unvalidated.remove(spent) {
            self.close_path(shared, address);
        }
        true
    }
}
