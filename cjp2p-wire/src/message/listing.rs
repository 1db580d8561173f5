//! Lists of content: asking for them part by part, and the parts.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer};

use super::fields::{IdText, Number, tolerant_list};
use super::limits::MAX_LISTED;

/// The payload of [`Message::ContentList`](super::Message::ContentList).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentList<'a> {
    /// Ids as they are written, and lengths in bytes.
    pub results: Vec<(Cow<'a, str>, u64)>,
    /// Where in the whole list this part begins: empty at its beginning, otherwise the `next` of the part before. `None` from a
    /// node that does not send its list in parts.
    pub after: Option<Cow<'a, str>>,
    /// Where the list continues; `None` at its end.
    pub next: Option<Cow<'a, str>>,
    /// The next part follows without a request.
    pub follows: bool,
    /// How many contents are in the whole list. A content can be listed by more than one id.
    pub total: Option<u64>,
    /// The sender keeps its list to itself.
    pub withheld: bool,
}

#[derive(serde::Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    results: Listing<'a>,
    #[serde(borrow, default)]
    after: Option<IdText<'a>>,
    #[serde(borrow, default)]
    next: Option<IdText<'a>>,
    #[serde(default)]
    follows: bool,
    #[serde(default)]
    total: Option<Number>,
    #[serde(default)]
    withheld: bool,
}

#[derive(serde::Deserialize)]
struct RequestFields<'a> {
    #[serde(borrow, default)]
    after: Option<IdText<'a>>,
}

struct Listing<'a>(Vec<(Cow<'a, str>, u64)>);

impl<'de: 'a, 'a> Deserialize<'de> for Listing<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        tolerant_list(deserializer, MAX_LISTED, |raw| {
            let (IdText(id), Number(length)) = serde_json::from_str(raw.get()).ok()?;
            Some((id, length))
        })
        .map(Listing)
    }
}

/// Where a list is to begin. Any other payload asks for any part of it.
pub(super) fn read_request(text: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<RequestFields<'_>>(text).ok()?.after.map(|after| after.0)
}

pub(super) fn read(text: &str) -> Option<ContentList<'_>> {
    let Fields { results, after, next, follows, total, withheld } = serde_json::from_str(text).ok()?;
    Some(ContentList {
        results: results.0,
        after: after.map(|text| text.0),
        next: next.map(|text| text.0),
        follows,
        total: total.map(|number| number.0),
        withheld,
    })
}
