//! How long each socket has been what it is.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::super::kind::{Peer, Socket, SocketKey, State};

/// Every TCP socket that is open, since when, and which were closed of late.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    window: Duration,
    open: HashMap<SocketKey, Seen>,
    closed: VecDeque<(Duration, Cause)>,
    scans: u64,
}

/// Sockets in one state with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Group {
    pub(in super::super) state: State,
    pub(in super::super) peer: Option<Peer>,
    pub(in super::super) count: u64,
    /// How long the oldest has been in this state.
    pub(in super::super) oldest: Duration,
    /// Whether it was so from the first sample on, so that it may be older.
    pub(in super::super) may_be_older: bool,
    /// How many left this state in the window: closed, or in another.
    pub(in super::super) left: u64,
}

type Cause = (State, Option<Peer>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    cause: Cause,
    since: Duration,
    /// Whether it was there, and so, when the watch began.
    from_the_start: bool,
    /// The scan that has seen it last.
    scan: u64,
}

impl Ledger {
    pub(super) fn new(window: Duration) -> Ledger {
        Ledger {
            window,
            open: HashMap::new(),
            closed: VecDeque::new(),
            scans: 0,
        }
    }

    pub(super) fn note(&mut self, at: Duration, sockets: &[Socket]) {
        let is_first = self.scans == 0;
        self.scans += 1;
        for socket in sockets {
            let cause = (socket.state, socket.peer);
            let new = Seen {
                cause,
                since: at,
                from_the_start: is_first,
                scan: self.scans,
            };
            let seen = self.open.entry(socket.key).or_insert(new);
            if seen.cause == cause {
                seen.scan = self.scans;
            } else {
                self.closed.push_back((at, seen.cause));
                *seen = new;
            }
        }
        // A duplicate may be what is left of a socket.
        let open: HashSet<u64> = sockets.iter().map(|socket| socket.key.inode).collect();
        self.open.retain(|key, seen| {
            let is_open = seen.scan == self.scans;
            if !is_open && !open.contains(&key.inode) {
                self.closed.push_back((at, seen.cause));
            }
            is_open
        });
        let is_old = |(left, _): &(Duration, Cause)| *left + self.window < at;
        while self.closed.front().is_some_and(is_old) {
            let _ = self.closed.pop_front();
        }
    }

    /// All groups, CLOSE_WAIT first, then by size.
    pub(super) fn groups(&self, at: Duration) -> Vec<Group> {
        let mut groups: BTreeMap<Cause, Group> = BTreeMap::new();
        for seen in self.open.values() {
            let (state, peer) = seen.cause;
            let age = at.saturating_sub(seen.since);
            let group = groups.entry(seen.cause).or_insert(Group {
                state,
                peer,
                count: 0,
                oldest: age,
                may_be_older: false,
                left: 0,
            });
            group.count += 1;
            group.oldest = group.oldest.max(age);
            group.may_be_older |= seen.from_the_start;
        }
        for (_, cause) in &self.closed {
            if let Some(group) = groups.get_mut(cause) {
                group.left += 1;
            }
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        let rank = |group: &Group| (group.state != State::CloseWait, u64::MAX - group.count);
        groups.sort_by_key(rank);
        groups
    }
}
