//! The slots of a pool: who has which, and since when. No waiting, no clock, no user code.

use std::panic::Location;
use std::task::{Poll, Waker};
use std::time::Duration;

use withal_scope::integration::Mark;

use crate::clock::Moment;
use crate::queue::{Call, Queue};
use crate::status::{Counters, Holder, Phase, Status};
use crate::{Cause, Info};

/// All slots, and who waits for one, under one lock.
///
/// A slot is a place for one connection, from before it is made until it is ended. Whoever works
/// on one holds a permit, of which there are as many as slots. A permit is free only if nobody
/// waits: one that is given back goes to the first who does.
pub(crate) struct Table<C> {
    slots: Vec<Slot<C>>,
    /// Permits nobody has.
    free: usize,
    queue: Queue,
    /// How long somebody waits.
    patience: Option<Duration>,
    /// How long a connection may have been idle without being checked.
    check_after: Option<Duration>,
    /// Whether a hook is asked about each connection.
    asks_hook: bool,
    /// When the keeper looks next.
    pub(crate) next_look: Option<Moment>,
    /// Slots with an idle connection, the one used last at the end: it is the warmest.
    idle: Vec<usize>,
    /// Slots without a connection.
    vacant: Vec<usize>,
    pub(crate) counters: Counters,
    pub(crate) is_closed: bool,
    /// Connections made before it are not handed out any more.
    epoch: u64,
}

struct Slot<C> {
    /// `None` if it is vacant.
    phase: Option<Phase>,
    /// When that phase began.
    since: Moment,
    /// The connection, while it is idle.
    connection: Option<C>,
    info: Info,
    /// Whether a connection was made for it, wherever that is now.
    has_connection: bool,
    /// Who asked for the connection, until it has come back.
    user: Option<User>,
    /// Whether that is counted as acquired, and since when.
    is_out: bool,
    out_since: Moment,
}

/// Who asked for a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) location: &'static Location<'static>,
    pub(crate) mark: Mark,
    /// A block lists it already.
    pub(crate) is_in_block: bool,
    /// It has been reported as held for long.
    pub(crate) is_reported: bool,
}

/// A connection taken from its slot.
pub(crate) struct Taken<C> {
    pub(crate) index: usize,
    pub(crate) connection: C,
}

/// What somebody is told who wants a connection. With the first two comes a permit.
pub(crate) enum Reply<C> {
    /// A connection.
    Taken(Taken<C>, Verdict),
    /// A slot to make one in.
    Make(usize),
    /// A place in the queue; it is seen if there is a keeper that will look before its deadline.
    Wait { ticket: u64, is_seen: bool },
    /// They have waited for too long.
    TooLate,
    /// The pool is closed.
    Closed,
}

/// What has to be said once a connection has come back.
pub(crate) struct Landed {
    pub(crate) came_back: Option<Held>,
    /// Whom to wake for the permit.
    pub(crate) next: Option<Waker>,
}

/// A connection held for long, or that came back after it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) location: &'static Location<'static>,
    pub(crate) held: Duration,
}

/// What to do with a connection taken for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is theirs already.
    HandedOut,
    /// It is theirs if the hook agrees and, if it has been idle for long, it proves to be alive.
    Check { is_stale: bool },
    /// It has to go.
    Close(Cause),
}

/// A keeper that is later than this may be gone.
const LATE: Duration = Duration::from_secs(1);

/// What has to be done about an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Close(Cause),
    Validate,
}

/// How long idle connections are kept, and when they are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upkeep {
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) min_idle: usize,
}

impl<C> Table<C> {
    pub(crate) fn new(
        max_size: usize,
        patience: Option<Duration>,
        check_after: Option<Duration>,
        asks_hook: bool,
    ) -> Table<C> {
        let now = Moment::now();
        let slot = || Slot {
            phase: None,
            since: now,
            connection: None,
            info: Info {
                number: 0,
                created: now,
                expires: None,
                epoch: 0,
                uses: 0,
            },
            has_connection: false,
            user: None,
            is_out: false,
            out_since: now,
        };
        Table {
            slots: std::iter::repeat_with(slot).take(max_size).collect(),
            free: max_size,
            queue: Queue::default(),
            patience,
            check_after,
            asks_hook,
            next_look: None,
            idle: Vec::with_capacity(max_size),
            vacant: (0..max_size).rev().collect(),
            counters: Counters::default(),
            is_closed: false,
            epoch: 0,
        }
    }

    /// Gives `user` a permit, and what goes with it, or a place in the queue.
    pub(crate) fn request(&mut self, user: &User, now: Moment, waker: &Waker) -> Reply<C> {
        if self.is_closed {
            return Reply::Closed;
        }
        if self.free > 0 {
            self.free -= 1;
            return self.serve(user, now);
        }
        let deadline = self.patience.and_then(|limit| now.checked_add(limit));
        let ticket = self.queue.join(waker.clone(), deadline);
        let is_seen = |next: Moment| next.until(now) < LATE && deadline.is_none_or(|it| it >= next);
        Reply::Wait {
            ticket,
            is_seen: self.next_look.is_some_and(is_seen),
        }
    }

    /// The reply to a request that waits, if it has come.
    pub(crate) fn poll(
        &mut self,
        ticket: u64,
        user: &User,
        now: Moment,
        waker: &Waker,
        spent: &mut Option<Waker>,
    ) -> Poll<Reply<C>> {
        match self.queue.poll(ticket, waker, spent) {
            None => Poll::Pending,
            Some(Call::Turn) if self.is_closed => {
                drop(self.give_back());
                Poll::Ready(Reply::Closed)
            }
            Some(Call::Turn) => Poll::Ready(self.serve(user, now)),
            Some(Call::TooLate) => {
                self.counters.wait_timed_out += 1;
                Poll::Ready(Reply::TooLate)
            }
            Some(Call::Closed) => Poll::Ready(Reply::Closed),
        }
    }

    /// A request that waits is given up; gives whom to wake for it, and the waker it had.
    pub(crate) fn leave(&mut self, ticket: u64) -> (Option<Waker>, Option<Waker>) {
        let (was_called, spent) = self.queue.leave(ticket);
        let next = match was_called {
            true => self.give_back(),
            false => None,
        };
        (next, spent)
    }

    /// Gives a permit back; gives whom to wake for it.
    pub(crate) fn give_back(&mut self) -> Option<Waker> {
        let next = self.queue.call_next();
        self.free += usize::from(next.is_none());
        next
    }

    /// Whom to tell that their time is over.
    pub(crate) fn call_late(&mut self, now: Moment) -> Vec<Waker> {
        self.queue.call_late(now)
    }

    /// When the first who waits will have waited for too long.
    pub(crate) fn next_deadline(&mut self) -> Option<Moment> {
        self.queue.next_deadline()
    }

    /// Whoever has a permit takes the warmest idle connection, or makes one.
    pub(crate) fn serve(&mut self, user: &User, now: Moment) -> Reply<C> {
        let Some(index) = self.idle.pop() else {
            return match self.reserve(Some(*user), now) {
                Some(index) => Reply::Make(index),
                None => {
                    debug_assert!(self.is_closed, "there is a slot for each permit");
                    Reply::Closed
                }
            };
        };
        let (epoch, check_after, asks_hook) = (self.epoch, self.check_after, self.asks_hook);
        let slot = self.slot(index);
        slot.user = Some(*user);
        let connection = slot.take();
        let is_old = |after| slot.since.until(now) >= after;
        let verdict = match slot.info.end(epoch, now) {
            Some(cause) => Verdict::Close(cause),
            None if check_after.is_some_and(is_old) => Verdict::Check { is_stale: true },
            None if asks_hook => Verdict::Check { is_stale: false },
            None => Verdict::HandedOut,
        };
        match verdict {
            Verdict::HandedOut => self.hand_out(index, now),
            Verdict::Check { .. } => self.enter(index, Phase::Validating, now),
            Verdict::Close(_) => self.enter(index, Phase::Closing, now),
        }
        Reply::Taken(Taken { index, connection }, verdict)
    }

    /// What was taken to be checked, or was just made, is its user's now.
    pub(crate) fn hand_out(&mut self, index: usize, now: Moment) {
        self.counters.acquired += 1;
        let slot = self.slot(index);
        slot.is_out = true;
        slot.info.uses += 1;
        slot.enter(Phase::InUse, now);
    }

    /// A connection could not be made.
    pub(crate) fn count_failed(&mut self, is_timeout: bool) {
        self.counters.create_timed_out += u64::from(is_timeout);
        self.counters.create_failed += u64::from(!is_timeout);
    }

    /// What was handed out has turned out to be unusable, before its user saw it.
    pub(crate) fn take_back(&mut self, index: usize) {
        self.counters.acquired -= 1;
        self.slot(index).is_out = false;
    }

    /// Takes a slot to make a connection in; none if the pool is closed.
    ///
    /// Whoever has a permit and found nothing idle finds one: at most all permits are out, theirs
    /// has no slot yet, so not all slots are taken.
    fn reserve(&mut self, user: Option<User>, now: Moment) -> Option<usize> {
        if self.is_closed {
            return None;
        }
        let index = self.vacant.pop()?;
        let epoch = self.epoch;
        let slot = self.slot(index);
        // Of now: one begun before the pool expires is of before.
        slot.info.epoch = epoch;
        slot.user = user;
        slot.enter(Phase::Connecting, now);
        Some(index)
    }

    /// A connection was made in this slot.
    pub(crate) fn created(&mut self, index: usize, lifetime: Option<Duration>, now: Moment) {
        self.counters.created += 1;
        let info = Info {
            number: self.counters.created,
            created: now,
            // A life that ends beyond the end of time has no end.
            expires: lifetime.and_then(|lifetime| now.checked_add(lifetime)),
            epoch: self.slot(index).info.epoch,
            uses: 0,
        };
        let slot = self.slot(index);
        slot.info = info;
        slot.has_connection = true;
    }

    pub(crate) fn info(&mut self, index: usize) -> Info {
        self.slot(index).info
    }

    pub(crate) fn enter(&mut self, index: usize, phase: Phase, now: Moment) {
        self.slot(index).enter(phase, now);
    }

    /// Puts a clean connection back, and the permit with it; gives it back if it has to go.
    pub(crate) fn land(
        &mut self,
        index: usize,
        connection: C,
        is_reset: bool,
        now: Moment,
    ) -> Result<Landed, (C, Cause)> {
        self.counters.reset += u64::from(is_reset);
        let (epoch, is_closed) = (self.epoch, self.is_closed);
        let slot = self.slot(index);
        let end = match is_closed {
            true => Some(Cause::PoolClosed),
            false => slot.info.end(epoch, now),
        };
        if let Some(cause) = end {
            return Err((connection, cause));
        }
        let came_back = self.returned(index, now);
        let slot = self.slot(index);
        slot.enter(Phase::Idle, now);
        slot.connection = Some(connection);
        self.idle.push(index);
        Ok(Landed {
            came_back,
            next: self.give_back(),
        })
    }

    /// The slot's connection is gone, or was never made.
    pub(crate) fn vacate(&mut self, index: usize, cause: Cause, now: Moment) -> Option<Held> {
        let came_back = self.returned(index, now);
        let slot = self.slot(index);
        slot.phase = None;
        if std::mem::take(&mut slot.has_connection) {
            self.counters.count(cause);
        }
        self.vacant.push(index);
        came_back
    }

    /// Its user is done with it.
    fn returned(&mut self, index: usize, now: Moment) -> Option<Held> {
        let slot = self.slot(index);
        let user = slot.user.take();
        if std::mem::take(&mut slot.is_out) {
            let held = slot.out_since.until(now);
            self.counters.returned += 1;
            let user = user.filter(|user| user.is_reported)?;
            self.counters.came_back += 1;
            return Some(Held {
                location: user.location,
                held,
            });
        }
        None
    }

    /// Takes all that is idle, to be ended; nothing is handed out and nothing lands any more. Gives
    /// whom to tell.
    pub(crate) fn close(&mut self, now: Moment) -> (Vec<Taken<C>>, Vec<Waker>) {
        self.is_closed = true;
        let idle = std::mem::take(&mut self.idle);
        let taken = idle.into_iter().map(|index| {
            self.slot(index).enter(Phase::Closing, now);
            let connection = self.slot(index).take();
            Taken { index, connection }
        });
        (taken.collect(), self.queue.call_all(Call::Closed))
    }

    /// From now on, connections made before are not handed out any more.
    pub(crate) fn expire(&mut self) {
        self.epoch += 1;
    }

    /// Takes the coldest idle connection about which something has to be done, and a permit.
    pub(crate) fn take_due(&mut self, upkeep: &Upkeep, now: Moment) -> Option<(Taken<C>, Due)> {
        if self.free == 0 {
            return None;
        }
        let spare = self.idle.len().saturating_sub(upkeep.min_idle);
        let (position, due) = self.idle.iter().enumerate().find_map(|(position, index)| {
            let slot = self.slots.get(*index)?;
            let idle = slot.since.until(now);
            let due = match slot.info.end(self.epoch, now) {
                Some(cause) => Due::Close(cause),
                None if spare > 0 && upkeep.idle_timeout.is_some_and(|it| idle >= it) => {
                    Due::Close(Cause::IdleTimeout)
                }
                None if upkeep.keepalive.is_some_and(|it| idle >= it) => Due::Validate,
                None => return None,
            };
            Some((position, due))
        })?;
        let index = self.idle.remove(position);
        self.free -= 1;
        let phase = match due {
            Due::Close(_) => Phase::Closing,
            Due::Validate => Phase::Validating,
        };
        let slot = self.slot(index);
        slot.enter(phase, now);
        let connection = slot.take();
        Some((Taken { index, connection }, due))
    }

    /// Takes a permit, and a slot to make one more idle connection in, if one is wanted and there
    /// is room.
    pub(crate) fn reserve_idle(&mut self, upkeep: &Upkeep, now: Moment) -> Option<usize> {
        let coming = |slot: &&Slot<C>| slot.phase == Some(Phase::Connecting) && slot.user.is_none();
        let ready = self.idle.len() + self.slots.iter().filter(coming).count();
        if ready >= upkeep.min_idle || self.free == 0 {
            return None;
        }
        let index = self.reserve(None, now)?;
        self.free -= 1;
        Some(index)
    }

    /// Who has held a connection for `limit`, and has not been reported before.
    pub(crate) fn report_held_long(&mut self, limit: Duration, now: Moment) -> Vec<Held> {
        let mut found = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| slot.is_out) {
            let held = slot.out_since.until(now);
            if let Some(user) = slot.user.as_mut()
                && held >= limit
                && !user.is_reported
            {
                user.is_reported = true;
                found.push(Held {
                    location: user.location,
                    held,
                });
            }
        }
        self.counters.held_long += found.len() as u64;
        found
    }

    pub(crate) fn size(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Who keeps a slot busy, the longest first.
    pub(crate) fn holders(&self, now: Moment) -> Vec<Holder> {
        let busy = self.slots.iter().filter_map(|slot| {
            let phase = slot.phase.filter(|phase| *phase != Phase::Idle)?;
            Some(Holder {
                phase,
                location: slot.user.map(|user| user.location),
                age: slot.since.until(now),
                task: slot.user.and_then(|user| user.mark.task()),
            })
        });
        let mut holders: Vec<Holder> = busy.collect();
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.age));
        holders
    }

    /// Those who have a connection, or whose connection is on its way, outside of any block.
    pub(crate) fn users(&self) -> impl Iterator<Item = (User, Phase, Moment)> {
        self.slots.iter().filter_map(|slot| {
            let user = slot.user.filter(|user| !user.is_in_block)?;
            Some((user, slot.phase?, slot.since))
        })
    }

    pub(crate) fn status(&self) -> Status {
        let mut status = Status {
            max_size: self.slots.len(),
            size: self.size(),
            waiting: self.queue.waiting(),
            is_closed: self.is_closed,
            ..Status::default()
        };
        for phase in self.slots.iter().filter_map(|slot| slot.phase) {
            *match phase {
                Phase::Connecting => &mut status.connecting,
                Phase::Idle => &mut status.idle,
                Phase::Validating => &mut status.validating,
                Phase::InUse => &mut status.in_use,
                Phase::Resetting => &mut status.resetting,
                Phase::Closing => &mut status.closing,
            } += 1;
        }
        status
    }

    fn slot(&mut self, index: usize) -> &mut Slot<C> {
        #[expect(
            clippy::indexing_slicing,
            reason = "the table hands out the numbers of its slots only"
        )]
        &mut self.slots[index]
    }
}

impl<C> Slot<C> {
    fn enter(&mut self, phase: Phase, now: Moment) {
        if phase == Phase::InUse {
            self.out_since = now;
        }
        self.phase = Some(phase);
        self.since = now;
    }

    fn take(&mut self) -> C {
        self.connection
            .take()
            .expect("an idle slot has its connection")
    }
}
