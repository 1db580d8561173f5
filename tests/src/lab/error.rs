//! Why something could not be done.

/// Why something could not be done, as a sentence.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
