//! The with statement for Rust: every resource you open is closed, in reverse order, awaited, exactly once, on every path out.
