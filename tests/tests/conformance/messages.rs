//! Reading what other nodes write, and never stumbling over what nobody should write.

use cjp2p_wire::datagram::{self, Encoder, Padding, content_that_fits};
use cjp2p_wire::message::{ContentRequest, Message};
use proptest::prelude::*;

const ID: &str = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4";

fn kinds(datagram: &str) -> Vec<String> {
    let messages = datagram::decode(datagram.as_bytes()).expect("an array");
    let kind = |message: &Message<'_>| format!("{message:?}").split(['(', ' ']).next().map(str::to_owned);
    messages.iter().filter_map(kind).collect()
}

#[test]
fn every_message_is_read_as_other_nodes_write_it() {
    for (text, kind) in [
        (r#"{"PleaseSendContent":{"id":"x","length":4096,"offset":0}}"#, "PleaseSendContent"),
        (r#"{"Content":{"base64":"aGk=","eof":2,"id":"x","offset":0}}"#, "Content"),
        (r#"{"Content":{"id":"x","offset":0,"base64":"aGk"}}"#, "Content"),
        (r#"{"MaybeTheyHaveSome":{"id":"x","peers":["192.0.2.1:1"]}}"#, "MaybeTheyHaveSome"),
        (r#"{"PleaseSendPeers":{}}"#, "PleaseSendPeers"),
        (r#"{"PleaseSendPeers":null}"#, "PleaseSendPeers"),
        (r#"{"Peers":{"peers":[]}}"#, "Peers"),
        (r#"{"PleaseReturnThisMessage":{"sent_at":1.5}}"#, "PleaseReturnThisMessage"),
        (r#"{"ReturnedMessage":"x"}"#, "ReturnedMessage"),
        (r#"{"PleaseAlwaysReturnThisMessage":{"cookie":"0123abcd"}}"#, "PleaseAlwaysReturnThisMessage"),
        (r#"{"AlwaysReturned":[1,2]}"#, "AlwaysReturned"),
        (r#"{"PleaseSayHowLongThisWaited":{"number":7}}"#, "PleaseSayHowLongThisWaited"),
        (r#"{"ThisWaited":{"us":250,"number":7,"more":1}}"#, "ThisWaited"),
        (r#"{"PleaseListIdsOfTheSameContent":{"id":"x"}}"#, "PleaseListIdsOfTheSameContent"),
        (r#"{"TheseIdsNameTheSameContent":{"ids":["x","y"]}}"#, "TheseIdsNameTheSameContent"),
        (r#"{"IHaveThisContent":{"ids":["x","y"]}}"#, "IHaveThisContent"),
        (r#"{"PleaseListContent":{}}"#, "PleaseListContent"),
        (r#"{"ContentList":{"results":[["x",5]]}}"#, "ContentList"),
        (r#"{"PleaseListContent":{"after":"blake3/x"}}"#, "PleaseListContent"),
        (r#"{"PleaseListContent":{"after":7}}"#, "PleaseListContent"),
        (r#"{"ContentList":{"results":[],"after":"","next":"x","total":9,"follows":true}}"#, "ContentList"),
        (r#"{"ContentList":{"results":[],"withheld":true}}"#, "ContentList"),
        (r#"{"GetLatest":{"name":"a/b","ed25519":"0xKEY","more":1}}"#, "GetLatest"),
        (r#"{"GetLatest":{"ed25519":"KEY","name":"a","after":7,"wait":99999}}"#, "GetLatest"),
        (r#"{"SignedMessage":{"ed25519":"KEY","payload":"W10=","signature":"SIG=="}}"#, "SignedMessage"),
        (r#"{"SignedMessage":{"signature":"SIG","payload_json":"[]","ed25519":"KEY"}}"#, "SignedMessage"),
        (r#"{"IKnowNothingNewer":{"ed25519":"KEY","name":"a"}}"#, "IKnowNothingNewer"),
        (
            r#"{"PleaseKeepSendingStream":{"until":9,"from":1,"as":"q","id":"stream/KEY/a","more":1}}"#,
            "PleaseKeepSendingStream",
        ),
        (
            r#"{"PleaseKeepSendingStream":{"id":"stream/KEY/a","as":"q","from":1,"until":9,"have":[[1,2],[2,20]],"got":7,"us":5,"at":99,"stops":true}}"#,
            "PleaseKeepSendingStream",
        ),
        (r#"{"IHaveThisOfTheStream":{"until":9,"from":1,"id":"stream/KEY/a/b"}}"#, "IHaveThisOfTheStream"),
        (r#"{"PleaseListSupportedMessages":{}}"#, "PleaseListSupportedMessages"),
        (r#"{"SupportedMessages":{"schema":{}}}"#, "SupportedMessages"),
    ] {
        let text = text.replace("KEY", ID).replace("SIG", &"A".repeat(86));
        assert_eq!(kinds(&format!(" [\n {text} ,{{\"Unheard\":{{}}}}]  \n")), [kind], "{text}");
    }
}

#[test]
fn a_bad_element_costs_nothing_but_itself() {
    let deep = format!("{{\"PleaseReturnThisMessage\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let long_id = format!(r#"{{"PleaseSendContent":{{"id":"{}","offset":0,"length":1}}}}"#, "x".repeat(256));
    for bad in [
        "null",
        "5",
        "\"text\"",
        "[]",
        "{}",
        r#"{"PleaseSendPeers":{},"Peers":{"peers":[]}}"#,
        r#"{"PleaseSendContent":{"id":"x","offset":-1,"length":1}}"#,
        r#"{"PleaseSendContent":{"id":"x","offset":1.5,"length":1}}"#,
        r#"{"PleaseSendContent":{"id":"x","offset":9007199254740993,"length":1}}"#,
        r#"{"PleaseSendContent":{"id":"x","offset":99999999999999999999999,"length":1}}"#,
        r#"{"PleaseSendContent":{"id":"x","id":"y","offset":0,"length":1}}"#,
        r#"{"PleaseSendContent":{"id":5,"offset":0,"length":1}}"#,
        r#"{"PleaseSendContent":{"offset":0,"length":1}}"#,
        r#"{"PleaseSendContent":[]}"#,
        r#"{"Content":{"id":"x","offset":0}}"#,
        r#"{"Peers":{"peers":"192.0.2.1:1"}}"#,
        r#"{"PleaseSayHowLongThisWaited":{"number":-1}}"#,
        r#"{"ThisWaited":{"number":7}}"#,
        r#"{"ThisWaited":{"number":7,"us":1.5}}"#,
        r#"{"PleaseListIdsOfTheSameContent":{"ids":["x"]}}"#,
        r#"{"TheseIdsNameTheSameContent":{"ids":"x"}}"#,
        r#"{"TheseIdsNameTheSameContent":{"id":"x"}}"#,
        r#"{"IHaveThisContent":{"ids":{}}}"#,
        r#"{"IHaveThisContent":["x"]}"#,
        r#"{"GetLatest":{"ed25519":"8f43","name":"a"}}"#,
        &format!(r#"{{"GetLatest":{{"ed25519":"{ID}","name":"../a"}}}}"#),
        &format!(r#"{{"GetLatest":{{"ed25519":"{ID}"}}}}"#),
        &format!(r#"{{"GetLatest":{{"ed25519":"{ID}","name":"a","after":-1}}}}"#),
        &format!(r#"{{"SignedMessage":{{"ed25519":"{ID}","signature":"AAAA","payload_json":"[]"}}}}"#),
        &format!(r#"{{"SignedMessage":{{"ed25519":"{ID}","signature":"{}"}}}}"#, "A".repeat(86)),
        &format!(
            r#"{{"SignedMessage":{{"ed25519":"{ID}","signature":"{}","payload_json":"{}"}}}}"#,
            "A".repeat(86),
            "x".repeat(8193)
        ),
        &format!(r#"{{"IKnowNothingNewer":{{"ed25519":"{ID}","name":""}}}}"#),
        r#"{"PleaseKeepSendingStream":{"id":"x","as":"q","from":1,"until":9}}"#,
        &format!(
            r#"{{"PleaseKeepSendingStream":{{"id":"stream/{}/a","as":"q","from":1,"until":9}}}}"#,
            ID.to_uppercase()
        ),
        &format!(r#"{{"PleaseKeepSendingStream":{{"id":"stream/{ID}/a","as":"q","from":9,"until":1}}}}"#),
        &format!(r#"{{"PleaseKeepSendingStream":{{"id":"stream/{ID}/a","as":"","from":1,"until":9}}}}"#),
        &format!(r#"{{"PleaseKeepSendingStream":{{"id":"stream/{ID}/a","from":1,"until":9}}}}"#),
        &format!(
            r#"{{"PleaseKeepSendingStream":{{"id":"stream/{ID}/a","as":"q","from":1,"until":9,"have":[[5,6],[2,3]]}}}}"#
        ),
        &format!(
            r#"{{"PleaseKeepSendingStream":{{"id":"stream/{ID}/a","as":"q","from":1,"until":9,"have":[{}]}}}}"#,
            (1..42).map(|n| format!("[{},{}]", 2 * n, 2 * n + 1)).collect::<Vec<_>>().join(",")
        ),
        &format!(r#"{{"IHaveThisOfTheStream":{{"id":"stream/{ID}/a","from":9,"until":1}}}}"#),
        &format!(r#"{{"IHaveThisOfTheStream":{{"id":"stream/{ID}/.a","from":1,"until":9}}}}"#),
        &deep,
        &long_id,
    ] {
        assert_eq!(kinds(&format!("[{bad},{{\"PleaseSendPeers\":{{}}}}]")), ["PleaseSendPeers"], "{bad}");
    }
}

#[test]
fn bad_addresses_and_list_entries_are_left_out() {
    let text = r#"[{"Peers":{"peers":["192.0.2.1:5",7,null,"x","1.2.3.4","[::ffff:192.0.2.9]:5","[fe80::1%6]:24254"]}},
        {"ContentList":{"results":[["a",1],["b"],["c",-1],5,["d",2]]}}]"#;
    let messages = datagram::decode(text.as_bytes()).unwrap();
    let Message::Peers(peers) = &messages[0] else { panic!() };
    let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["192.0.2.1:5", "192.0.2.9:5", "[fe80::1%6]:24254"]);
    let Message::ContentList(list) = &messages[1] else { panic!() };
    assert_eq!(
        list.results.iter().map(|(id, length)| (&**id, *length)).collect::<Vec<_>>(),
        [("a", 1), ("d", 2)]
    );
}

#[test]
fn of_ids_of_the_same_content_those_are_read_that_can_be_and_no_more_than_a_few() {
    let long = "x".repeat(256);
    let many = vec![r#""z""#; 20].join(",");
    let text = format!(
        r#"[{{"TheseIdsNameTheSameContent":{{"ids":["a",5,null,"{long}","b"]}}}},
        {{"TheseIdsNameTheSameContent":{{"ids":[{many}]}}}}]"#
    );
    let messages = datagram::decode(text.as_bytes()).unwrap();
    let Message::TheseIdsNameTheSameContent(ids) = &messages[0] else { panic!() };
    assert_eq!(ids, &["a", "b"]);
    let Message::TheseIdsNameTheSameContent(ids) = &messages[1] else { panic!() };
    assert_eq!(ids.len(), 16);
}

#[test]
fn ids_are_read_as_they_were_written() {
    let mut encoder = Encoder::new();
    encoder.please_list_ids("a\"b");
    encoder.same_content([ID, "x"]);
    encoder.have_content([ID, "a\"b", "x"]);
    encoder.have_content([]);
    let bytes = encoder.finish(0);
    let messages = datagram::decode(&bytes).unwrap();
    let [
        Message::PleaseListIdsOfTheSameContent(id),
        Message::TheseIdsNameTheSameContent(ids),
        Message::IHaveThisContent(had),
        Message::IHaveThisContent(nothing),
    ] = &messages[..]
    else {
        panic!()
    };
    assert_eq!((&**id, &ids[..]), ("a\"b", &[ID.into(), "x".into()][..]));
    assert_eq!((&had[..], nothing.len()), (&[ID.into(), "a\"b".into(), "x".into()][..], 0));
}

#[test]
fn what_is_no_array_of_json_is_an_error() {
    let many = format!("[{}]", vec!["{}"; 257].join(","));
    for text in [&b""[..], b"[", b"{}", b"[1,]", b"[] x", b"[\"\xff\"]", b"\xef\xbb\xbf[]", many.as_bytes()] {
        assert!(datagram::decode(text).is_err(), "{}", String::from_utf8_lossy(text));
    }
    assert!(datagram::decode(b" \t\r\n[ ] \n").unwrap().is_empty());
}

#[test]
fn as_many_messages_as_are_allowed_are_read_and_with_one_more_none() {
    let datagram = |count| format!("[{}]", vec![r#"{"PleaseSendPeers":{}}"#; count].join(","));
    let most = datagram::MAX_MESSAGES;
    assert_eq!(datagram::decode(datagram(most).as_bytes()).expect("an array").len(), most);
    assert!(datagram::decode(datagram(most + 1).as_bytes()).is_err());
}

#[test]
fn escapes_in_ids_are_understood() {
    let messages =
        datagram::decode(br#"[{"PleaseSendContent":{"id":"a\"\u00e4","offset":0,"length":1}}]"#).unwrap();
    let Message::PleaseSendContent(request) = &messages[0] else { panic!() };
    assert_eq!(request.id, "a\"\u{e4}");
}

proptest! {
    #[test]
    fn no_bytes_at_all_upset_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = datagram::decode(&bytes);
    }

    #[test]
    fn no_change_to_a_real_datagram_upsets_the_reader(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400) {
        let mut encoder = Encoder::new();
        encoder.cookie("AlwaysReturned", "abc");
        encoder.content(ID, 4096, &[7; 90], Some(5000), Padding::Padded);
        encoder.request(&ContentRequest::plain(ID, 0, 4096));
        let mut bytes = encoder.finish(0);
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = datagram::decode(&bytes);
        let _ = datagram::decode(&bytes[..cut.min(bytes.len())]);
    }

    #[test]
    fn content_is_read_as_it_was_written(
        offset in 0u64..1 << 53,
        eof in prop::option::of(0u64..=1 << 53),
        data in prop::collection::vec(any::<u8>(), 0..3000),
        padded in any::<bool>(),
        pad in 0usize..5000,
    ) {
        let padding = if padded { Padding::Padded } else { Padding::Bare };
        let mut encoder = Encoder::new();
        encoder.content(ID, offset, &data, eof, padding);
        let bytes = encoder.finish(pad);
        prop_assert!(bytes.len() >= pad);
        let messages = datagram::decode(&bytes).unwrap();
        let Message::Content(block) = &messages[0] else { panic!() };
        prop_assert_eq!((&*block.id, block.offset, block.eof), (ID, offset, eof));
        prop_assert_eq!(&block.data[..], &data[..]);
    }

    #[test]
    fn a_block_of_the_size_that_fits_does_fit(
        room in 150usize..66_000,
        beside in 0usize..100,
        largest in 0u64..=1 << 53,
    ) {
        let length = content_that_fits(room, ID, largest, beside);
        let mut encoder = Encoder::new();
        encoder.content(ID, largest, &vec![0; length], Some(largest), Padding::Padded);
        prop_assert!(length == 0 || encoder.finish(0).len() + beside <= room);
        prop_assert_eq!(length % 3, 0);
    }
}
