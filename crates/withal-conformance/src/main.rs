//! Replays programs of nested blocks recorded from CPython.

fn main() {}
