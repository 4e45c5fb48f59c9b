//! What the pool needs to know of what it pools.

use withal_core::ExitCase;

use crate::Cause;

/// Makes, cleans and ends the connections of a pool.
///
/// A connection goes through `create`, then any number of `validate` (if it has been idle for a
/// while), use and `recycle`, then `detach`. Two calls for one connection never overlap; calls for
/// different connections do. Each has a deadline of its own, set on the
/// [`Builder`](crate::Builder); past it the future is dropped.
///
/// The methods after deadpool's, with one difference that matters: `recycle` is awaited when a
/// connection *comes back*, before its slot is free, not when the next caller asks for it.
///
/// # Examples
///
/// ```
/// use std::io;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::TcpStream;
/// use withal_core::ExitCase;
/// use withal_pool::{Cause, Manager};
///
/// /// Connections to a server that answers `RESET` with one byte once it has forgotten all.
/// struct Lines(String);
///
/// impl Manager for Lines {
///     type Connection = TcpStream;
///     type Error = io::Error;
///
///     async fn create(&self) -> io::Result<TcpStream> {
///         TcpStream::connect(&self.0).await
///     }
///
///     async fn recycle(&self, stream: &mut TcpStream, case: ExitCase) -> io::Result<()> {
///         if !case.is_succeeded() {
///             // It may have stopped in the middle of an answer: nothing to be saved.
///             return Err(io::ErrorKind::ConnectionReset.into());
///         }
///         stream.write_all(b"RESET\n").await?;
///         stream.read_u8().await.map(drop)
///     }
///
///     async fn detach(&self, mut stream: TcpStream, _: Cause) -> io::Result<()> {
///         stream.shutdown().await
///     }
/// }
/// ```
pub trait Manager: Send + Sync + 'static {
    /// What is pooled.
    type Connection: Send + 'static;
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Makes a new connection.
    ///
    /// # Errors
    ///
    /// It cannot be made. The caller that waits for it gets the error; nothing is tried again.
    ///
    /// # Cancel safety
    ///
    /// If its caller leaves, it goes on in the reaper, and the connection lands idle. It is dropped
    /// at its deadline only.
    fn create(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Makes a connection clean that has been used, so that the next user finds it as new.
    ///
    /// `case` says how its use ended. After [`Succeeded`](ExitCase::Succeeded) its user is done
    /// with it. After anything else it may have stopped anywhere, also in the middle of a request;
    /// a lease dropped without [`release`](crate::Lease::release) counts as
    /// [`Cancelled`](ExitCase::Cancelled). Either way a request may be in flight that nobody waits
    /// for any more. Return `Ok` only if the state is *known* to be clean.
    ///
    /// It is polled first where the lease is dropped, by a destructor: what is ready there costs
    /// no task, and what sends something has sent it before the destructor returns. So do not
    /// block in it, and take no lock that a user of the connection may hold.
    ///
    /// # Errors
    ///
    /// It cannot be made clean. It is [detached](Manager::detach) and replaced when needed; the
    /// error goes to the notice hook.
    ///
    /// # Panics
    ///
    /// A panic discards the connection, then goes on in whoever awaits its return.
    ///
    /// # Cancel safety
    ///
    /// It runs to its end or to its deadline, whoever leaves.
    fn recycle(
        &self,
        connection: &mut Self::Connection,
        case: ExitCase,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether a connection that was used is known to be clean as it is, so that
    /// [`recycle`](Manager::recycle) has nothing to do. By default it is not.
    ///
    /// It is asked at each return, so it should take nanoseconds. Say yes only if nothing of the
    /// last use is left, and nothing is in flight.
    fn is_clean(&self, _connection: &mut Self::Connection, _case: &ExitCase) -> bool {
        false
    }

    /// Asks a connection that has been idle for a while whether it is alive. By default it is
    /// believed.
    ///
    /// # Errors
    ///
    /// It is not. It is [detached](Manager::detach), and another one taken.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, or at its deadline, the connection is detached: it never goes back.
    fn validate(
        &self,
        _connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async { Ok(()) }
    }

    /// Whether a connection may be handed out, as far as can be told without waiting. It is asked
    /// at each acquire, so it should take nanoseconds. By default it may.
    fn is_usable(&self, _connection: &Self::Connection) -> bool {
        true
    }

    /// Ends a connection that leaves the pool because of `cause`. By default it is dropped.
    ///
    /// Its slot is free once this has ended. A connection whose reset or validation hung comes here
    /// too, so a peer that does not answer costs both deadlines, unless `cause` makes it short.
    ///
    /// # Errors
    ///
    /// It did not end in order. The error goes to the notice hook.
    ///
    /// # Cancel safety
    ///
    /// It runs to its end or to its deadline, whoever leaves; then the connection is dropped.
    fn detach(
        &self,
        connection: Self::Connection,
        _cause: Cause,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async {
            drop(connection);
            Ok(())
        }
    }
}
