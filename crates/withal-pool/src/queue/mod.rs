//! Who waits for a slot, in order.

use std::collections::VecDeque;
use std::task::Waker;

use crate::clock::Moment;

/// Those who wait, oldest first. It is pure data, under the lock of the table.
///
/// Each has a ticket, a number that is one above the last. Who leaves is marked as gone and cleared
/// away when everybody before them is gone too, so every operation takes constant time, amortized.
#[derive(Default)]
pub(crate) struct Queue {
    places: VecDeque<Place>,
    /// The ticket of the first place.
    first: u64,
    /// No place before this ticket is still waiting.
    next: u64,
    /// How many are waiting.
    waiting: usize,
}

enum Place {
    Waiting {
        waker: Waker,
        deadline: Option<Moment>,
    },
    Called(Call),
    Gone,
}

/// What somebody who waited is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// It is their turn.
    Turn,
    /// Their time is over.
    TooLate,
    /// The pool is closed.
    Closed,
}

impl Queue {
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes the last place; gives its ticket.
    pub(crate) fn join(&mut self, waker: Waker, deadline: Option<Moment>) -> u64 {
        self.places.push_back(Place::Waiting { waker, deadline });
        self.waiting += 1;
        self.first + self.places.len() as u64 - 1
    }

    /// What `ticket` has been called for, which takes it out; otherwise `waker` is called later,
    /// instead of the one that is `spent` then.
    pub(crate) fn poll(
        &mut self,
        ticket: u64,
        waker: &Waker,
        spent: &mut Option<Waker>,
    ) -> Option<Call> {
        match self.place(ticket)? {
            Place::Waiting { waker: known, .. } => {
                if !known.will_wake(waker) {
                    *spent = Some(std::mem::replace(known, waker.clone()));
                }
                None
            }
            Place::Called(call) => {
                let call = *call;
                self.clear(ticket);
                Some(call)
            }
            Place::Gone => None,
        }
    }

    /// Takes `ticket` out, whatever becomes of it. True if it had been called for its turn, which
    /// is then somebody else's; if it had not, its waker is spent.
    pub(crate) fn leave(&mut self, ticket: u64) -> (bool, Option<Waker>) {
        let place = self.place(ticket);
        let left = place.map(|place| std::mem::replace(place, Place::Gone));
        self.clear(ticket);
        match left {
            Some(Place::Waiting { waker, .. }) => {
                self.waiting -= 1;
                (false, Some(waker))
            }
            Some(Place::Called(call)) => (call == Call::Turn, None),
            Some(Place::Gone) | None => (false, None),
        }
    }

    /// Calls the first who waits.
    pub(crate) fn call_next(&mut self) -> Option<Waker> {
        while self.waiting > 0 {
            let ticket = self.next;
            self.next += 1;
            if let Some(waker) = self.call(ticket, Call::Turn) {
                return Some(waker);
            }
        }
        None
    }

    /// Calls those whose deadline has passed. All wait for equally long, so they are the first.
    pub(crate) fn call_late(&mut self, now: Moment) -> Vec<Waker> {
        let mut late = Vec::new();
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            late.extend(self.call(self.next, Call::TooLate));
        }
        late
    }

    /// Calls everybody.
    pub(crate) fn call_all(&mut self, call: Call) -> Vec<Waker> {
        let tickets = self.next..self.first + self.places.len() as u64;
        tickets
            .filter_map(|ticket| self.call(ticket, call))
            .collect()
    }

    /// The deadline of the first who waits.
    pub(crate) fn next_deadline(&mut self) -> Option<Moment> {
        while self.waiting > 0 {
            match self.place(self.next) {
                Some(Place::Waiting { deadline, .. }) => return *deadline,
                _ => self.next += 1,
            }
        }
        None
    }

    fn call(&mut self, ticket: u64, call: Call) -> Option<Waker> {
        let place = self.place(ticket)?;
        match std::mem::replace(place, Place::Called(call)) {
            Place::Waiting { waker, .. } => {
                self.waiting -= 1;
                Some(waker)
            }
            other => {
                *place = other;
                None
            }
        }
    }

    fn clear(&mut self, ticket: u64) {
        if let Some(place) = self.place(ticket) {
            *place = Place::Gone;
        }
        while let Some(Place::Gone) = self.places.front() {
            drop(self.places.pop_front());
            self.first += 1;
        }
        self.next = self.next.max(self.first);
    }

    fn place(&mut self, ticket: u64) -> Option<&mut Place> {
        // Tickets before the first are gone.
        let position = ticket.checked_sub(self.first)?;
        self.places.get_mut(position as usize)
    }
}

#[cfg(test)]
mod tests;
