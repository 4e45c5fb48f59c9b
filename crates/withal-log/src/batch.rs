//! Lines that are written together.

/// Whole lines, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) lines: u64,
    /// When the first and the last of them came, in milliseconds since 1970.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether `more` bytes can be added and all be no more than `most`, or need no more memory.
    pub(crate) fn has_room(&self, more: usize, most: usize) -> bool {
        self.bytes.len() + more <= most.max(self.bytes.capacity())
    }
}
