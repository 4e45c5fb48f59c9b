//! A statement, and how far its rows have been read.
#![expect(
    clippy::disallowed_methods,
    clippy::mem_forget,
    reason = "what `self_cell` makes disarms guards of its own so"
)]

use rusqlite::{Rows, Statement};
use self_cell::{MutBorrow, self_cell};

self_cell!(
    pub(super) struct HalfRead<'c> {
        owner: MutBorrow<Statement<'c>>,

        #[not_covariant]
        dependent: Rows,
    }
);

impl<'c> HalfRead<'c> {
    /// Of a statement that has its parameters.
    pub(super) fn of(statement: Statement<'c>) -> HalfRead<'c> {
        HalfRead::new(MutBorrow::new(statement), |statement| {
            statement.borrow_mut().raw_query()
        })
    }
}
