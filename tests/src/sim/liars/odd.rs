//! Datagrams that nobody should send: too large, too deep, with numbers at every boundary and ids with every trick.

use cjp2p_wire::datagram::Encoder;

/// Numbers at the boundaries of what a reader may hold, and texts that only look like numbers.
pub const NUMBERS: [&str; 30] = [
    "0",
    "-0",
    "1",
    "-1",
    "959",
    "4095",
    "4096",
    "40960",
    "40961",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740991",
    "9007199254740992",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "340282366920938463463374607431768211456",
    "0.5",
    "4096.0",
    "1e3",
    "1E+18",
    "1e400",
    "-1e-400",
    "\"4096\"",
    "null",
];

/// Ids with a trick, as they stand in JSON. `ID` is replaced by the id that is asked for.
pub const IDS: [&str; 26] = [
    "",
    "ID ",
    " ID",
    "./ID",
    "ID/",
    "ID/..",
    "../ID",
    "../../../../etc/passwd",
    "/etc/passwd",
    "..\\\\..\\\\ID",
    "%2e%2e%2fID",
    ".",
    "..",
    "~",
    "ID\\u0000",
    "\\u0000",
    "\\ud800",
    "\\u202eID",
    "ID\\n",
    "\\u001b[2J",
    "blake3/",
    "blake3/blake3/ID",
    "blake3_tree_v2/ID",
    "BLAKE3/0000000000000000000000000000000000000000000000000000000000000000",
    "blake3/000000000000000000000000000000000000000000000000000000000000000g",
    "stream/0000000000000000000000000000000000000000000000000000000000000000/x",
];

fn pick<'a>(random: &mut fastrand::Rng, all: &[&'a str]) -> &'a str {
    all[random.usize(0..all.len())]
}

/// The datagram that `pattern` shows: its `ID` is this id, and each `@` the next of `values`.
fn fill(pattern: &str, id: &str, mut values: impl FnMut() -> String) -> Vec<u8> {
    let mut parts = pattern.split('@').map(|part| part.replace("ID", id));
    let mut text = parts.next().unwrap_or_default();
    for part in parts {
        text += &values();
        text += &part;
    }
    text.into_bytes()
}

/// A datagram with messages of every kind whose numbers lie at boundaries.
pub fn numbers(random: &mut fastrand::Rng, id: &str) -> Vec<u8> {
    let pattern = r#"[{"Content":{"id":"ID","offset":@,"base64":"AAAA","eof":@}},
        {"PleaseSendContent":{"id":"ID","offset":@,"length":@,"block":@}},
        {"IHaveTheseParts":{"id":"ID","offset":@,"until":@,"parts":[[@,@],[@,@]],"eof":@}},
        {"PleaseSayWhichParts":{"id":"ID","offset":@}},
        {"ICanSendContentInBlocks":{"most":@}},
        {"ContentList":{"results":[["ID",@]]}}]"#;
    fill(pattern, id, || pick(random, &NUMBERS).to_owned())
}

/// A datagram with messages of every kind about ids with a trick.
pub fn ids(random: &mut fastrand::Rng, id: &str) -> Vec<u8> {
    let long = "x".repeat(random.usize(200..2000));
    let pattern = r#"[{"Content":{"id":"@","offset":0,"base64":"aGk=","eof":2}},
        {"PleaseSendContent":{"id":"@","offset":0,"length":4096}},
        {"MaybeTheyHaveSome":{"id":"@","peers":["ID","1.2.3.4","1.2.3.4:99999","[::1%x]:1",7]}},
        {"TheseIdsNameTheSameContent":{"ids":["ID","@","@"]}},
        {"PleaseListIdsOfTheSameContent":{"id":"@"}},
        {"IHaveTheseParts":{"id":"@","offset":0,"until":9,"parts":[[0,9]],"eof":9}},
        {"PleaseSayWhichParts":{"id":"@","offset":0}},
        {"ContentList":{"results":[["@",1],["@",2]]}}]"#;
    fill(pattern, id, || match random.u8(0..8) {
        0 => long.clone(),
        _ => pick(random, &IDS).replace("ID", id),
    })
}

/// A datagram that is as long or as deep as can be.
pub fn oversized(random: &mut fastrand::Rng, id: &str) -> Vec<u8> {
    const MOST: usize = 65_000;
    let text = match random.u8(0..8) {
        0 => "[".repeat(MOST),
        1 => format!("[{}{}]", "[".repeat(MOST / 2 - 1), "]".repeat(MOST / 2 - 1)),
        2 => {
            let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
            format!(r#"[{{"PleaseReturnThisMessage":{deep}}}]"#)
        }
        3 => {
            let deep = format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000));
            format!(r#"[{{"Content":{{"id":"{id}","offset":0,"more":{deep},"base64":"aGk="}}}}]"#)
        }
        4 => format!("[{}{{}}]", r#"{"PleaseSendPeers":{}},"#.repeat(2800)),
        5 => format!(r#"[{{"Peers":{{"peers":[{}"1.2.3.4:5"]}}}}]"#, r#""198.51.100.7:24254","#.repeat(2900)),
        6 => {
            let parts: Vec<String> = (0..5000).map(|n| format!("[{},{}]", n * 10, n * 10 + 5)).collect();
            format!(
                r#"[{{"IHaveTheseParts":{{"id":"{id}","offset":0,"until":50000,"parts":[{}],"eof":50000}}}}]"#,
                parts.join(",")
            )
        }
        _ => format!(r#"[{{"{}":{{}}}}]"#, "PleaseSendPeers".repeat(4000)),
    };
    text.into_bytes()
}

/// A question, or several, that an unvalidated source may ask about one of these ids; now and then broken.
pub fn question(random: &mut fastrand::Rng, ids: &[String]) -> Vec<u8> {
    use cjp2p_wire::message::ContentRequest;
    let mut encoder = Encoder::new();
    for _ in 0..random.usize(0..6) {
        let id = &ids[random.usize(0..ids.len())];
        match random.u8(0..14) {
            0..4 => encoder.request(&ContentRequest::plain(
                id,
                if random.bool() { 0 } else { random.u64(0..2_000_000) },
                [0, 1, 32, 960, 4096, 40_960, 1 << 53][random.usize(0..7)],
            )),
            4 => encoder.bare("PleaseSendPeers"),
            5 => encoder.bare("PleaseListContent"),
            6 => encoder.bare("PleaseListSupportedMessages"),
            7 => encoder
                .value("PleaseReturnThisMessage", &format!("\"{}\"", "x".repeat(random.usize(0..1200)))),
            8 => encoder.cookie("PleaseAlwaysReturnThisMessage", &"y".repeat(random.usize(0..300))),
            9 => encoder.cookie("AlwaysReturned", "no cookie of anybody"),
            10 => encoder.cookie("ReturnedMessage", &format!("{}.0.40960.{id}", "A".repeat(22))),
            11 => encoder.please_list_ids(id),
            12 => encoder.which_parts(id, 0),
            _ => encoder.content(id, 0, &[1; 100], Some(100), cjp2p_wire::datagram::Padding::Padded),
        }
    }
    let pad = if random.u8(0..4) == 0 { random.usize(0..1500) } else { 0 };
    let mut bytes = encoder.finish(pad);
    if random.u8(0..4) == 0 && !bytes.is_empty() {
        let at = random.usize(0..bytes.len());
        bytes[at] = random.u8(..);
    }
    bytes
}
