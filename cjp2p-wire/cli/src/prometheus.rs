//! Numbers for Prometheus, as text: its exposition format 0.0.4.

use std::fmt::Write as _;

/// The type of such a text, for HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What becomes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the program begins anew. Its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Numbers whose names begin alike.
#[derive(Clone, Debug)]
pub struct Metrics {
    prefix: &'static str,
    text: String,
}

impl Metrics {
    /// None yet; all names will begin with `prefix` and an underscore.
    pub fn new(prefix: &'static str) -> Metrics {
        Metrics { prefix, text: String::new() }
    }

    /// Adds a number.
    pub fn add(&mut self, name: &str, kind: Kind, help: &str, value: u64) {
        self.head(name, kind, help);
        // Writing to memory cannot fail.
        let _ = writeln!(self.text, "{}_{name} {value}", self.prefix);
    }

    /// Adds numbers of one name that differ in `label`. Whatever the values of that have in them, they stay values. Nothing is added where
    /// there are none.
    pub fn add_each(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        self.head(name, kind, help);
        for (of, value) in values {
            let _ = writeln!(self.text, "{}_{name}{{{label}=\"{}\"}} {value}", self.prefix, escape(&of));
        }
    }

    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let (prefix, kind) = match kind {
            Kind::Counter => (self.prefix, "counter"),
            Kind::Gauge => (self.prefix, "gauge"),
        };
        let _ = write!(self.text, "# HELP {prefix}_{name} {help}\n# TYPE {prefix}_{name} {kind}\n");
    }

    /// All of them.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// The value of a label: a line end would begin another number.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_label_cannot_become_a_number_of_its_own() {
        let mut metrics = Metrics::new("a");
        metrics.add("b_total", Kind::Counter, "Those.", 7);
        metrics.add_each("c", Kind::Gauge, "These.", "id", [("x\"} 1\nd 2\\".to_owned(), 3)]);
        metrics.add_each("e", Kind::Gauge, "None.", "id", []);
        assert_eq!(
            metrics.into_text(),
            "# HELP a_b_total Those.\n# TYPE a_b_total counter\na_b_total 7\n\
             # HELP a_c These.\n# TYPE a_c gauge\na_c{id=\"x\\\"} 1\\nd 2\\\\\"} 3\n"
        );
    }
}
