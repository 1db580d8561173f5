//! The real programs: on loopback, in network namespaces, confined, killed, and with refusals of the system.

mod confinement;
mod end_to_end;
mod environment;
mod faults;
mod folders;
mod help;
mod json;
mod lists;
mod local_network;
mod mainline_dht;
mod mirrors;
mod names;
mod nats;
mod pcp_and_nat_pmp;
mod raw;
mod reflection;
mod refusals;
mod restarts;
mod search;
mod serve_ends;
mod standard_streams;
mod streams;
mod upnp;
mod waiting;
mod withdrawn;
mod work;
