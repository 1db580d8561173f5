//! Who we know: addresses, the bounded table of peers behind them, and the cookies by which an address proves itself.

pub mod address;
pub mod announcements;
pub mod cookie;
pub mod links;
pub mod neighbourhoods;
pub mod peer;
pub mod places_by_host;
pub mod round;
pub mod table;
