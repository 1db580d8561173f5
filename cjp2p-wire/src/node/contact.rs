//! What is known of each address we talk with.

mod tellable;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use self::tellable::Tellable;
use super::asked_path::AskedPath;
use crate::peers::cookie::{PERIOD, Proof};
use crate::time::Time;
use crate::transfer::serve::host_of;

/// Addresses remembered at the most. Those with a path are never dropped; of the others the one silent longest is.
pub const MAX_CONTACTS: usize = 4096;
/// Of one [host](host_of) so many at the most that only asked us: ports cost nothing, and a host that comes with a new one each time
/// shall not have all others forgotten, nor fill the table with what is of no use to anybody.
pub const MAX_CONTACTS_OF_HOST: usize = 512;
/// Room is made for so many at a time, beside what there is: to move them all into more room would leave behind, each time, a hole
/// in memory as large as they were.
const ROOM: usize = 256;
/// How often those that have gone are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// For how long an address that returned our cookie once, and cannot return it always, counts as proved.
pub(crate) const PROOF_LIFETIME: Duration = Duration::from_secs(600);
/// A foreign cookie longer than this, in bytes of JSON, is not stored.
pub(crate) const MAX_FOREIGN_COOKIE: usize = 256;
/// Only peers heard from within this time are told to others.
pub(crate) const FRESH: Duration = Duration::from_secs(900);

/// What is known of one address.
#[derive(Debug)]
pub(super) struct Contact {
    pub(super) last_heard: Option<Time>,
    /// What it wants returned beside every message, as JSON.
    pub(super) cookie: Option<Box<str>>,
    proved_at: Option<Time>,
    /// Since when it has been the same that proves itself here.
    proved_since: Option<Time>,
    /// It spoke like one that has just come: who proves itself next may be another than before.
    seems_new: bool,
    /// When it last sent some of what we asked for.
    pub(super) useful_at: Option<Time>,
    /// When it last returned our cookie in a `ReturnedMessage`.
    returned_at: Option<Time>,
    /// It was asked to return our cookie beside the one it wants from us: some nodes keep ours only then.
    pub(super) was_asked: bool,
    /// It has returned our cookie beside a message: what comes in its name without it is forged.
    pub(super) returns_always: bool,
    /// Its last content came without a word about cookies.
    pub(super) silent_about_cookies: bool,
    /// It has our present cookie, so it need not be told.
    pub(super) has_cookie: bool,
    /// How many blocks it sends for one request; 1 where it never said.
    pub(super) blocks: u64,
    /// Sent what is provably wrong.
    pub(super) banned: bool,
    /// What came from there was said by ourselves: the address is our own, or somebody repeats what we say.
    pub(super) is_us: bool,
    /// Named by a stranger, not by the user: asked sparingly until it proves itself.
    pub(super) suggested: bool,
    /// Datagrams sent to it while it was only suggested, and when the last of them was.
    pub(super) unproved_datagrams: u32,
    pub(super) disturbed_at: Time,
    /// Who suggested it, when it was tried. Boxed like the path.
    named_by: Option<Box<SocketAddr>>,
    /// It asks for peers beside its questions for content: referrals to it need not name any at random.
    pub(super) asks_for_peers: bool,
    /// Boxed: most contacts are those who ask us, and have none.
    pub(super) path: Option<Box<AskedPath>>,
    round_trip: Option<Duration>,
    /// Its place among the [`Tellable`].
    told_from: Option<NonZeroU16>,
}

impl Contact {
    fn new() -> Contact {
        Contact {
            last_heard: None,
            cookie: None,
            proved_at: None,
            proved_since: None,
            seems_new: false,
            useful_at: None,
            returned_at: None,
            was_asked: false,
            returns_always: false,
            silent_about_cookies: false,
            has_cookie: false,
            blocks: 1,
            banned: false,
            is_us: false,
            suggested: false,
            unproved_datagrams: 0,
            disturbed_at: Time::ZERO,
            named_by: None,
            asks_for_peers: false,
            path: None,
            round_trip: None,
            told_from: None,
        }
    }

    /// Whether it counts as proved without a cookie beside its message: it returned ours lately when asked, and is not
    /// one that can do so always.
    pub(super) fn is_trusted(&self, now: Time) -> bool {
        !self.returns_always && self.returned_at.is_some_and(|at| now.since(at) < PROOF_LIFETIME)
    }

    /// Whether it never showed more than the oldest nodes can: to return our cookie when asked.
    pub(super) fn may_be_old(&self) -> bool {
        !self.returns_always && self.returned_at.is_some()
    }

    /// Whether it has a cookie of ours that is still good. One from which nothing came for long has one that is not.
    pub(super) fn has_good_cookie(&self, now: Time) -> bool {
        self.has_cookie && self.proved_at.is_some_and(|at| now.since(at) < PERIOD)
    }

    /// Whether it does not seem to know of cookies, so that it need not be asked for the return of ours.
    pub(super) fn ignores_cookies(&self) -> bool {
        self.silent_about_cookies && self.cookie.is_none()
    }

    /// Whether it is of no use to ask it or to name it.
    pub(super) fn is_shunned(&self) -> bool {
        self.banned || self.is_us
    }

    /// Whether nobody but a stranger says that somebody is there.
    pub(super) fn is_only_suggested(&self) -> bool {
        self.suggested && !self.is_proved()
    }

    /// Whether it had all of its `most` datagrams in vain, the last of them `patience` ago or longer.
    pub(super) fn is_spent(&self, now: Time, most: u32, patience: Duration) -> bool {
        self.unproved_datagrams >= most && now.since(self.disturbed_at) >= patience
    }

    /// Whether others may be told of it.
    pub(super) fn is_presentable(&self, now: Time) -> bool {
        let fresh = self.last_heard.is_some_and(|at| now.since(at) < FRESH);
        fresh && self.is_proved() && !self.is_shunned()
    }

    /// The round trip to it, where it was measured.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.path.as_ref().and_then(|path| path.round_trip()).or(self.round_trip)
    }

    /// Whether it ever proved its address.
    pub(super) fn is_proved(&self) -> bool {
        self.proved_at.is_some()
    }

    /// Whether nothing has come from it for so long.
    fn was_silent(&self, now: Time, long: Duration) -> bool {
        self.last_heard.is_some_and(|at| now.since(at) >= long)
    }

    /// Whether it was heard, and only asked us.
    fn only_asked(&self) -> bool {
        let was_asked = self.path.is_some() || self.useful_at.is_some() || self.round_trip.is_some();
        self.last_heard.is_some() && !was_asked && !self.is_shunned()
    }

    /// Whether it only asked us, and has gone: nobody is told of it any more, and no cookie that it may have is good.
    fn has_gone(&self, now: Time) -> bool {
        self.only_asked() && self.was_silent(now, FRESH)
    }

    /// It said something without proving anything. Getters come and go at the same port, and each is a stranger at first.
    fn on_unproved(&mut self, now: Time) {
        self.seems_new |= self.was_silent(now, PROOF_LIFETIME) || !self.may_be_old();
        if !self.returns_always {
            self.last_heard = Some(now);
        }
    }

    fn on_proved(&mut self, now: Time) {
        let is_new = self.seems_new || self.was_silent(now, PROOF_LIFETIME);
        self.proved_since = self.proved_since.filter(|_| !is_new).or(Some(now));
        self.seems_new = false;
        self.proved_at = Some(now);
        self.last_heard = Some(now);
    }
}

/// Somebody we met, for the peer table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Acquaintance {
    /// Where it is.
    pub address: SocketAddr,
    /// When it was last heard.
    pub last_heard: Time,
    /// The round trip, where it was measured.
    pub round_trip: Option<Duration>,
    /// Since when it has proved its address, as far as can be told the same all the time; `None` where it never did.
    pub proved_since: Option<Time>,
    /// When it last sent some of what we asked for.
    pub last_useful: Option<Time>,
    /// Whether it sent what is provably wrong.
    pub misbehaved: bool,
    /// Whether it was named by a stranger.
    pub suggested: bool,
    /// Which peer named it, where one did and it was tried for that.
    pub named_by: Option<SocketAddr>,
}

/// All addresses of a [host](host_of).
pub(super) fn ports_of(host: IpAddr) -> RangeInclusive<SocketAddr> {
    let last = match host {
        IpAddr::V4(_) => SocketAddr::new(host, u16::MAX),
        IpAddr::V6(ip) => {
            let ip = Ipv6Addr::from_bits(ip.to_bits() | u128::from(u64::MAX));
            SocketAddrV6::new(ip, u16::MAX, u32::MAX, u32::MAX).into()
        }
    };
    SocketAddr::new(host, 0)..=last
}

/// Contacts by place, of which there are ever more, and which stay where they are in memory.
#[derive(Debug, Default)]
struct Places {
    // Invariant: each but the last has [`ROOM`] of them, and none has more.
    rooms: Vec<Vec<Contact>>,
}

impl Places {
    fn get(&self, place: usize) -> Option<&Contact> {
        self.rooms.get(place / ROOM)?.get(place % ROOM)
    }

    fn get_mut(&mut self, place: usize) -> Option<&mut Contact> {
        self.rooms.get_mut(place / ROOM)?.get_mut(place % ROOM)
    }

    /// Adds one, and returns its place.
    fn push(&mut self, contact: Contact) -> usize {
        if self.rooms.last().is_none_or(|room| room.len() == ROOM) {
            self.rooms.push(Vec::with_capacity(ROOM));
        }
        let before = ROOM * (self.rooms.len() - 1);
        let room = self.rooms.last_mut().expect("there is one now");
        room.push(contact);
        before + room.len() - 1
    }
}

/// All contacts.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    // Invariant: the places in `contacts` that are not free, each once.
    by_address: BTreeMap<SocketAddr, usize>,
    contacts: Places,
    free: Vec<usize>,
    /// Of those that ever proved their address.
    tellable: Tellable,
    /// Who was looked for last, and is there: datagrams of a peer come in bunches.
    last: Cell<Option<(SocketAddr, usize)>>,
    swept_at: Time,
}

impl Contacts {
    pub(super) fn get(&self, address: SocketAddr) -> Option<&Contact> {
        self.contacts.get(self.place(address)?)
    }

    pub(super) fn get_mut(&mut self, address: SocketAddr) -> Option<&mut Contact> {
        let place = self.place(address)?;
        self.contacts.get_mut(place)
    }

    fn place(&self, address: SocketAddr) -> Option<usize> {
        match self.last.get() {
            Some((last, place)) if last == address => Some(place),
            _ => {
                let place = *self.by_address.get(&address)?;
                self.last.set(Some((address, place)));
                Some(place)
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Contact)> {
        self.by_address.iter().filter_map(|(&address, &place)| Some((address, self.contacts.get(place)?)))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// The contact at `address`, made if there is none.
    pub(super) fn entry(&mut self, address: SocketAddr) -> &mut Contact {
        let place = match self.place(address) {
            Some(place) => place,
            None => {
                self.make_room_for(address);
                let place = self.free.pop().unwrap_or_else(|| self.contacts.push(Contact::new()));
                self.by_address.insert(address, place);
                place
            }
        };
        self.contacts.get_mut(place).expect("the places of addresses are there")
    }

    /// Forgets the one that was silent longest where there are as many as may be, on the host of `address` or anywhere.
    fn make_room_for(&mut self, address: SocketAddr) {
        let of_host = self.by_address.range(ports_of(host_of(address)));
        let of_host = of_host.filter_map(|(&address, &place)| Some((address, self.contacts.get(place)?)));
        let only_asked: Vec<_> = of_host.filter(|(_, contact)| contact.only_asked()).collect();
        if only_asked.len() >= MAX_CONTACTS_OF_HOST
            && let Some(&(stalest, _)) = only_asked.iter().min_by_key(|(_, contact)| contact.last_heard)
        {
            self.remove(stalest);
        }
        if self.by_address.len() >= MAX_CONTACTS {
            self.evict();
        }
    }

    fn evict(&mut self) {
        let stalest = self
            .iter()
            .filter(|(_, contact)| contact.path.is_none())
            .min_by_key(|(_, contact)| contact.last_heard)
            .map(|(address, _)| address);
        if let Some(address) = stalest {
            self.remove(address);
        }
    }

    fn remove(&mut self, address: SocketAddr) {
        if let Some(place) = self.by_address.remove(&address)
            && let Some(contact) = self.contacts.get_mut(place)
        {
            let told_from = std::mem::replace(contact, Contact::new()).told_from;
            self.free.push(place);
            self.last.set(None);
            if let Some(told_from) = told_from {
                self.forget_tellable(address, told_from);
            }
        }
    }

    fn forget_tellable(&mut self, address: SocketAddr, told_from: NonZeroU16) {
        let moved = self.tellable.remove(address, told_from);
        if let Some(moved) = moved.and_then(|moved| self.get_mut(moved)) {
            moved.told_from = Some(told_from);
        }
    }

    /// Notes that others may be told of this one, if it has proved its address and they could not be yet.
    fn note_tellable(&mut self, address: SocketAddr) {
        if self.get(address).is_some_and(|contact| contact.told_from.is_none() && contact.is_proved()) {
            let told_from = self.tellable.add(address);
            if let Some(contact) = self.get_mut(address) {
                contact.told_from = told_from;
            }
        }
    }

    /// Forgets, from time to time, who only asked us and has gone, but for those that `is_asked` now.
    pub(super) fn forget_gone(&mut self, now: Time, is_asked: impl Fn(SocketAddr) -> bool) {
        if now.since(self.swept_at) < SWEEP_EVERY {
            return;
        }
        self.swept_at = now;
        let gone = self.iter().filter(|(address, contact)| contact.has_gone(now) && !is_asked(*address));
        for address in gone.map(|(address, _)| address).collect::<Vec<_>>() {
            self.remove(address);
        }
    }

    /// A datagram came that proves nothing. Nothing is stored for a stranger.
    pub(super) fn on_unproved(&mut self, now: Time, address: SocketAddr) {
        if let Some(contact) = self.get_mut(address) {
            contact.on_unproved(now);
            self.note_tellable(address);
        }
    }

    /// It is tried because this peer suggested it.
    pub(super) fn on_named(&mut self, address: SocketAddr, by: Option<SocketAddr>) {
        if let Some(contact) = self.get_mut(address).filter(|contact| contact.last_heard.is_none()) {
            contact.named_by = by.map(Box::new);
        }
    }

    /// It was asked for the return of our cookie. That tells something only where it wants one returned itself.
    pub(super) fn on_asked(&mut self, address: SocketAddr) {
        if let Some(contact) = self.get_mut(address) {
            contact.was_asked |= contact.cookie.is_some();
        }
    }

    /// It returned our cookie beside a message.
    pub(super) fn on_always_returned(&mut self, now: Time, address: SocketAddr, current: bool) {
        let contact = self.entry(address);
        contact.on_proved(now);
        // What came back at once, from a peer that did not know us, need not have been kept.
        if contact.was_asked {
            contact.returns_always = true;
            contact.has_cookie = current;
        }
        self.note_tellable(address);
    }

    /// It returned our cookie in a `ReturnedMessage`; `beside` is what else in the datagram proves.
    pub(super) fn on_returned(&mut self, now: Time, address: SocketAddr, beside: Proof) {
        let contact = self.entry(address);
        if contact.returns_always && beside == Proof::None {
            // Who always returned it does not any more, and this is no forgery: another node has taken its place.
            contact.returns_always = false;
            contact.has_cookie = false;
            contact.was_asked = false;
            contact.cookie = None;
            contact.seems_new = true;
        }
        contact.on_proved(now);
        contact.returned_at = Some(now);
        self.note_tellable(address);
    }

    pub(super) fn on_round_trip(&mut self, address: SocketAddr, round_trip: Duration) {
        if let Some(contact) = self.get_mut(address) {
            contact.round_trip = Some(round_trip);
        }
    }

    pub(super) fn acquaintances(&self) -> impl Iterator<Item = Acquaintance> + '_ {
        self.iter().filter(|(_, contact)| !contact.is_us).filter_map(|(address, contact)| {
            Some(Acquaintance {
                address,
                last_heard: contact.last_heard?,
                round_trip: contact.round_trip(),
                proved_since: contact.proved_since,
                last_useful: contact.useful_at,
                misbehaved: contact.banned,
                suggested: contact.suggested,
                named_by: contact.named_by.as_deref().copied(),
            })
        })
    }

    /// Where only we ourselves are.
    pub(super) fn own(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.iter().filter(|(_, contact)| contact.is_us).map(|(address, _)| address)
    }

    /// Peers to tell `to` about, which proved themselves and were heard lately: in random order, from `looked` drawn at random, so
    /// that no more are looked at. Whoever is of no use to others any more is not drawn again before it is heard.
    pub(super) fn some_presentable(
        &mut self,
        now: Time,
        to: SocketAddr,
        looked: usize,
        random: &mut fastrand::Rng,
    ) -> Vec<SocketAddr> {
        let mut drawn = self.tellable.draw(to, looked, random);
        drawn.retain(|&address| {
            let Some(contact) = self.get_mut(address) else { return false };
            let presentable = contact.is_presentable(now);
            if !presentable && let Some(told_from) = contact.told_from.take() {
                self.forget_tellable(address, told_from);
            }
            presentable
        });
        drawn
    }
}

#[cfg(test)]
mod tests;
