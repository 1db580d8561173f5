//! The machines in simulated worlds: time is virtual, and each seed gives the same world again.

mod churn;
mod fairness;
mod fetch;
mod first_bytes;
mod flood;
mod forged_sources;
mod hints;
mod hostile;
mod hosts;
mod liars;
mod lists;
mod lossy_links;
mod many_sources;
mod nats;
mod ranges;
mod raw;
mod reflection;
mod resume;
mod search;
mod sizes;
mod slow_links;
mod suggestions;
mod swarms;
mod unvalidated;
mod withdrawn;
mod work;
