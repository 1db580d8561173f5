//! Content that is staged and meanwhile checked by a tree that may be of other content.

use std::io;

use super::{Assembly, Check};
use crate::pieces::Space;
use crate::store::Sink;
use crate::tree::TreeVerifier;

impl Assembly {
    /// Content is checked by this tree from now on, though only staged. What is done stays, unchecked.
    pub(in crate::download) fn adopt_tree(&mut self, tree: TreeVerifier) {
        self.check = Check::Hint(tree);
        self.picker.begin_all_proofs(&self.check);
    }

    /// Whether some content is here that lacks nothing but the tree.
    pub(in crate::download) fn waits_for_tree(&self) -> bool {
        self.picker.waiting(Space::Content).next().is_some()
    }

    /// Stages what is here and to come, unchecked.
    ///
    /// # Errors
    ///
    /// Where the destination cannot take it.
    pub(in crate::download) fn drop_tree(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        self.check = Check::AtTheEnd;
        self.is_proven = false;
        let mut outcome = Default::default();
        for key in self.picker.extents() {
            match key.0 {
                Space::Tree => self.picker.forget(key),
                Space::Content => self.finish_content(key, sink, &mut outcome)?,
            }
        }
        Ok(())
    }
}
