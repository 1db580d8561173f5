//! Reads a message from its JSON, strictly by type and within the [limits](super::limits).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::{AddressList, IdList, IdText, Number, Text, append_base64};
use super::limits::{MAX_DEPTH, MAX_RETURNED_LEN};
use super::{
    BlocksOffer, ContentBlock, ContentRequest, Handle, Message, RawBlock, Referral, Waited, latest, listing,
    parts, stream,
};
use crate::signed::SignedMessage;

impl<'a> Message<'a> {
    /// Reads one element of a datagram's array; `None` if it is unknown or not well formed.
    pub(crate) fn from_element(element: &'a RawValue) -> Option<Message<'a>> {
        let Element { kind, value } = serde_json::from_str(element.get()).ok()?;
        let text = value.get();
        // Content is read strictly by type and never kept as a tree: its depth does not matter.
        if kind != "Content" && !is_shallow(text) {
            return None;
        }
        let message = match &*kind {
            "PleaseSendContent" => {
                let RequestFields { id, offset, length, block, handle } = serde_json::from_str(text).ok()?;
                let block = block.map(|n| n.0);
                // One that is none is passed over, like any field of another type would be.
                let handle = handle.and_then(|Text(text)| Handle::parse(text.as_bytes()));
                Message::PleaseSendContent(ContentRequest {
                    id: id.0,
                    offset: offset.0,
                    length: length.0,
                    block,
                    handle,
                })
            }
            "Content" => {
                let ContentFields { id, offset, base64, eof } = serde_json::from_str(text).ok()?;
                let eof = eof.map(|n| n.0);
                let mut data = Vec::new();
                if !append_base64(base64.0.as_bytes(), &mut data) {
                    return None;
                }
                Message::Content(ContentBlock { id: id.0, offset: offset.0, data: data.into(), eof })
            }
            "MaybeTheyHaveSome" => {
                let ReferralFields { id, peers, withdrawn, offset, length } =
                    serde_json::from_str(text).ok()?;
                let part = offset.zip(length).map(|(offset, length)| offset.0..offset.0 + length.0);
                Message::MaybeTheyHaveSome(Referral { id: id.0, peers: peers.0, withdrawn, part })
            }
            "PleaseSendPeers" => Message::PleaseSendPeers,
            "Peers" => {
                let PeersFields { peers } = serde_json::from_str(text).ok()?;
                Message::Peers(peers.0)
            }
            "PleaseReturnThisMessage" if text.len() <= MAX_RETURNED_LEN => {
                Message::PleaseReturnThisMessage(value)
            }
            "ReturnedMessage" if text.len() <= MAX_RETURNED_LEN => Message::ReturnedMessage(value),
            "PleaseAlwaysReturnThisMessage" if text.len() <= MAX_RETURNED_LEN => {
                Message::PleaseAlwaysReturnThisMessage(value)
            }
            "AlwaysReturned" if text.len() <= MAX_RETURNED_LEN => Message::AlwaysReturned(text),
            "ICanSendContentInBlocks" => {
                let BlockFields { most, raw } = serde_json::from_str(text).ok()?;
                Message::ICanSendContentInBlocks(BlocksOffer { most: most.0, raw })
            }
            "BytesFollow" => {
                let RawFields { handle, offset, length, eof } = serde_json::from_str(text).ok()?;
                let (handle, eof) = (Handle::parse(handle.0.as_bytes())?, eof.map(|n| n.0));
                // Whoever has the datagram adds the bytes.
                Message::BytesFollow(RawBlock { handle, offset: offset.0, length: length.0, data: &[], eof })
            }
            "PleaseSayHowLongThisWaited" => {
                let WaitFields { number, .. } = serde_json::from_str(text).ok()?;
                Message::PleaseSayHowLongThisWaited(number.0)
            }
            "ThisWaited" => {
                let WaitFields { number, us } = serde_json::from_str(text).ok()?;
                Message::ThisWaited(Waited { number: number.0, time: Duration::from_micros(us?.0) })
            }
            "PleaseListIdsOfTheSameContent" => {
                let IdFields { id } = serde_json::from_str(text).ok()?;
                Message::PleaseListIdsOfTheSameContent(id.0)
            }
            "TheseIdsNameTheSameContent" => {
                let IdsFields { ids } = serde_json::from_str(text).ok()?;
                Message::TheseIdsNameTheSameContent(ids.0)
            }
            "IHaveThisContent" => {
                let IdsFields { ids } = serde_json::from_str(text).ok()?;
                Message::IHaveThisContent(ids.0)
            }
            "PleaseSayWhichParts" => Message::PleaseSayWhichParts(parts::read_request(text)?),
            "IHaveTheseParts" => Message::IHaveTheseParts(parts::read(text)?),
            "PleaseListContent" => Message::PleaseListContent(listing::read_request(text)),
            "ContentList" => Message::ContentList(listing::read(text)?),
            "GetLatest" => Message::GetLatest(latest::read_request(text)?),
            "SignedMessage" => Message::SignedMessage(SignedMessage::read(text)?),
            "IKnowNothingNewer" => Message::IKnowNothingNewer(latest::read_nothing(text)?),
            "PleaseKeepSendingStream" => Message::PleaseKeepSendingStream(stream::read_request(text)?),
            "IHaveThisOfTheStream" => Message::IHaveThisOfTheStream(stream::read_holding(text)?),
            "PleaseListSupportedMessages" => Message::PleaseListSupportedMessages,
            "SupportedMessages" => Message::SupportedMessages(value),
            _ => return None,
        };
        Some(message)
    }
}

/// An object with exactly one key.
struct Element<'a> {
    kind: Cow<'a, str>,
    value: &'a RawValue,
}

impl<'de> Deserialize<'de> for Element<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneKey;
        impl<'de> Visitor<'de> for OneKey {
            type Value = Element<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one key")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Element<'de>, A::Error> {
                let Some((Text(kind), value)) = map.next_entry()? else {
                    return Err(A::Error::custom("no key"));
                };
                if map.next_key::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("more than one key"));
                }
                Ok(Element { kind, value })
            }
        }
        deserializer.deserialize_map(OneKey)
    }
}

#[derive(serde::Deserialize)]
struct RequestFields<'a> {
    #[serde(borrow)]
    id: IdText<'a>,
    offset: Number,
    length: Number,
    #[serde(default)]
    block: Option<Number>,
    #[serde(default, borrow, rename = "as")]
    handle: Option<Text<'a>>,
}

#[derive(serde::Deserialize)]
struct RawFields<'a> {
    #[serde(borrow, rename = "as")]
    handle: Text<'a>,
    offset: Number,
    length: Number,
    #[serde(default)]
    eof: Option<Number>,
}

#[derive(serde::Deserialize)]
struct WaitFields {
    number: Number,
    #[serde(default)]
    us: Option<Number>,
}

#[derive(serde::Deserialize)]
struct BlockFields {
    most: Number,
    #[serde(default)]
    raw: bool,
}

#[derive(serde::Deserialize)]
struct IdFields<'a> {
    #[serde(borrow)]
    id: IdText<'a>,
}

#[derive(serde::Deserialize)]
struct IdsFields<'a> {
    #[serde(borrow)]
    ids: IdList<'a>,
}

#[derive(serde::Deserialize)]
struct ContentFields<'a> {
    #[serde(borrow)]
    id: IdText<'a>,
    offset: Number,
    #[serde(borrow)]
    base64: Text<'a>,
    #[serde(default)]
    eof: Option<Number>,
}

#[derive(serde::Deserialize)]
struct ReferralFields<'a> {
    #[serde(borrow)]
    id: IdText<'a>,
    peers: AddressList,
    #[serde(default)]
    withdrawn: bool,
    #[serde(default)]
    offset: Option<Number>,
    #[serde(default)]
    length: Option<Number>,
}

#[derive(serde::Deserialize)]
struct PeersFields {
    peers: AddressList,
}

/// Whether valid JSON text nests no deeper than [`MAX_DEPTH`].
fn is_shallow(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    true
}
