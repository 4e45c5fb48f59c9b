//! What the service logs.

/// Which writer of which run wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Writer {
    pub(crate) run: u32,
    pub(crate) number: u32,
}

impl Writer {
    /// The record of this writer's order with this number: the orders count from 0.
    pub(crate) fn record(self, order: u64) -> String {
        let Writer { run, number } = self;
        // Of different lengths, so that a record that is not whole is told from one that is.
        let note = "thanks ".repeat(1 + order as usize % 50);
        format!("run {run} writer {number} order {order} paid, {note}")
    }

    /// Reads a record, which has to be exactly what its writer wrote.
    pub(crate) fn parse(record: &[u8]) -> Option<(Writer, u64)> {
        let text = std::str::from_utf8(record).ok()?;
        let words: Vec<&str> = text.split(' ').collect();
        let ["run", run, "writer", number, "order", order, ..] = words[..] else {
            return None;
        };
        let writer = Writer {
            run: run.parse().ok()?,
            number: number.parse().ok()?,
        };
        let order = order.parse().ok()?;
        (writer.record(order) == text).then_some((writer, order))
    }
}
