//! Examples.

fn main() {}
