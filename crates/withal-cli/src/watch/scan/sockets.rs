//! What the sockets of a process are.
//!
//! The kernel tells the protocol of a descriptor as its attribute `system.sockprotoname`, whatever
//! network namespace it is in; it is asked once for each socket. The tables of the process's own
//! namespace, `/proc/PID/net/tcp` and `tcp6`, are read only if there is such a socket: to read one, the kernel
//! looks at all TCP sockets of the machine.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use procfs::ProcError;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::Process;
use rustix::fs::getxattr;
use rustix::io::Errno;

use super::super::kind::{Census, Kind, Peer, Socket, SocketKey, State};
use super::Lost;

/// The protocols of the sockets that are open, by their inodes.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    known: HashMap<u64, Protocol>,
    /// Those that this look has seen.
    seen: HashMap<u64, Protocol>,
}

/// A kind, and whether it may stand in the table of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Protocol {
    kind: Kind,
    may_be_v6: bool,
}

impl Sockets {
    pub(super) fn begin(&mut self) {
        self.seen.clear();
    }

    /// Forgets what was not seen.
    pub(super) fn end(&mut self) {
        std::mem::swap(&mut self.known, &mut self.seen);
    }

    /// Adds the sockets of a process to its census.
    pub(super) fn resolve(
        &mut self,
        process: &Process,
        folder: &OwnedFd,
        keys: Vec<SocketKey>,
        census: &mut Census,
    ) -> Result<(), Lost> {
        let mut tcp = HashMap::new();
        let mut has_v6 = false;
        for key in keys {
            let Some(protocol) = self.protocol(process, folder, key)? else {
                continue;
            };
            *census.counts.entry(protocol.kind).or_default() += 1;
            if protocol.kind == Kind::Tcp {
                has_v6 |= protocol.may_be_v6;
                tcp.entry(key.inode).or_insert_with(Vec::new).push(key);
            }
        }
        if !tcp.is_empty() {
            let table = table(process, has_v6)?;
            add_states(&table, tcp, census);
        }
        Ok(())
    }

    /// The protocol of a socket; none if it has just been closed.
    fn protocol(
        &mut self,
        process: &Process,
        folder: &OwnedFd,
        key: SocketKey,
    ) -> Result<Option<Protocol>, Lost> {
        let known = self
            .seen
            .get(&key.inode)
            .or_else(|| self.known.get(&key.inode));
        let protocol = match known {
            Some(protocol) => *protocol,
            None => match protocol(folder, key.descriptor) {
                Ok(protocol) => protocol,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::ACCESS | Errno::PERM) => return Err(Lost::Denied),
                // Not every kernel has this attribute.
                Err(_) => Protocol {
                    kind: kind_by_tables(process, key.inode)?,
                    may_be_v6: true,
                },
            },
        };
        let _ = self.seen.insert(key.inode, protocol);
        Ok(Some(protocol))
    }
}

fn protocol(folder: &OwnedFd, descriptor: u32) -> Result<Protocol, Errno> {
    let path = format!("/proc/self/fd/{}/{descriptor}", folder.as_raw_fd());
    let mut buffer = [0_u8; 32];
    let length = getxattr(path, "system.sockprotoname", &mut buffer[..])?;
    let name = buffer.get(..length).unwrap_or_default();
    Ok(Protocol {
        kind: kind_of(name),
        may_be_v6: name.contains(&b'6'),
    })
}

/// The kind for a protocol's name in the kernel, as `TCPv6` or `UNIX-STREAM`.
fn kind_of(protocol: &[u8]) -> Kind {
    match protocol {
        name if name.starts_with(b"TCP") || name.starts_with(b"MPTCP") => Kind::Tcp,
        name if name.starts_with(b"UDP") => Kind::Udp,
        name if name.starts_with(b"UNIX") => Kind::Unix,
        _ => Kind::Other,
    }
}

fn kind_by_tables(process: &Process, inode: u64) -> Result<Kind, Lost> {
    if table(process, true)?
        .iter()
        .any(|entry| entry.inode == inode)
    {
        return Ok(Kind::Tcp);
    }
    let udp = or_empty(process.udp())?
        .into_iter()
        .chain(or_empty(process.udp6())?);
    if udp.into_iter().any(|entry| entry.inode == inode) {
        return Ok(Kind::Udp);
    }
    let unix = or_empty(process.unix())?;
    Ok(match unix.iter().any(|entry| entry.inode == inode) {
        true => Kind::Unix,
        false => Kind::Other,
    })
}

/// The TCP sockets of the process's network namespace.
fn table(process: &Process, has_v6: bool) -> Result<Vec<TcpNetEntry>, Lost> {
    let mut table = or_empty(process.tcp())?;
    if has_v6 {
        table.append(&mut or_empty(process.tcp6())?);
    }
    Ok(table)
}

/// There is no table where the kernel has no IPv6. Whether the process is gone shows elsewhere.
fn or_empty<T>(table: Result<Vec<T>, ProcError>) -> Result<Vec<T>, Lost> {
    match table {
        Err(ProcError::NotFound(_)) => Ok(Vec::new()),
        table => Ok(table?),
    }
}

fn add_states(
    table: &[TcpNetEntry],
    mut wanted: HashMap<u64, Vec<SocketKey>>,
    census: &mut Census,
) {
    let is_listening = |entry: &&TcpNetEntry| entry.state == TcpState::Listen;
    let listening = table.iter().filter(is_listening);
    let ports: HashSet<u16> = listening.map(|entry| entry.local_address.port()).collect();
    for entry in table {
        let keys = wanted.remove(&entry.inode).unwrap_or_default();
        census.sockets.extend(keys.into_iter().map(|key| Socket {
            key,
            state: state(&entry.state),
            peer: peer(entry, &ports),
        }));
    }
    // A socket in no table is not bound, or its connection is over: reset, say.
    let others = wanted.into_values().flatten();
    census.sockets.extend(others.map(|key| Socket {
        key,
        state: State::Close,
        peer: None,
    }));
}

fn peer(entry: &TcpNetEntry, ports: &HashSet<u16>) -> Option<Peer> {
    let address = entry.remote_address.ip().to_canonical();
    let to = entry.local_address.port();
    match (address, entry.remote_address.port()) {
        (_, 0) => None,
        (address, _) if ports.contains(&to) => Some(Peer::Client { address, to }),
        (address, port) => Some(Peer::Server(SocketAddr::new(address, port))),
    }
}

fn state(state: &TcpState) -> State {
    match state {
        TcpState::Established => State::Established,
        TcpState::SynSent => State::SynSent,
        TcpState::SynRecv | TcpState::NewSynRecv => State::SynReceived,
        TcpState::FinWait1 => State::FinWait1,
        TcpState::FinWait2 => State::FinWait2,
        TcpState::TimeWait => State::TimeWait,
        TcpState::Close => State::Close,
        TcpState::CloseWait => State::CloseWait,
        TcpState::LastAck => State::LastAck,
        TcpState::Listen => State::Listen,
        TcpState::Closing => State::Closing,
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, kind_of};

    #[test]
    fn protocols_have_kinds() {
        for (name, kind) in [
            ("TCP\0", Kind::Tcp),
            ("TCPv6\0", Kind::Tcp),
            ("MPTCP\0", Kind::Tcp),
            ("UDPv6\0", Kind::Udp),
            ("UDP-Lite\0", Kind::Udp),
            ("UNIX-STREAM\0", Kind::Unix),
            ("UNIX\0", Kind::Unix),
            ("NETLINK\0", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(kind_of(name.as_bytes()), kind, "{name:?}");
        }
    }
}
