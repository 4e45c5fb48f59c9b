//! Blocks and scopes beside the same calls by hand, and beside other crates.
//!
//! Enters and exits are ready at once and not inlined, so what differs is the block alone. The
//! peers in Python are in benches/python/contextlib_peers.py, under the same names of work.

mod blocks;
mod connection;

use std::io;

use withal_benches::Bench;

fn main() -> io::Result<()> {
    let mut bench = Bench::from_arguments();
    blocks::add(&mut bench);
    bench.run()
}
