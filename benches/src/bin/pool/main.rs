//! Pools beside each other, and beside the least there can be: a semaphore and a `Vec`.
//!
//! Connections are numbers, made once, reset and validated by doing nothing: what is measured is
//! the pool alone. All hold eight.

mod alone;
mod managers;
mod shared;

use std::io;

use tokio::runtime::Builder;
use withal_benches::Bench;

fn main() -> io::Result<()> {
    let one = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let two = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut bench = Bench::from_arguments();
    alone::add(&mut bench, &one);
    shared::add(&mut bench, &two);
    bench.run()
}
