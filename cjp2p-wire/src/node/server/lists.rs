//! Telling what is shared: part by part, the whole list; to nodes that know of no parts, some of it.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::limits::{MAX_LIST, Wanted};
use super::{Context, Server};
use crate::content_id::ContentId;
use crate::datagram::Encoder;
use crate::message::ContentList;
use crate::node::lengths::ORDINARY_DATAGRAM;
use crate::store::{ListPart, Listed};

/// Contents told in answer to one question, at most: their datagrams reach the asker together.
const MAX_CONTENTS: usize = 128;

impl Server {
    /// Notes that a validated source wants to know what is shared.
    pub(super) fn want_list(&mut self, from: SocketAddr, after: Option<&str>) {
        let wanted = match after {
            None => Wanted::Some,
            Some("") => Wanted::After(None),
            // What we never said begins no part.
            Some(text) => match ContentId::parse(text) {
                Ok(id) => Wanted::After(Some(id)),
                Err(_) => return,
            },
        };
        self.list_wanted = Some((from, wanted));
    }

    /// Sends the list that was asked for.
    pub(super) fn send_list(&mut self, cx: &mut Context<'_>) {
        let Some((to, wanted)) = self.list_wanted.take() else { return };
        if !cx.shared.config.lists {
            let mut encoder = Encoder::new();
            cx.shared.write_cookies_beside_answer(cx.now, to, &mut encoder);
            encoder.content_list_part(&ContentList { withheld: true, ..ContentList::default() });
            return self.send_small(cx, to, encoder.finish(0));
        }
        match wanted {
            Wanted::Some => self.send_plain_list(cx, to),
            Wanted::After(after) => match cx.store.list_after(after.as_ref(), MAX_CONTENTS) {
                Some(part) => self.send_part(cx, to, after.as_ref(), &part),
                None => self.send_plain_list(cx, to),
            },
        }
    }

    /// Sends a part of the list in datagrams that cross any path whole. Each says where in the list it belongs.
    fn send_part(
        &mut self,
        cx: &mut Context<'_>,
        to: SocketAddr,
        after: Option<&ContentId>,
        part: &ListPart,
    ) {
        let mut after = after.map(ToString::to_string).unwrap_or_default();
        let mut rest = &part.contents[..];
        loop {
            let mut encoder = Encoder::new();
            cx.shared.write_cookies_beside_answer(cx.now, to, &mut encoder);
            let frame = r#"{"ContentList":{"results":[],"after":"","next":"","total":,"follows":true}},"#;
            let mut room = ORDINARY_DATAGRAM.saturating_sub(encoder.len() + frame.len() + 16 + after.len());
            let mut results = Vec::new();
            let mut count = 0;
            for content in rest {
                let id = content.id.to_string();
                // This one may be the last of the datagram, and then stands in it once more.
                let needed = entry_length(&id) + id.len();
                if needed > room && count > 0 {
                    break;
                }
                room = room.saturating_sub(entry_length(&id));
                count += 1;
                results.push((id.clone(), content.length));
                take_names(content, room.saturating_sub(id.len()), &mut results, &mut room);
            }
            let (told, left) = rest.split_at(count);
            let last = told.last().map(|content| content.id.to_string());
            let next = last.filter(|_| !left.is_empty() || part.goes_on);
            let results = results.iter().map(|(id, length)| (Cow::Borrowed(&**id), *length)).collect();
            encoder.content_list_part(&ContentList {
                results,
                after: Some(Cow::Borrowed(&after)),
                next: next.as_deref().map(Cow::Borrowed),
                follows: !left.is_empty(),
                total: Some(part.total),
                withheld: false,
            });
            self.send_small(cx, to, encoder.finish(0));
            rest = left;
            match next {
                Some(next) if !rest.is_empty() => after = next,
                _ => return,
            }
        }
    }

    /// Sends some of what is shared to a node that knows of no parts.
    fn send_plain_list(&mut self, cx: &mut Context<'_>, to: SocketAddr) {
        let list: Vec<(String, u64)> =
            cx.store.list(MAX_LIST).into_iter().map(|(id, length)| (id.to_string(), length)).collect();
        let mut rest = &list[..];
        loop {
            let mut encoder = Encoder::new();
            cx.shared.write_cookies_beside_answer(cx.now, to, &mut encoder);
            let fixed = encoder.len() + r#"{"ContentList":{"results":[]}},"#.len();
            let mut length = fixed;
            let mut count = 0;
            for (id, _) in rest {
                length += entry_length(id);
                if length > ORDINARY_DATAGRAM && count > 0 {
                    break;
                }
                count += 1;
            }
            let (now_sent, left) = rest.split_at(count);
            encoder.content_list(now_sent.iter().map(|(id, length)| (&**id, *length)));
            self.send_small(cx, to, encoder.finish(0));
            rest = left;
            if rest.is_empty() {
                return;
            }
        }
    }
}

/// How long an entry of a list can be: with quotes, brackets, commas and 16 digits; an id that needs escapes is twice its length
/// at most.
fn entry_length(id: &str) -> usize {
    2 * id.len() + 24
}

/// Adds names of a content as far as there is room. They are not what a list is complete by.
fn take_names(content: &Listed, most: usize, results: &mut Vec<(String, u64)>, room: &mut usize) {
    let mut left = most;
    for name in &content.names {
        let name = name.to_string();
        let Some(rest) = left.checked_sub(entry_length(&name)) else { return };
        *room -= left - rest;
        left = rest;
        results.push((name, content.length));
    }
}
