//! Blocks and scopes beside the same calls by hand, and beside other crates.
//!
//! Enters and exits are ready at once and not inlined, so what differs is the block alone. The
//! peers in Python are in benches/python/contextlib_peers.py, under the same names of work.

mod blocks;
mod connection;
mod scopes;

use std::io;

use tokio::runtime::Builder;
use withal_benches::Bench;

fn main() -> io::Result<()> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut bench = Bench::from_arguments();
    blocks::add(&mut bench);
    scopes::add(&mut bench, &runtime);
    bench.run()
}
