//! `Reading`: one request for content, from when it came until the last byte is sent.

use std::ops::Range;

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::download::RangeSpec;
use cjp2p_wire::time::Time;

use super::finding::Finding;
use crate::cache::Slot;
use crate::fetch::read_ahead::ReadAhead;
use crate::http::content::{self, Described};
use crate::http::ranges::{Selected, Spec, select};
use crate::http::{Answer, Body, Piece, Request};
use crate::media;

/// What the content is read for.
pub(super) enum Purpose {
    /// To be sent.
    Answer,
    /// A list of a folder, to find something in it.
    List(Box<Finding>),
}

/// See the [module](self).
pub(super) struct Reading {
    pub(super) purpose: Purpose,
    pub(super) id: ContentId,
    /// Its entry in the cache, once it is open.
    pub(super) slot: Option<Slot>,
    pub(super) request: Request,
    name: Option<String>,
    fields: Vec<(&'static str, String)>,
    /// The head was sent, or is being sent.
    pub(super) is_answered: bool,
    pub(super) ahead: ReadAhead,
    /// Bytes that may be sent before it is planned anew what to fetch.
    pub(super) until_planned: u64,
}

impl Reading {
    /// A request for content, conditions aside, under a name. `fields` are for the answer.
    pub(super) fn new(
        now: Time,
        id: ContentId,
        request: Request,
        name: Option<String>,
        fields: Vec<(&'static str, String)>,
    ) -> Reading {
        Reading {
            purpose: Purpose::Answer,
            id,
            slot: None,
            request,
            name,
            fields,
            is_answered: false,
            ahead: ReadAhead::new(now),
            until_planned: 0,
        }
    }

    /// A list that is needed to find something.
    pub(super) fn of_list(now: Time, list: Hash, finding: Box<Finding>) -> Reading {
        let id = ContentId::Blake3(list);
        let reading = Reading::new(now, id, Request::default(), None, Vec::new());
        Reading { purpose: Purpose::List(finding), ..reading }
    }

    /// Whether the first bytes have to tell what it is.
    fn sniffs(&self) -> bool {
        matches!(self.purpose, Purpose::Answer) && self.type_of_name().is_none()
    }

    fn type_of_name(&self) -> Option<String> {
        self.name.as_deref().and_then(media::type_of_name)
    }

    /// The beginning of the content that is needed for the head, in bytes.
    pub(super) fn sniffed(&self, length: u64) -> u64 {
        if self.sniffs() { media::SNIFFED.min(length) } else { 0 }
    }

    /// What is wanted before the length is known.
    pub(super) fn specs(&self) -> Vec<RangeSpec> {
        let mut specs = Vec::new();
        if self.sniffs() {
            specs.push(RangeSpec::Span(0..media::SNIFFED));
        }
        let wanted =
            content::wanted(&self.request, &tag_of(&self.id)).unwrap_or_else(|| vec![Spec::From(0, None)]);
        if self.request.is_head() {
            // The length is proven by the end.
            specs.push(RangeSpec::Last(1));
            return specs;
        }
        specs.extend(wanted.into_iter().map(|spec| match spec {
            Spec::From(first, last) => {
                RangeSpec::Span(first..last.map_or(u64::MAX, |last| last.saturating_add(1)))
            }
            Spec::Last(count) => RangeSpec::Last(count.max(1)),
        }));
        specs
    }

    /// What is to be sent of content of this length, in order, and before it what is needed for the head.
    pub(super) fn ranges(&self, length: u64) -> Vec<Range<u64>> {
        let sniffed = 0..self.sniffed(length);
        let mut ranges: Vec<Range<u64>> =
            std::iter::once(sniffed).filter(|range| !range.is_empty()).collect();
        if self.request.is_head() {
            return ranges;
        }
        let specs = content::wanted(&self.request, &tag_of(&self.id));
        match specs.map_or(Selected::Whole, |specs| select(&specs, length)) {
            Selected::Whole => ranges.extend((length > 0).then_some(0..length)),
            Selected::One(range) => ranges.push(range),
            Selected::Several(several) => ranges.extend(several),
            Selected::Nothing => {}
        }
        ranges
    }

    /// The answer to it, of content of this length that begins so.
    pub(super) fn answer(&self, length: u64, first: &[u8]) -> Answer {
        let tag = tag_of(&self.id);
        let content_type =
            self.type_of_name().unwrap_or_else(|| media::type_of_bytes(first, first.len() as u64 == length));
        let digits: String = tag.chars().filter(char::is_ascii_hexdigit).collect();
        // No content can have its own hash in it.
        let boundary = format!("cjp2p-{}", &digits[digits.len().saturating_sub(40)..]);
        let described = Described { tag: &tag, content_type: &content_type, length, boundary: &boundary };
        let mut fields = self.fields.clone();
        if let Some(disposition) = media::disposition(self.name.as_deref(), self.is_download()) {
            fields.push(("Content-Disposition", disposition));
        }
        content::answer(&self.request, &described, &fields)
    }

    fn is_download(&self) -> bool {
        let is_it = |part: &str| part == "download" || part.starts_with("download=");
        self.request.query.as_deref().is_some_and(|query| query.split('&').any(is_it))
    }
}

/// The first content that an answer sends.
pub(super) fn first_content(answer: &Answer) -> Option<Range<u64>> {
    let Body::Pieces(pieces) = &answer.body else { return None };
    pieces.iter().find_map(|piece| match piece {
        Piece::Content(range) => Some(range.clone()),
        Piece::Bytes(_) => None,
    })
}

/// The entity tag of content: its id.
pub(super) fn tag_of(id: &ContentId) -> String {
    format!("\"{id}\"")
}
