//! Who we know.
