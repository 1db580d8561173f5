//! Telling what names stand for: at once, or to whoever waits for it when that is new.

use std::net::SocketAddr;
use std::time::Duration;

use super::reply::Reply;
use super::watchers::Due;
use super::{Context, Server};
use crate::datagram::Encoder;
use crate::message::{LatestRequest, Message, NothingNewer};
use crate::node::budget::{self, MAX_LATEST};
use crate::peers::address::host_of;
use crate::signed::PointerId;
use crate::store::Asker;

/// Sources that are told in one go; what else is due follows at once, after what came meanwhile.
const TOLD_AT_ONCE: usize = 64;

/// The names that a datagram asks for, as many as are looked up.
pub(super) fn names_wanted<'a>(
    messages: &'a [Message<'_>],
    most: usize,
) -> impl Iterator<Item = &'a LatestRequest> {
    let wanted = messages.iter().filter_map(|message| match message {
        Message::GetLatest(request) => Some(request),
        _ => None,
    });
    wanted.take(most)
}

impl Server {
    /// Says to a validated source what the names stand for that it asks about. What is not new it may wait for.
    pub(super) fn tell_names(
        &mut self,
        cx: &mut Context<'_>,
        from: SocketAddr,
        messages: &[Message<'_>],
        reply: &mut Reply,
    ) {
        let most = if cx.shared.config.answers { MAX_LATEST } else { 0 };
        for request in names_wanted(messages, most) {
            cx.shared.budget.count(budget::LATEST);
            let said = tell(cx, Asker::Host(host_of(from)), request, reply);
            match (said, request.wait, request.after) {
                (Said::NothingNewer, Some(wait), Some(after)) => {
                    self.watchers.ask(cx.now, from, &request.id, after, Duration::from_secs(wait));
                }
                _ => self.watchers.forget(from, &request.id),
            }
        }
    }

    /// There may be news of a name, and of those below it.
    pub(crate) fn on_news_of(&mut self, cx: &mut Context<'_>, id: &PointerId) {
        self.watchers.wake(cx.now, id);
        self.tell_watchers(cx);
    }

    /// Tells those that wait what is new.
    pub(crate) fn tell_watchers(&mut self, cx: &mut Context<'_>) {
        for _ in 0..TOLD_AT_ONCE {
            let Some(due) = self.watchers.next(cx.now) else { return };
            self.tell_watcher(cx, &due);
        }
    }

    fn tell_watcher(&mut self, cx: &mut Context<'_>, due: &Due) {
        let Due { to, id, after } = due;
        let is_there = cx.shared.contacts.get(*to).is_some_and(|contact| contact.is_validated());
        if !is_there {
            return self.watchers.forget(*to, id);
        }
        cx.shared.budget.count(budget::LATEST);
        match cx.store.latest(Asker::Host(host_of(*to)), id) {
            Some(known) if known.pointer().seq > *after => {
                let mut encoder = Encoder::new();
                cx.shared.write_cookies_beside_answer(cx.now, *to, &mut encoder);
                encoder.value("SignedMessage", &known.to_json());
                self.send_small(cx, *to, encoder.finish(0));
            }
            _ => self.watchers.wait_on(due),
        }
    }
}

/// Says to an unvalidated source what the first name stands for that it asks about, if that is in memory and fits.
pub(super) fn tell_first_name(cx: &mut Context<'_>, messages: &[Message<'_>], reply: &mut Reply) {
    let most = if cx.shared.config.answers { 1 } else { 0 };
    for request in names_wanted(messages, most) {
        cx.shared.budget.count(budget::READ);
        tell(cx, Asker::Unvalidated, request, reply);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Pointer,
    NothingNewer,
    /// There was no room for it, or it is not known yet: it can be asked for again.
    Nothing,
}

fn tell(cx: &mut Context<'_>, asker: Asker, request: &LatestRequest, reply: &mut Reply) -> Said {
    let known = cx.store.latest(asker, &request.id);
    match known.filter(|known| request.after.is_none_or(|after| known.pointer().seq > after)) {
        Some(known) if reply.say(|e| e.value("SignedMessage", &known.to_json())) => Said::Pointer,
        Some(_) => Said::Nothing,
        // It may be one that is signed when it is asked for, and whoever watches it would not ask again for a minute.
        None if asker == Asker::Unvalidated => Said::Nothing,
        None => {
            let nothing = NothingNewer { id: request.id.clone(), after: request.after };
            reply.say(|e| e.nothing_newer(&nothing));
            Said::NothingNewer
        }
    }
}
