//! The service, with tasks of tokio.

use std::path::PathBuf;

use tokio::io::{AsyncWriteExt, stdout};
use withal::{BoxError, Error, scope};
use withal_log::{Durability, Log};

use crate::record::Writer;
use crate::{SEGMENT, WRITERS};

/// Logs order after order.
pub(crate) async fn serve(log: PathBuf, run: u32) -> Result<(), Error> {
    let options = Log::open(log)
        .rotate_size(SEGMENT)
        .durability(Durability::Always);
    scope(async |s| {
        let log = s.enter(withal_log::tokio::open(options)).await?;
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| s.spawn(write(log.clone(), Writer { run, number })))
            .collect();
        for writer in writers {
            writer.join().await?;
        }
        Ok(())
    })
    .await
}

async fn write(log: Log, writer: Writer) -> Result<(), BoxError> {
    let mut stdout = stdout();
    for order in 0.. {
        log.append_async(&writer.record(order)).await?;
        // It is on the disk now, so others may hear of it.
        let acknowledgement = format!("{} {order}\n", writer.number);
        stdout.write_all(acknowledgement.as_bytes()).await?;
        stdout.flush().await?;
    }
    Ok(())
}
