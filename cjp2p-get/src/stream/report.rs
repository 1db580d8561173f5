//! What is told of a stream that is viewed, as JSON on standard output where asked for.

use std::path::Path;

use cjp2p_cli::{ToolError, stdout};
use cjp2p_wire::stream::StreamId;
use serde::Serialize;

use crate::report::ShownPath;

/// What happens to it.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event<'a> {
    /// It begins at this byte.
    Started { id: &'a StreamText, offset: u64 },
    /// A part of the stream ended, and the next begins: nothing is missing between.
    Part { id: &'a StreamText, from: u64, to: u64 },
    /// These bytes came too late, and were left out.
    Late { id: &'a StreamText, from: u64, to: u64 },
    /// It ended, or was to be viewed for no longer.
    Viewed {
        id: &'a StreamText,
        #[serde(flatten)]
        path: ShownPath,
        #[serde(flatten)]
        totals: Totals,
        /// The origin ended it.
        ended: bool,
        took_ms: u64,
    },
    /// It failed so.
    Failed { id: &'a StreamText, exit: u8, error: &'a str },
}

/// How much came.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Totals {
    /// Bytes that were written, those included that an earlier command wrote.
    pub(super) length: u64,
    /// Of those, what an earlier command wrote.
    pub(super) resumed: u64,
    /// How often something was left out that came too late, and how many bytes.
    pub(super) gaps: u64,
    pub(super) skipped: u64,
    /// Behind the origin's clock, at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delay_ms: Option<u64>,
}

/// An id as it is in JSON.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct StreamText(String);

/// See the [module](self).
pub(super) struct Report {
    json: bool,
    pub(super) id: StreamText,
}

impl Report {
    pub(super) fn new(json: bool, id: &StreamId) -> Report {
        Report { json, id: StreamText(id.to_string()) }
    }

    /// Prints it.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(super) fn print(&self, event: &Event<'_>) -> Result<(), ToolError> {
        if !self.json {
            return Ok(());
        }
        let mut line = serde_json::to_string(event).map_err(|error| ToolError::failure(error.to_string()))?;
        line.push('\n');
        stdout::print(line.as_bytes())
    }

    /// It is complete, at this path.
    ///
    /// # Errors
    ///
    /// As for [`Report::print`].
    pub(super) fn complete(
        &self,
        path: &Path,
        totals: Totals,
        ended: bool,
        took_ms: u64,
    ) -> Result<(), ToolError> {
        self.print(&Event::Viewed { id: &self.id, path: ShownPath::new(path), totals, ended, took_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::signed::PublicKey;

    #[test]
    fn json_has_its_documented_fields() {
        let id = StreamId::new(PublicKey::from_bytes([0xab; 32]), "cam").unwrap();
        let report = Report::new(true, &id);
        let json = |event: &Event<'_>| serde_json::to_string(event).unwrap().replace(&id.to_string(), "ID");
        let id = &report.id;
        assert_eq!(json(&Event::Started { id, offset: 7 }), r#"{"event":"started","id":"ID","offset":7}"#);
        let late = Event::Late { id, from: 7, to: 9 };
        assert_eq!(json(&late), r#"{"event":"late","id":"ID","from":7,"to":9}"#);
        let totals = Totals { length: 1, resumed: 2, gaps: 3, skipped: 4, delay_ms: Some(5) };
        let path = ShownPath::new(Path::new("a"));
        assert_eq!(
            json(&Event::Viewed { id, path, totals, ended: true, took_ms: 6 }),
            r#"{"event":"viewed","id":"ID","path":"a","length":1,"resumed":2,"gaps":3,"skipped":4,"delay_ms":5,"ended":true,"took_ms":6}"#
        );
        let failed = Event::Failed { id, exit: 4, error: "x" };
        assert_eq!(json(&failed), r#"{"event":"failed","id":"ID","exit":4,"error":"x"}"#);
    }
}
