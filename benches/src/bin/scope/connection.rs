//! The resource of the benchmarks: cheap to open and close, but never optimized away.

use std::hint::black_box;
use std::io;

use withal_core::{AsyncContextManager, ContextManager, ExitCase};

/// What is opened and closed.
pub(crate) struct Connection(pub(crate) u64);

#[inline(never)]
pub(crate) fn open(number: u64) -> io::Result<Connection> {
    Ok(Connection(black_box(number)))
}

#[inline(never)]
pub(crate) fn close(connection: Connection) -> io::Result<()> {
    let _ = black_box(connection.0);
    Ok(())
}

/// The two as a context manager.
pub(crate) struct Open(pub(crate) u64);

impl ContextManager for Open {
    type Resource = Connection;
    type Error = io::Error;

    fn enter(self) -> io::Result<Connection> {
        open(self.0)
    }

    fn exit(connection: Connection, _: ExitCase) -> io::Result<()> {
        close(connection)
    }
}

#[inline(never)]
pub(crate) async fn async_open(number: u64) -> io::Result<Connection> {
    Ok(Connection(black_box(number)))
}

#[inline(never)]
pub(crate) async fn async_close(connection: Connection) -> io::Result<()> {
    let _ = black_box(connection.0);
    Ok(())
}

impl AsyncContextManager for Open {
    type Resource = Connection;
    type Error = io::Error;

    async fn enter(self) -> io::Result<Connection> {
        async_open(self.0).await
    }

    async fn exit(connection: Connection, _: ExitCase) -> io::Result<()> {
        async_close(connection).await
    }
}
