//! The tool as people and scripts see it.

mod failures;
mod fetch;
mod folders;
mod lists;
mod named;
mod outputs;
mod places;
mod ranges;
mod remembered;
mod resume;
mod sharing;
mod support;
