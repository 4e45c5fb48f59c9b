//! What a descriptor can be.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A kind of descriptor, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Tcp,
    Udp,
    Unix,
    Pipe,
    File,
    /// A file that has no name any more, but still its space.
    Deleted,
    Dir,
    Chr,
    Eventfd,
    Eventpoll,
    Timerfd,
    Signalfd,
    Inotify,
    Memfd,
    Pidfd,
    IoUring,
    Other,
}

impl Kind {
    pub(super) const ALL: [Kind; 17] = [
        Kind::Tcp,
        Kind::Udp,
        Kind::Unix,
        Kind::Pipe,
        Kind::File,
        Kind::Deleted,
        Kind::Dir,
        Kind::Chr,
        Kind::Eventfd,
        Kind::Eventpoll,
        Kind::Timerfd,
        Kind::Signalfd,
        Kind::Inotify,
        Kind::Memfd,
        Kind::Pidfd,
        Kind::IoUring,
        Kind::Other,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Tcp => "tcp",
            Kind::Udp => "udp",
            Kind::Unix => "unix",
            Kind::Pipe => "pipe",
            Kind::File => "file",
            Kind::Deleted => "deleted",
            Kind::Dir => "dir",
            Kind::Chr => "chr",
            Kind::Eventfd => "eventfd",
            Kind::Eventpoll => "eventpoll",
            Kind::Timerfd => "timerfd",
            Kind::Signalfd => "signalfd",
            Kind::Inotify => "inotify",
            Kind::Memfd => "memfd",
            Kind::Pidfd => "pidfd",
            Kind::IoUring => "io_uring",
            Kind::Other => "other",
        }
    }
}

/// The state of a TCP socket, by the names of `netstat` and the kernel's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum State {
    /// The peer has closed, this process has not.
    CloseWait,
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    LastAck,
    Closing,
    Listen,
    /// Not connected: never was, or is no more.
    Close,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            State::CloseWait => "CLOSE_WAIT",
            State::Established => "ESTABLISHED",
            State::SynSent => "SYN_SENT",
            State::SynReceived => "SYN_RECV",
            State::FinWait1 => "FIN_WAIT1",
            State::FinWait2 => "FIN_WAIT2",
            State::TimeWait => "TIME_WAIT",
            State::LastAck => "LAST_ACK",
            State::Closing => "CLOSING",
            State::Listen => "LISTEN",
            State::Close => "CLOSE",
        }
    }
}

/// Who is at the other end, so that connections of one cause are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Peer {
    /// A server that the process connected to.
    Server(SocketAddr),
    /// A client of one of its ports; each connection has a port of its own there.
    Client { address: IpAddr, to: u16 },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Server(address) => write!(f, "→ {address}"),
            Peer::Client { address, to } => write!(f, "← {address} (port {to} here)"),
        }
    }
}

/// What tells one descriptor from another that has its number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SocketKey {
    pub(super) pid: i32,
    pub(super) descriptor: u32,
    pub(super) inode: u64,
}

/// A descriptor that is a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) key: SocketKey,
    pub(super) state: State,
    pub(super) peer: Option<Peer>,
}

/// All descriptors at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) counts: std::collections::BTreeMap<Kind, u64>,
    pub(super) sockets: Vec<Socket>,
}

impl Census {
    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}
