//! The answer to `PleaseListSupportedMessages`.

/// A JSON schema of the datagrams that a node understands. Other fields and messages are ignored.
pub(super) const SUPPORTED_MESSAGES: &str = concat!(
    r#"{"schema":{"type":"array","items":{"type":"object","properties":{"#,
    r#""PleaseSendContent":{"properties":{"id":{"type":"string"},"offset":{"type":"integer"},"length":{"type":"integer"},"block":{"type":"integer"},"as":{"type":"string"}}},"#,
    r#""ICanSendContentInBlocks":{"properties":{"most":{"type":"integer"},"raw":{"type":"boolean"}}},"#,
    r#""BytesFollow":{"properties":{"as":{"type":"string"},"offset":{"type":"integer"},"length":{"type":"integer"},"eof":{"type":"integer"}}},"#,
    r#""PleaseSayHowLongThisWaited":{"properties":{"number":{"type":"integer"}}},"#,
    r#""ThisWaited":{"properties":{"number":{"type":"integer"},"us":{"type":"integer"}}},"#,
    r#""PleaseListIdsOfTheSameContent":{"properties":{"id":{"type":"string"}}},"#,
    r#""TheseIdsNameTheSameContent":{"properties":{"ids":{"items":{"type":"string"}}}},"#,
    r#""IHaveThisContent":{"properties":{"ids":{"items":{"type":"string"}}}},"#,
    r#""Content":{"properties":{"id":{"type":"string"},"offset":{"type":"integer"},"base64":{"type":"string"},"eof":{"type":"integer"}}},"#,
    r#""MaybeTheyHaveSome":{"properties":{"id":{"type":"string"},"peers":{"items":{"type":"string"}},"withdrawn":{"type":"boolean"},"offset":{"type":"integer"},"length":{"type":"integer"}}},"#,
    r#""PleaseSendPeers":{},"Peers":{"properties":{"peers":{"items":{"type":"string"}}}},"#,
    r#""PleaseReturnThisMessage":{},"ReturnedMessage":{},"#,
    r#""PleaseAlwaysReturnThisMessage":{},"AlwaysReturned":{},"#,
    r#""PleaseSayWhichParts":{"properties":{"id":{"type":"string"},"offset":{"type":"integer"}}},"#,
    r#""IHaveTheseParts":{"properties":{"id":{"type":"string"},"offset":{"type":"integer"},"until":{"type":"integer"},"parts":{"items":{"items":{"type":"integer"}}},"eof":{"type":"integer"},"busy":{"type":"boolean"}}},"#,
    r#""PleaseListContent":{"properties":{"after":{"type":"string"}}},"#,
    r#""ContentList":{"properties":{"results":{"type":"array"},"after":{"type":"string"},"next":{"type":"string"},"total":{"type":"integer"},"follows":{"type":"boolean"},"withheld":{"type":"boolean"}}},"#,
    r#""GetLatest":{"properties":{"ed25519":{"type":"string"},"name":{"type":"string"},"after":{"type":"integer"},"wait":{"type":"integer"}}},"#,
    r#""SignedMessage":{"properties":{"ed25519":{"type":"string"},"signature":{"type":"string"},"payload_json":{"type":"string"}}},"#,
    r#""IKnowNothingNewer":{"properties":{"ed25519":{"type":"string"},"name":{"type":"string"},"after":{"type":"integer"}}},"#,
    r#""PleaseKeepSendingStream":{"properties":{"id":{"type":"string"},"as":{"type":"string"},"from":{"type":"integer"},"until":{"type":"integer"},"have":{"items":{"items":{"type":"integer"}}},"got":{"type":"integer"},"us":{"type":"integer"},"at":{"type":"integer"},"piece":{"type":"integer"},"spare":{"type":"integer"},"depth":{"type":"integer"},"places":{"items":{}},"stops":{"type":"boolean"}}},"#,
    r#""IHaveThisOfTheStream":{"properties":{"id":{"type":"string"},"from":{"type":"integer"},"until":{"type":"integer"},"depth":{"type":"integer"},"full":{"type":"boolean"},"waits":{"type":"boolean"},"peers":{"items":{"type":"string"}}}},"#,
    r#""PleaseListSupportedMessages":{},"SupportedMessages":{}}}}}"#,
);
