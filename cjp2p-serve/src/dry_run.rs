//! Lists what would be shared.

use std::ops::ControlFlow;
use std::sync::Arc;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names;

use crate::cover::Cover;
use crate::open::Patience;
use crate::place::Source;
use crate::report::Report;
use crate::walk::{Rules, Step, walk};

/// Lists what would be shared. Opens each file, so that what cannot be read is found out.
///
/// # Errors
///
/// Standard output cannot be written.
pub(crate) fn dry_run(sources: &[Arc<Source>], rules: Rules, report: &Report) -> Result<Exit, ToolError> {
    let mut result = Ok(Exit::Done);
    let cover = Cover::of(sources.iter().map(Arc::as_ref));
    for source in sources.iter().filter(|source| !cover.is_covered(source.number, rules)) {
        walk(source, rules, &mut |step| {
            let problem = match step {
                Step::File(place, _) => match place.open(Patience::Wait) {
                    Ok((_, identity)) => {
                        return match report.found(&place.shown(), identity.size) {
                            Ok(()) => ControlFlow::Continue(()),
                            Err(error) => {
                                result = Err(error);
                                ControlFlow::Break(())
                            }
                        };
                    }
                    Err(error) => (place.shown(), error),
                },
                Step::Problem { path, error } => (path, error),
                Step::Folder { .. } => return ControlFlow::Continue(()),
            };
            log::warn!("{}: {}", names::shown(problem.0), problem.1);
            ControlFlow::Continue(())
        });
        if result.is_err() {
            break;
        }
    }
    result
}
