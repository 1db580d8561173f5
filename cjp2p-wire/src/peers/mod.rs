//! Who we know: addresses, and the bounded table of peers behind them.

pub mod address;
pub mod peer;
pub mod table;
