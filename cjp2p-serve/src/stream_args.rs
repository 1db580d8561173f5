//! The part of the command line that is about streams.

use std::path::PathBuf;
use std::time::Duration;

use cjp2p_cli::{duration, size};
use cjp2p_io::stream_files::Keep;
use cjp2p_wire::signed::PublicKey;
use cjp2p_wire::stream::marks::MarkKind;
use cjp2p_wire::stream::{StreamId, StreamIdError};

/// Kept of a stream where nothing is said.
const KEEP: Keep = Keep::Bytes(4 << 30);
/// What came is given after a pause of so long.
const FLUSH: Duration = Duration::from_millis(2);

/// What is only for streams.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct StreamArgs {
    /// Share standard input or a growing FILE: stream/KEY/NAME (repeatable)
    #[arg(long = "stream", value_name = "NAME[=FILE]", value_parser = StreamSpec::parse)]
    pub(crate) streams: Vec<StreamSpec>,

    /// View this stream, and pass it on (repeatable)
    #[arg(long = "relay", value_name = "STREAM", value_parser = parse_id)]
    pub(crate) relays: Vec<StreamId>,

    /// Keep so much of each stream: 2h, 10G or all
    #[arg(long, value_name = "SIZE|TIME", value_parser = parse_keep, hide = true)]
    pub(crate) keep: Option<Keep>,

    /// Where one may join: ts, lines, or a time as in 1s; what suits the input if nothing is said
    #[arg(long, value_name = "WHAT", value_parser = parse_marks, hide = true)]
    pub(crate) marks: Option<MarkKind>,

    /// Send what came of a stream after a pause of TIME
    #[arg(long, value_name = "TIME", value_parser = duration::parse, hide = true)]
    pub(crate) flush: Option<Duration>,
}

impl StreamArgs {
    /// Whether there is any stream.
    pub(crate) fn is_used(&self) -> bool {
        !self.streams.is_empty() || !self.relays.is_empty()
    }

    /// What the streams are called.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> + '_ {
        let own = self.streams.iter().map(|spec| spec.name.clone());
        own.chain(self.relays.iter().map(StreamId::to_string))
    }

    /// The first option that needs a stream, and was given without one.
    pub(crate) fn needless(&self) -> Option<&'static str> {
        let of_origins = [("--marks", self.marks.is_some()), ("--flush", self.flush.is_some())];
        let of_all = [("--keep", self.keep.is_some() && !self.is_used())];
        let of_origins = of_origins.into_iter().filter(|_| self.streams.is_empty());
        of_origins.chain(of_all).find(|(_, is_given)| *is_given).map(|(option, _)| option)
    }

    pub(crate) fn keep(&self) -> Keep {
        self.keep.unwrap_or(KEEP)
    }

    pub(crate) fn marks(&self) -> MarkKind {
        self.marks.unwrap_or_default()
    }

    pub(crate) fn flush(&self) -> Duration {
        self.flush.unwrap_or(FLUSH)
    }
}

/// A stream that is to begin here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamSpec {
    pub(crate) name: String,
    /// The file that it comes from; `None` is standard input.
    pub(crate) file: Option<PathBuf>,
}

impl StreamSpec {
    fn parse(text: &str) -> Result<StreamSpec, String> {
        let (name, file) = match text.split_once('=') {
            None | Some((_, "-")) => (text.strip_suffix("=-").unwrap_or(text), None),
            Some((_, "")) => return Err("there is no file after the =".into()),
            Some((name, file)) => (name, Some(file.into())),
        };
        // The key plays no part in it.
        match StreamId::to_give(PublicKey::from_bytes([0; 32]), name) {
            Ok(_) => Ok(StreamSpec { name: name.into(), file }),
            Err(StreamIdError::Character) => {
                Err("the name of a stream has letters, digits, and . _ ~ - / + @ in it, and nothing else"
                    .into())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn parse_id(text: &str) -> Result<StreamId, String> {
    StreamId::parse(text).map_err(|error| error.to_string())
}

/// Sizes end with a digit or a capital letter, as in `10G`, times with a small one, as in `2h`.
pub(crate) fn parse_keep(text: &str) -> Result<Keep, String> {
    match text.bytes().last() {
        _ if text == "all" => Ok(Keep::All),
        Some(b'a'..=b'z') => duration::parse(text).map(Keep::For),
        _ => size::parse(text).map(Keep::Bytes),
    }
}

fn parse_marks(text: &str) -> Result<MarkKind, String> {
    match text {
        "auto" => Ok(MarkKind::Auto),
        "ts" => Ok(MarkKind::Ts),
        "lines" => Ok(MarkKind::Lines),
        _ => match duration::parse(text) {
            Ok(Duration::ZERO) | Err(_) => Err("write ts, lines, or a time as in 1s".into()),
            Ok(every) => Ok(MarkKind::Every(every)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_a_name_and_perhaps_a_file() {
        let spec =
            |name: &str, file: Option<&str>| StreamSpec { name: name.into(), file: file.map(PathBuf::from) };
        assert_eq!(StreamSpec::parse("cam"), Ok(spec("cam", None)));
        assert_eq!(StreamSpec::parse("cam=-"), Ok(spec("cam", None)));
        assert_eq!(StreamSpec::parse("a/log=/var/log/a=b.log"), Ok(spec("a/log", Some("/var/log/a=b.log"))));
        for wrong in ["", "=x", "cam=", ".cam", "a b", "a//b"] {
            assert!(StreamSpec::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_kept_is_a_size_or_a_time() {
        assert_eq!(parse_keep("all"), Ok(Keep::All));
        assert_eq!(parse_keep("10G"), Ok(Keep::Bytes(10 << 30)));
        assert_eq!(parse_keep("64MB"), Ok(Keep::Bytes(64_000_000)));
        assert_eq!(parse_keep("2h"), Ok(Keep::For(Duration::from_secs(7200))));
        assert_eq!(parse_keep("90m"), Ok(Keep::For(Duration::from_secs(5400))));
        assert!(parse_keep("much").is_err() && parse_keep("").is_err());
        assert_eq!(parse_marks("2s"), Ok(MarkKind::Every(Duration::from_secs(2))));
        assert!(parse_marks("0").is_err() && parse_marks("frames").is_err());
    }
}
