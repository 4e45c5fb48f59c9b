//! The with statement for any command.

fn main() {}
