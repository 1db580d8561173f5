//! The part of the command line that is about streams.

use std::time::Duration;

use cjp2p_cli::{duration, size};
use cjp2p_wire::node::Start;

/// Bytes in memory for others where nothing is said.
const KEEP: u64 = 64 << 20;

/// What is only for streams.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct StreamArgs {
    /// Begin a stream at its edge, start, live-30s, or a byte [default: edge]
    #[arg(long, value_name = "WHERE", value_parser = parse_start)]
    pub(crate) from: Option<Start>,

    /// Leave out of a stream what comes more than TIME late
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) max_delay: Option<Duration>,

    /// End after TIME, and pass a stream on until then
    #[arg(long, value_name = "TIME", value_parser = duration::parse, hide = true)]
    pub(crate) relay_for: Option<Duration>,

    /// Keep so much of a stream in memory, for others
    #[arg(long, value_name = "SIZE", value_parser = size::parse, hide = true)]
    pub(crate) keep: Option<u64>,
}

impl StreamArgs {
    /// The first option that was given.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--from", self.from.is_some()),
            ("--max-delay", self.max_delay.is_some()),
            ("--relay-for", self.relay_for.is_some()),
            ("--keep", self.keep.is_some()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(option, _)| option)
    }

    pub(crate) fn from(&self) -> Start {
        self.from.unwrap_or(Start::Edge)
    }

    pub(crate) fn keep(&self) -> u64 {
        self.keep.unwrap_or(KEEP)
    }
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "edge" | "live" => Ok(Start::Edge),
        "start" => Ok(Start::Oldest),
        _ => match text.strip_prefix("live-") {
            Some(time) => duration::parse(time).map(Start::Before),
            None => size::parse(text).map(Start::Offset).map_err(|_| {
                format!("{text:?} is none of edge, start, a time as in live-30s, or a byte as in 4M")
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_begins_at_the_edge_before_it_or_at_a_byte() {
        assert_eq!(parse_start("edge"), Ok(Start::Edge));
        assert_eq!(parse_start("start"), Ok(Start::Oldest));
        assert_eq!(parse_start("live-30s"), Ok(Start::Before(Duration::from_secs(30))));
        assert_eq!(parse_start("4M"), Ok(Start::Offset(4 << 20)));
        assert_eq!(parse_start("0"), Ok(Start::Offset(0)));
        assert!(parse_start("live-").is_err() && parse_start("end").is_err());
    }
}
