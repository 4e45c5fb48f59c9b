//! Pools beside each other, and beside the least there can be: a semaphore and a `Vec`.
//!
//! Connections are numbers, made once, reset and validated by doing nothing: what is measured is
//! the pool alone. All hold eight.

mod alone;
mod managers;
mod shared;

use std::error::Error;

use tokio::runtime::Builder;
use withal_benches::Bench;

use crate::managers::Ours;

fn main() -> Result<(), Box<dyn Error>> {
    let one = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let two = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut bench = Bench::from_arguments();
    let mut ours = Ours::default();
    alone::add(&mut bench, &one, &mut ours);
    shared::add(&mut bench, &two, &mut ours);
    bench.run()?;
    Ok(two.block_on(ours.close())?)
}
