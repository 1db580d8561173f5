//! Trackers by HTTP.

use std::io;
use std::time::Duration;

use cjp2p_torrent::public::{Origin, admitted};
use cjp2p_torrent::tracker::{Announce, Answer, MAX_ANSWER, TrackerError, read_answer, request_url};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

/// All of one question, redirects included, has so long.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A connection is made within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A tracker may send us elsewhere so often.
const MAX_REDIRECTS: u32 = 5;
/// Headers of an answer have so many bytes at the most.
const MAX_HEADERS: usize = 16 << 10;

/// Finds only addresses that a tracker may be at: for the tracker itself, and again wherever it sends us.
#[derive(Debug)]
struct Restricted {
    may_be_private: bool,
    resolver: DefaultResolver,
}

impl Resolver for Restricted {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        let mut may = self.empty();
        for address in found.iter().filter_map(|&found| admitted(Origin::Tracker, found, self.may_be_private))
        {
            may.push(address);
        }
        if may.is_empty() {
            let why = "it is in a private network, and only the user may name such a tracker";
            return Err(Error::Io(io::Error::new(io::ErrorKind::PermissionDenied, why)));
        }
        Ok(may)
    }
}

/// Asks a tracker.
pub(super) fn ask(url: &str, announce: &Announce, may_be_private: bool) -> Result<Answer, TrackerError> {
    let unreachable = |error: Error| TrackerError::Unreachable(error.to_string());
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .max_redirects(MAX_REDIRECTS)
        .max_response_header_size(MAX_HEADERS)
        .user_agent(concat!("cjp2p/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let resolver = Restricted { may_be_private, resolver: DefaultResolver::default() };
    let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
    let mut response = agent.get(request_url(url, announce)).call().map_err(unreachable)?;
    let status = response.status();
    let limited = response.body_mut().with_config().limit(MAX_ANSWER as u64);
    let body = limited.read_to_vec().map_err(unreachable)?;
    // Some say in the body why they refuse, whatever the status.
    match read_answer(&body) {
        Ok(_) | Err(TrackerError::Malformed) if !status.is_success() => {
            Err(TrackerError::Unreachable(format!("it answers {status}")))
        }
        answer => answer,
    }
}
