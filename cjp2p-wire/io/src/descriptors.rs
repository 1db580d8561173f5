//! How many descriptors this process may have open: files, sockets, connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process needs beside the connections that it counts: files that are open, pipes, sockets.
const BESIDE: u64 = 1024;

/// Allows so many connections, and what is needed beside them, as far as the system lets us: most systems give a process 1,024
/// descriptors, and let it ask for more.
pub fn allow(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(BESIDE);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = maximum.map_or(wanted, |most| most.min(wanted));
    if current.is_some_and(|current| current < raised) {
        // Where that is refused, callers wait until others are gone.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_raised_and_never_lowered() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        // As little as most systems give, and what other tests of this process need.
        let little = maximum.map_or(BESIDE, |most| most.min(BESIDE));
        setrlimit(Resource::Nofile, Rlimit { current: Some(little), maximum }).unwrap();
        allow(7);
        let raised =
            Rlimit { current: Some(maximum.map_or(BESIDE + 7, |most| most.min(BESIDE + 7))), maximum };
        assert_eq!(getrlimit(Resource::Nofile), raised);
        allow(0);
        assert_eq!(getrlimit(Resource::Nofile), raised);
    }
}
