//! What the proxy is told to do wrong.

use std::time::Duration;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Requests.
    ToServer,
    /// Answers.
    ToClient,
    /// Either.
    Both,
}

/// In how many pieces a message arrives: what the proxy could read at once, 16 KiB at most.
///
/// Each piece is written by itself, a millisecond after the one before, so that who waits for it
/// gets it by itself. A slow reader may still find several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Split {
    /// In one.
    #[default]
    Whole,
    /// In two, the first the longer if there is one.
    Halves,
    /// Byte by byte; a kilobyte takes a second.
    Bytes,
}

impl Split {
    pub(super) fn pieces(self, message: &[u8]) -> impl Iterator<Item = &[u8]> {
        let length = match self {
            Split::Whole => message.len(),
            Split::Halves => message.len().div_ceil(2),
            Split::Bytes => 1,
        };
        message.chunks(length.max(1))
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) to_server: Lane,
    pub(super) to_client: Lane,
    /// New connections do not get to the server.
    pub(super) is_held: bool,
    /// How often open connections were reset. Each ends when this is not what it was at its start.
    pub(super) resets: u64,
}

/// One way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lane {
    pub(super) delay: Duration,
    pub(super) split: Split,
    pub(super) is_frozen: bool,
}

impl Faults {
    /// The lane of one direction.
    pub(super) fn lane(&self, way: Way) -> Lane {
        match way {
            Way::ToServer => self.to_server,
            Way::ToClient => self.to_client,
        }
    }

    pub(super) fn change(&mut self, direction: Direction, change: impl Fn(&mut Lane)) {
        if direction != Direction::ToClient {
            change(&mut self.to_server);
        }
        if direction != Direction::ToServer {
            change(&mut self.to_client);
        }
    }

    /// Whether a new connection may get to the server.
    pub(super) fn admits(&self) -> bool {
        !self.is_held && !self.to_server.is_frozen
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.to_server.is_frozen || self.to_client.is_frozen
    }
}

/// One direction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    ToServer,
    ToClient,
}
