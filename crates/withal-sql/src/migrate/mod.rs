//! Migrations: SQL files that are applied to a database once each, in order.
//!
//! A directory holds files as `0001_accounts.sql`, `0002_items.sql`: a number, `_`, a name. Numbers
//! may have gaps, and no two files the same one. A [`Migrator`] applies those that a database does
//! not have yet, and notes them in its table `withal_migrations`, each with its checksum.
//!
//! # What is promised
//!
//! - All pending files are applied in one transaction: all of them, or none.
//! - Two migrators never work on one database at the same time: the second waits for the first.
//! - A file that was changed after it was applied, one that is gone, and a new one that is numbered
//!   below an applied one are errors before anything is run.
//! - An error names file, line and column.
//!
//! # Statements that a transaction cannot hold
//!
//! Postgres' `CREATE INDEX CONCURRENTLY` and SQLite's `VACUUM` are such. Put them into a file of
//! their own, whose first line is
//!
//! ```sql
//! -- withal: no-transaction
//! ```
//!
//! What is pending before it is committed first; then its statements are run one by one, and it is
//! noted when the last one has ended. If it fails, or is killed in the middle, it is not noted, and
//! the next run begins it anew: so write it such that it can be run twice.
//!
//! ```sql
//! -- withal: no-transaction
//! DROP INDEX CONCURRENTLY IF EXISTS orders_by_day;
//! CREATE INDEX CONCURRENTLY orders_by_day ON orders (day);
//! ```
//!
//! # What a file may hold
//!
//! Any statements, separated by `;`. Each file begins with the session's own settings: what an
//! earlier one has `SET` is reset, and its temporary tables are dropped. `BEGIN` and `COMMIT` are
//! refused, as the transaction is not the file's to end; so are `COPY … FROM STDIN` and what only
//! `psql` understands.
//!
//! The table is made in the first schema of Postgres' `search_path`, and found in any of them.
//!
//! Tools that set the example: Flyway (checksums, one numbered history), sqlx (the
//! `no-transaction` line).

mod apply;
mod error;
mod files;
mod history;
mod lock;
mod script;

pub use apply::{Event, Migrator};
pub use error::{MigrateError, Position};
pub use files::{Migration, Migrations};
pub use history::{Problem, State};
#[cfg(feature = "postgres")]
pub(crate) use script::copies;
