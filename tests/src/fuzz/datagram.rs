//! Datagrams of any bytes: what is read keeps to the limits, and written again it reads the same.

use std::fmt::Write as _;

use cjp2p_wire::datagram::{self, Encoder, Padding};
use cjp2p_wire::message::{
    MAX_DEPTH, MAX_HANDLE_LEN, MAX_ID_LEN, MAX_IDS, MAX_LISTED, MAX_NUMBER, MAX_PARTS, MAX_PEERS,
    MAX_RETURNED_LEN, MAX_STREAM_PLACES, MAX_STREAM_RANGES, MAX_WAIT, Message, RawBlock, StreamRequest,
};
use cjp2p_wire::signed::MAX_PAYLOAD_LEN;
use serde_json::value::RawValue;

pub(super) fn body(bytes: &[u8]) {
    let elements = serde_json::from_slice::<Vec<&RawValue>>(bytes).ok();
    let Ok(messages) = datagram::decode(bytes) else {
        let few = elements.is_some_and(|elements| elements.len() <= datagram::MAX_MESSAGES);
        let announces = bytes.windows(11).any(|part| part == b"BytesFollow" || part.contains(&b'\\'));
        assert!(!few || announces, "an array of few elements was refused");
        return;
    };
    let follows = messages.iter().find_map(|message| match message {
        Message::BytesFollow(block) => Some(block.data),
        _ => None,
    });
    match follows {
        Some(data) => assert!(bytes.ends_with(data)),
        None => {
            let elements = elements.expect("only an array is read");
            assert!(messages.len() <= elements.len() && elements.len() <= datagram::MAX_MESSAGES);
        }
    }
    let mut encoder = Encoder::new();
    for message in &messages {
        check(message, bytes.len());
        write(message, &mut encoder);
    }
    let mut again = encoder.finish(0);
    again.extend_from_slice(follows.unwrap_or_default());
    let read = datagram::decode(&again).expect("what we write can be read");
    assert_eq!(said(&messages), said(&read));
}

/// All that messages say, to be compared: of raw values the text, and of borrowed ones the bytes.
pub(super) fn said(messages: &[Message<'_>]) -> String {
    messages.iter().fold(String::new(), |mut text, message| {
        writeln!(text, "{message:?}").expect("writing to a string cannot fail");
        text
    })
}

fn check(message: &Message<'_>, datagram: usize) {
    let id = |id: &str| assert!(id.len() <= MAX_ID_LEN, "an id of {} bytes", id.len());
    let number = |n: u64| assert!(n <= MAX_NUMBER, "{n} is above the limit");
    let returned = |text: &str| {
        assert!(text.len() <= MAX_RETURNED_LEN);
        shallow(text);
    };
    match message {
        Message::PleaseSendContent(request) => {
            id(&request.id);
            [request.offset, request.length, request.block.unwrap_or(0)].into_iter().for_each(number);
        }
        Message::Content(block) => {
            id(&block.id);
            [block.offset, block.eof.unwrap_or(0)].into_iter().for_each(number);
            assert!(block.data.len() <= datagram / 4 * 3, "more content than its base64 can say");
        }
        Message::MaybeTheyHaveSome(referral) => {
            id(&referral.id);
            assert!(referral.peers.len() <= MAX_PEERS);
            referral
                .part
                .iter()
                .for_each(|part| [part.start, part.end - part.start].into_iter().for_each(number));
        }
        Message::Peers(peers) => assert!(peers.len() <= MAX_PEERS),
        Message::PleaseReturnThisMessage(value)
        | Message::ReturnedMessage(value)
        | Message::PleaseAlwaysReturnThisMessage(value) => returned(value.get()),
        Message::AlwaysReturned(text) => returned(text),
        Message::SupportedMessages(value) => shallow(value.get()),
        Message::ICanSendContentInBlocks(offer) => number(offer.most),
        Message::BytesFollow(block) => {
            [block.offset, block.eof.unwrap_or(0)].into_iter().for_each(number);
            assert_eq!(block.data.len() as u64, block.length);
            assert!(block.data.len() < datagram && block.handle.as_str().len() <= MAX_HANDLE_LEN);
        }
        Message::PleaseSayHowLongThisWaited(number_of) => number(*number_of),
        Message::ThisWaited(waited) => {
            number(waited.number);
            number(waited.time.as_micros().try_into().expect("a number of microseconds"));
        }
        Message::PleaseListIdsOfTheSameContent(of) => id(of),
        Message::TheseIdsNameTheSameContent(ids) | Message::IHaveThisContent(ids) => {
            assert!(ids.len() <= MAX_IDS);
            ids.iter().for_each(|named| id(named));
        }
        Message::PleaseSayWhichParts(request) => {
            id(&request.id);
            number(request.offset);
        }
        Message::IHaveTheseParts(told) => {
            id(&told.id);
            [told.offset, told.until, told.eof.unwrap_or(0)].into_iter().for_each(number);
            assert!(told.parts.len() <= MAX_PARTS);
            let end = told.parts.iter().fold(told.offset, |end, part| {
                assert!(end <= part.start && part.start < part.end, "{part:?} after {end}");
                part.end
            });
            assert!(end <= told.until && told.until <= told.eof.unwrap_or(MAX_NUMBER));
        }
        Message::ContentList(list) => {
            assert!(list.results.len() <= MAX_LISTED);
            for (listed, length) in &list.results {
                id(listed);
                number(*length);
            }
            list.after.iter().chain(&list.next).for_each(|text| id(text));
            list.total.into_iter().for_each(number);
        }
        Message::PleaseListContent(after) => after.iter().for_each(|text| id(text)),
        Message::GetLatest(request) => {
            assert!(request.id.name.as_str().len() <= MAX_ID_LEN);
            number(request.after.unwrap_or(0));
            assert!(request.wait.unwrap_or(0) <= MAX_WAIT);
        }
        Message::SignedMessage(signed) => assert!(signed.payload.len() <= MAX_PAYLOAD_LEN),
        Message::IKnowNothingNewer(nothing) => {
            assert!(nothing.id.name.as_str().len() <= MAX_ID_LEN);
            number(nothing.after.unwrap_or(0));
        }
        Message::PleaseKeepSendingStream(request) => {
            id(&request.id.to_string());
            let StreamRequest { from, until, piece, spare, depth, .. } = *request;
            [from, until, piece.unwrap_or(0), spare, depth.unwrap_or(0)].into_iter().for_each(number);
            assert!(from <= until && request.have.len() <= MAX_STREAM_RANGES);
            let places = request.places.as_deref().unwrap_or_default();
            assert!(places.len() <= MAX_STREAM_PLACES);
            places.iter().for_each(|(_, depth)| number(*depth));
            let end = request.have.iter().fold(from, |end, range| {
                assert!(end <= range.start && range.start < range.end, "{range:?} after {end}");
                range.end
            });
            number(end);
            if let Some(got) = request.got {
                number(got.offset);
                number(got.ago.as_micros().try_into().expect("a number of microseconds"));
                got.at.into_iter().for_each(number);
            }
        }
        Message::IHaveThisOfTheStream(told) => {
            id(&told.id.to_string());
            [told.from, told.until, told.depth.unwrap_or(0)].into_iter().for_each(number);
            assert!(told.from <= told.until && told.peers.len() <= MAX_PEERS);
        }
        Message::PleaseSendPeers | Message::PleaseListSupportedMessages => {}
    }
}

/// Counts nesting in another way than the library: in what serde_json makes of it.
fn shallow(json: &str) {
    fn depth(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
            serde_json::Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }
    // A number that no f64 holds is legal JSON, and not for serde_json's values.
    if let Ok(value) = serde_json::from_str(json) {
        assert!(depth(&value) <= MAX_DEPTH, "nested deeper than {MAX_DEPTH}: {json}");
    }
}

fn write(message: &Message<'_>, encoder: &mut Encoder) {
    match message {
        Message::PleaseSendContent(request) => encoder.request(request),
        Message::Content(block) => {
            encoder.content(&block.id, block.offset, &block.data, block.eof, Padding::Padded);
        }
        Message::MaybeTheyHaveSome(referral) => {
            encoder.refusal(&referral.id, &referral.peers, referral.part.clone(), referral.withdrawn);
        }
        Message::PleaseSendPeers => encoder.bare("PleaseSendPeers"),
        Message::Peers(peers) => encoder.peers(peers),
        Message::PleaseReturnThisMessage(value) => encoder.value("PleaseReturnThisMessage", value.get()),
        Message::ReturnedMessage(value) => encoder.value("ReturnedMessage", value.get()),
        Message::PleaseAlwaysReturnThisMessage(value) => {
            encoder.value("PleaseAlwaysReturnThisMessage", value.get());
        }
        Message::AlwaysReturned(text) => encoder.value("AlwaysReturned", text),
        Message::ICanSendContentInBlocks(offer) => encoder.can_send_blocks(*offer),
        // Its bytes come after the array.
        Message::BytesFollow(RawBlock { handle, offset, length, eof, .. }) => {
            let eof = eof.map_or(String::new(), |eof| format!(r#","eof":{eof}"#));
            let handle = handle.as_str();
            let fields = format!(r#"{{"as":"{handle}","offset":{offset},"length":{length}{eof}}}"#);
            encoder.value("BytesFollow", &fields);
        }
        Message::PleaseSayHowLongThisWaited(number) => encoder.please_say_wait(*number),
        Message::ThisWaited(waited) => encoder.waited(*waited),
        Message::PleaseListIdsOfTheSameContent(id) => encoder.please_list_ids(id),
        Message::TheseIdsNameTheSameContent(ids) => match &ids[..] {
            [one, other] => encoder.same_content([one, other]),
            // We never write other than two.
            _ => encoder.value("TheseIdsNameTheSameContent", &serde_json::json!({ "ids": ids }).to_string()),
        },
        Message::IHaveThisContent(ids) => encoder.have_content(ids.iter().map(|id| &**id)),
        Message::PleaseSayWhichParts(request) => encoder.which_parts(&request.id, request.offset),
        Message::IHaveTheseParts(told) => encoder.these_parts(told),
        Message::PleaseListContent(None) => encoder.bare("PleaseListContent"),
        Message::PleaseListContent(Some(after)) => encoder.please_list(after),
        Message::ContentList(list) => {
            encoder.content_list_part(list);
        }
        Message::GetLatest(request) => encoder.get_latest(request),
        Message::SignedMessage(signed) => encoder.value("SignedMessage", &signed.to_json()),
        Message::IKnowNothingNewer(nothing) => encoder.nothing_newer(nothing),
        Message::PleaseKeepSendingStream(request) => encoder.keep_sending(request),
        Message::IHaveThisOfTheStream(told) => encoder.have_of_stream(told),
        Message::PleaseListSupportedMessages => encoder.bare("PleaseListSupportedMessages"),
        Message::SupportedMessages(value) => encoder.value("SupportedMessages", value.get()),
    }
}
