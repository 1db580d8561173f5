//! Who reads what: entries are opened for readers, and left when nobody reads them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::folder::MAX_LIST;
use cjp2p_wire::time::Time;

use super::Gateway;
use super::client::Token;
use super::evicting::is_full;
use super::outcome::Outcome;
use super::reading::{Purpose, Reading, first_content};
use crate::cache::files::has_name;
use crate::cache::{MAX_UNREAD, Slot};

/// So long after its last reader left, an entry's fetch is there for the next: whoever seeks comes back at once.
const GRACE: Duration = Duration::from_secs(3);

impl Gateway {
    /// A client wants to read.
    pub(super) fn read(&mut self, token: Token, reading: Reading) {
        let id = reading.id.clone();
        let Some(client) = self.clients.get_mut(&token) else { return };
        client.reading = Some(Box::new(reading));
        let cache = self.session.store_mut();
        if let Some(slot) = cache.slot_of(&id) {
            let is_there = !cache.keeps() || cache.get(slot).is_some_and(|entry| has_name(entry.file()));
            if is_there || self.readers.contains_key(&slot) {
                return self.attach(token, slot);
            }
            // Somebody removed the file: what is in it is gone with those who read it.
            self.end_job(slot);
            self.forget(slot);
        }
        let waiting = self.opening.entry(id.clone()).or_default();
        waiting.push(token);
        if waiting.len() == 1 {
            self.open(id);
        }
    }

    fn open(&mut self, id: ContentId) {
        let folder = self.session.store().folder().clone();
        self.tasks.run(move || {
            let opened = folder.open(&id).map(Box::new);
            Outcome::Opened(id, opened)
        });
    }

    /// An entry was opened, or could not be.
    pub(super) fn on_opened(&mut self, id: &ContentId, opened: std::io::Result<Box<crate::cache::Entry>>) {
        let waiting = self.opening.remove(id).unwrap_or_default();
        let slot = match opened {
            Ok(mut entry) => {
                entry.kept_mut().wake_for_each(self.waker.clone());
                self.session.store_mut().insert(*entry)
            }
            Err(error) if is_full(&error) && self.make_room(None) > 0 => {
                self.opening.insert(id.clone(), waiting);
                return self.open(id.clone());
            }
            Err(error) => {
                log::warn!("cache: {error}");
                let status = if is_full(&error) { 507 } else { 500 };
                for token in waiting {
                    self.fail_reader(token, status, &format!("the cache cannot be used: {error}"));
                }
                return;
            }
        };
        self.left.insert(slot, self.session.now());
        for token in waiting {
            let is_waiting = |client: &super::client::Client| {
                client.reading.as_ref().is_some_and(|reading| reading.slot.is_none() && reading.id == *id)
            };
            if self.clients.get(&token).is_some_and(is_waiting) {
                self.attach(token, slot);
            }
        }
    }

    fn attach(&mut self, token: Token, slot: Slot) {
        let Some(reading) = self.clients.get_mut(&token).and_then(|client| client.reading.as_mut()) else {
            return;
        };
        reading.slot = Some(slot);
        self.readers.entry(slot).or_default().insert(token);
        self.left.remove(&slot);
        self.session.store_mut().touch(slot);
        self.plan(slot);
        // What is here may be enough.
        self.session.store_mut().note_grown(slot);
        self.waker.wake();
    }

    /// A client reads no more.
    pub(super) fn detach(&mut self, token: Token) {
        let Some(reading) = self.clients.get_mut(&token).and_then(|client| client.reading.take()) else {
            return;
        };
        let Some(slot) = reading.slot else { return };
        let Some(readers) = self.readers.get_mut(&slot) else { return };
        readers.remove(&token);
        if readers.is_empty() {
            self.readers.remove(&slot);
            self.left.insert(slot, self.session.now());
        }
        self.plan(slot);
    }

    /// More of an entry is here, or something else of it is new.
    pub(super) fn on_grown(&mut self, slot: Slot) {
        let Some(readers) = self.readers.get(&slot) else { return };
        let can_go_on = |token: &&Token| {
            self.clients.get(token).is_some_and(|client| !client.is_full && !client.is_warming)
        };
        let readers: Vec<Token> = readers.iter().filter(can_go_on).copied().collect();
        for token in readers {
            self.turn_client(token);
        }
    }

    /// Answers a request for content as soon as its first bytes are here, and ends what is all sent.
    pub(super) fn turn_reading(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let Some(reading) = &client.reading else { return };
        if reading.is_answered {
            if !client.connection.is_sending() {
                self.detach(token);
            }
            return;
        }
        let Some(entry) = reading.slot.and_then(|slot| self.session.store().get(slot)) else { return };
        let Some(length) = entry.length() else { return };
        if let Purpose::List(_) = reading.purpose {
            if length > MAX_LIST as u64 {
                return self.fail_reader(token, 502, "this is no folder: its list is too long");
            }
            if entry.available(0..length) == length {
                let text = read_first(entry.file(), length);
                self.take_list(token, text);
            }
            return;
        }
        let sniffed = reading.sniffed(length);
        if entry.available(0..sniffed) < sniffed {
            return;
        }
        let Ok(first) = read_first(entry.file(), sniffed) else {
            return self.fail_reader(token, 500, "the cache cannot be read");
        };
        let answer = reading.answer(length, &first);
        if !reading.request.is_head()
            && let Some(range) = first_content(&answer)
            && entry.available(range) == 0
        {
            return;
        }
        if let Some(reading) = &mut client.reading {
            reading.is_answered = true;
        }
        self.answer(token, answer);
    }

    /// What a client reads cannot be had.
    pub(super) fn fail_reader(&mut self, token: Token, status: u16, why: &str) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let Some(reading) = &client.reading else { return };
        if reading.is_answered {
            log::info!("{}: {}: broken off: {why}", client.from, reading.id);
            client.connection.fail();
        } else {
            let line = format!("{}: {why}", reading.id);
            self.detach(token);
            self.answer_line(token, status, &line);
        }
        self.turn_client(token);
    }

    /// Ends fetches that nobody waits for, and closes and removes what is too much.
    pub(super) fn look_at_entries(&mut self, now: Time) {
        let is_over = |since: Time| now.since(since) >= GRACE;
        let left: Vec<Slot> =
            self.left.iter().filter(|(_, since)| is_over(**since)).map(|(&slot, _)| slot).collect();
        let keeps = self.session.store().keeps();
        let beyond = left.len().saturating_sub(MAX_UNREAD);
        for (nth, slot) in left.into_iter().enumerate() {
            self.end_job(slot);
            if !keeps || nth < beyond {
                self.forget(slot);
            }
        }
        if keeps {
            self.evict(|gateway, slot| gateway.left.get(&slot).is_some_and(|since| is_over(*since)));
        }
        self.session.store_mut().look_at_room(now);
        self.give_up_what_was_read();
    }

    /// Closes an entry that nobody reads.
    fn forget(&mut self, slot: Slot) {
        self.left.remove(&slot);
        self.session.store_mut().close(slot);
    }
}

fn read_first(file: &File, count: u64) -> std::io::Result<Vec<u8>> {
    let mut first = vec![0; usize::try_from(count).map_err(std::io::Error::other)?];
    file.read_exact_at(&mut first, 0)?;
    Ok(first)
}
