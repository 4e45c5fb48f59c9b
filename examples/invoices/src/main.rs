//! Writes an invoice for each order; killed at any point, it goes on where it was.
//!
//! Run it with `cargo run -p withal-example-invoices -- ORDERS INVOICES`.

mod order;

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use withal::with;
use withal_log::Checkpoint;
use withal_os::{AtomicBatch, AtomicWriter};

use order::Order;

/// Writes an invoice for each order. Killed at any point, it goes on where it was.
#[derive(Debug, Parser)]
struct Arguments {
    /// The orders, a line each: `number,customer,cents`.
    orders: PathBuf,
    /// The directory for the invoices, and for the note of those that are finished.
    invoices: PathBuf,
    /// Prints the number of each invoice that is safe on the disk.
    #[arg(long)]
    print: bool,
}

/// How many invoices share the syncs of the disk; as many may be written again after a kill.
const CHUNK: usize = 250;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let orders = order::read(&arguments.orders)?;
    let done = arguments.invoices.join(".done");
    with(Checkpoint::open(done), |finished| {
        let open: Vec<&Order> = orders
            .iter()
            .filter(|order| !finished.is_done(order.key()))
            .collect();
        let bar = progress_bar(orders.len(), orders.len() - open.len())?;
        for chunk in open.chunks(CHUNK) {
            let mut batch = AtomicBatch::new();
            for order in chunk {
                let path = arguments.invoices.join(format!("{}.txt", order.key()));
                let file = batch.open(AtomicWriter::create(path))?;
                file.write_all(order.to_string().as_bytes())?;
            }
            // In this order: what is noted as finished must be on the disk.
            batch.commit()?;
            let _new = finished.done_all(chunk.iter().map(|order| order.key()))?;
            bar.inc(chunk.len() as u64);
            if arguments.print {
                for order in chunk {
                    writeln!(stdout(), "{}", order.key())?;
                }
            }
        }
        bar.finish();
        Ok(())
    })?;
    Ok(())
}

/// On stderr, if that is a terminal.
fn progress_bar(orders: usize, finished: usize) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len}, {eta} left")?;
    let bar = ProgressBar::new(orders as u64).with_style(style);
    bar.set_position(finished as u64);
    bar.reset_eta();
    Ok(bar)
}
