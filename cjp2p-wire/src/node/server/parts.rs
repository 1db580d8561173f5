//! Telling which parts of some content are here.

use std::net::SocketAddr;

use super::{Context, Server};
use crate::content_id::ContentId;
use crate::datagram::Encoder;
use crate::message::{ContentRequest, PartsRequest, TheseParts};
use crate::node::lengths::ORDINARY_DATAGRAM;
use crate::store::Parts;

/// Ranges told in one answer at most; as many as fit a datagram.
const MAX_TOLD: usize = 128;

impl Server {
    /// Answers a validated source which parts of some content are here. Returns its id if we download it too.
    pub(super) fn tell_parts(
        &mut self,
        cx: &mut Context<'_>,
        from: SocketAddr,
        request: &PartsRequest<'_>,
    ) -> Option<ContentId> {
        if !cx.shared.config.answers {
            return None;
        }
        let id = ContentId::parse(&request.id).ok()?;
        self.tell_parts_of(cx, from, request, &id);
        cx.downloads.of(&id).map(|_| id)
    }

    fn tell_parts_of(
        &mut self,
        cx: &mut Context<'_>,
        from: SocketAddr,
        request: &PartsRequest<'_>,
        id: &ContentId,
    ) {
        let now = cx.now;
        let mut parts = match cx.store.parts(id, request.offset, MAX_TOLD) {
            Some(parts) => parts,
            // Nothing yet, but the source is to know that there will be.
            None if cx.downloads.of(id).is_some() => {
                Parts { length: None, until: request.offset, ranges: Vec::new() }
            }
            // A peer that goes by what it was told before asks for no content: it would never hear of it.
            None if cx.store.is_withdrawn(id) => return self.refer(cx, from, &request.id, 0..0, false, true),
            None => return,
        };
        if parts.length.is_some() {
            self.upload_slots.join(now, id, from);
        }
        let busy = !self.upload_slots.serves(now, id, from, 0);
        if let (Some(length), false) = (parts.length, busy)
            && parts == Parts::whole(length, request.offset)
            && let Some(offered) = self.upload_slots.offer(now, id, from, length, request.offset, MAX_TOLD)
        {
            parts = offered;
        }
        let mut encoder = Encoder::new();
        cx.shared.write_cookies_beside_answer(now, from, &mut encoder);
        let offset = parts.length.map_or(request.offset, |length| request.offset.min(length));
        let mut room = ORDINARY_DATAGRAM.saturating_sub(encoder.len() + 2 * request.id.len() + FRAME);
        let fit = parts.ranges.iter().take_while(|range| {
            let length = digits(range.start) + digits(range.end) + "[,],".len();
            room = room.saturating_sub(length);
            room > 0
        });
        let fit = fit.count();
        if let Some(first_left) = parts.ranges.get(fit) {
            parts.until = first_left.start;
            parts.ranges.truncate(fit);
        }
        let until = parts.length.map_or(parts.until, |length| parts.until.min(length));
        encoder.these_parts(&TheseParts {
            id: request.id.clone(),
            offset,
            until,
            parts: parts.ranges,
            eof: parts.length,
            busy,
        });
        self.send_small(cx, from, encoder.finish(0));
    }

    /// Whether this source is one of those that are served the content now.
    pub(super) fn serves_now(
        &mut self,
        cx: &Context<'_>,
        from: SocketAddr,
        request: &ContentRequest<'_>,
    ) -> bool {
        let Ok(id) = ContentId::parse(&request.id) else { return false };
        // A peer that knows of requests for several blocks knows of exchanging parts. A tree may also be wanted by one that
        // downloads by another id, and exchanges nothing.
        let exchanges = cx.shared.contacts.get(from).is_some_and(|contact| contact.blocks > 1);
        if exchanges && matches!(id, ContentId::Blake3(_)) {
            self.upload_slots.expect(cx.now, &id, from);
        }
        self.upload_slots.serves(cx.now, &id, from, request.length)
    }
}

/// What an `IHaveTheseParts` holds beside its id and parts, at most.
const FRAME: usize =
    r#"[{"IHaveTheseParts":{"id":"","offset":,"until":,"parts":[],"eof":,"busy":true}}],"#.len() + 3 * 16;

fn digits(n: u64) -> usize {
    n.checked_ilog10().map_or(1, |digits| digits as usize + 1)
}
