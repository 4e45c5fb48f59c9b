//! Descriptors that must outlive the keeper.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use anyhow::Context as _;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Where a gate leaves a copy of a descriptor that must stay open while the command lives, even if
/// the process that acquired it is killed: a lock, the read end of the command's stderr.
///
/// The copy lies unread in the socket between keeper and front, which keeps it open until the front
/// ends. Without a front there is nobody to outlive the keeper, and nothing is left anywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deposit(Option<Arc<OwnedFd>>);

impl Deposit {
    /// Leaves copies with whoever has the other end of `socket`.
    pub(super) fn with_front(socket: Arc<OwnedFd>) -> Deposit {
        Deposit(Some(socket))
    }

    /// Leaves a copy of `descriptor` with the front.
    ///
    /// # Errors
    ///
    /// The front is gone; the kernel has no room for it.
    pub(crate) fn keep(&self, descriptor: impl AsFd) -> anyhow::Result<()> {
        let Some(socket) = &self.0 else {
            return Ok(());
        };
        let descriptors = [descriptor.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        debug_assert!(fits, "the space is for one descriptor");
        let text = [IoSlice::new(b"d")];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = sendmsg(socket, &text, &mut ancillary, flags).map_err(io::Error::from);
        let _length = sent.context("cannot leave a descriptor with the front")?;
        Ok(())
    }
}
