//! Whole tables, as bytes.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};

use bytes::{Bytes, BytesMut};
use futures_core::Stream as _;
use futures_sink::Sink as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::session::{Failure, Postgres};
use crate::{Error, ErrorKind};

/// How much is sent at a time.
const CHUNK: usize = 64 * 1024;

impl Postgres {
    pub(crate) async fn copy_in(
        &self,
        sql: &str,
        mut from: Pin<&mut (dyn AsyncRead + Send)>,
    ) -> Result<u64, Error> {
        self.admit(sql)?;
        let work = async {
            let mut sink = pin!(self.client.copy_in::<_, Bytes>(sql).await?);
            loop {
                let mut chunk = BytesMut::with_capacity(CHUNK);
                // Dropped without an end, the server is told that it failed.
                if from.read_buf(&mut chunk).await.map_err(unreadable)? == 0 {
                    return Ok(sink.finish().await?);
                }
                poll_fn(|context| sink.as_mut().poll_ready(context)).await?;
                sink.as_mut().start_send(chunk.freeze())?;
            }
        };
        self.run(sql, work).await
    }

    pub(crate) async fn copy_out(
        &self,
        sql: &str,
        mut to: Pin<&mut (dyn AsyncWrite + Send)>,
    ) -> Result<u64, Error> {
        self.admit(sql)?;
        let work = async {
            let mut stream = pin!(self.client.copy_out(sql).await?);
            let mut copied = 0;
            while let Some(chunk) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
                let chunk = chunk?;
                let written = to.write_all(&chunk).await;
                written.map_err(|error| Failure::HalfDone(unwritable(error)))?;
                copied += chunk.len() as u64;
            }
            let flushed = to.flush().await;
            flushed.map_err(|error| Failure::Ours(unwritable(error)))?;
            Ok(copied)
        };
        self.run(sql, work).await
    }
}

fn unreadable(error: io::Error) -> Failure {
    let message = "what is copied in cannot be read";
    Failure::HalfDone(Error::new(ErrorKind::Io, message).with_source(error))
}

fn unwritable(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, "what is copied out cannot be written").with_source(error)
}
