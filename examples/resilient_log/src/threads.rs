//! The service, with threads.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::thread;

use withal::{BoxError, Error, with};
use withal_log::Log;

use crate::record::Writer;
use crate::{SEGMENT, WRITERS};

/// Logs order after order.
pub(crate) fn serve(log: PathBuf, run: u32) -> Result<(), Error> {
    with(Log::open(log).rotate_size(SEGMENT), |log| {
        let log = &*log;
        thread::scope(|threads| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|number| threads.spawn(move || write(log, Writer { run, number })))
                .collect();
            let mut ended = writers.into_iter().map(|writer| writer.join());
            ended.try_for_each(|ended| ended.expect("no writer panics"))
        })
    })
}

fn write(log: &Log, writer: Writer) -> Result<(), BoxError> {
    for order in 0.. {
        log.append_durable(writer.record(order))?;
        // It is on the disk now, so others may hear of it.
        writeln!(stdout(), "{} {order}", writer.number)?;
    }
    Ok(())
}
