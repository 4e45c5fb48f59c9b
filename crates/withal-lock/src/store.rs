//! What a server has to do for leases.

use withal_core::BoxError;

use crate::error::Holder;
use crate::terms::Terms;

/// A server that keeps leases, and the way to it.
///
/// Each future of it may be dropped: then [`disconnect`](Store::disconnect) is called, or what
/// follows is understood by the server to come later.
pub(crate) trait Store: Send + 'static {
    /// Sees to it that there is a connection.
    fn connect(&mut self) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Gives up the connection: it is not known to be good any more.
    fn disconnect(&mut self);

    /// Takes the lease if nobody has it. Taken again by the same owner it is renewed, under the
    /// same token: the first answer may have been lost.
    fn take(&mut self, terms: &Terms) -> impl Future<Output = Result<Taken, BoxError>> + Send;

    /// Renews the lease; `false` if it is not the owner's any more.
    fn renew(&mut self, terms: &Terms) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Releases the lease; `false` if it was not the owner's any more.
    fn release(&mut self, terms: &Terms) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Ends the connection in order.
    fn close(self) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// What became of asking for a lease.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is ours, under this token.
    Ours(i64),
    /// Somebody else has it.
    Busy(Holder),
}
