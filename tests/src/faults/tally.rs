//! What comes of killing a program many times.

/// What became of a writer that was killed.
#[derive(Debug, Default)]
pub struct Tally {
    /// How often.
    pub kills: usize,
    /// How often it came to its end in between.
    pub completed: usize,
    /// The most that a kill cost, in the writer's own terms.
    pub most_lost: u64,
    /// What went wrong.
    pub wrong: Vec<String>,
}
