//! The queue beside the plainest one there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        let _ = self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Who waits, oldest first, with what they were called for.
type Plain = Vec<(u64, Option<Call>)>;

#[test]
fn whatever_happens_it_does_what_a_plain_list_does() {
    for seed in 0..200 {
        let mut random = seed;
        let mut below = |limit: u64| {
            random = u64::wrapping_mul(random + 1, 6_364_136_223_846_793_005).wrapping_add(11);
            (random >> 33) % limit
        };
        let (mut queue, mut plain) = (Queue::default(), Plain::new());
        for _ in 0..300 {
            match below(6) {
                0 | 1 => {
                    let ticket = queue.join(Waker::noop().clone(), None);
                    plain.push((ticket, None));
                }
                2 => {
                    let called = queue.call_next().is_some();
                    let first = plain.iter_mut().find(|(_, call)| call.is_none());
                    assert_eq!(called, first.is_some());
                    if let Some((_, call)) = first {
                        *call = Some(Call::Turn);
                    }
                }
                3 if !plain.is_empty() => {
                    let (ticket, call) = plain.remove(below(plain.len() as u64) as usize);
                    assert_eq!(queue.leave(ticket).0, call == Some(Call::Turn));
                }
                4 if !plain.is_empty() => {
                    let position = below(plain.len() as u64) as usize;
                    let (ticket, call) = plain[position];
                    assert_eq!(queue.poll(ticket, Waker::noop(), &mut None), call);
                    if call.is_some() {
                        let _ = plain.remove(position);
                    }
                }
                _ => {}
            }
            let waiting = plain.iter().filter(|(_, call)| call.is_none());
            assert_eq!(queue.waiting(), waiting.count());
            assert!(queue.places.len() >= plain.len());
        }
        while let Some((ticket, _)) = plain.pop() {
            let _ = queue.leave(ticket);
        }
        assert!(
            queue.places.is_empty(),
            "places of those who are gone are cleared away"
        );
    }
}

#[test]
fn the_late_are_called_in_order_and_nobody_else() {
    let (mut queue, start) = (Queue::default(), Moment::now());
    let after = |seconds| {
        start
            .checked_add(std::time::Duration::from_secs(seconds))
            .unwrap()
    };
    let tickets: Vec<u64> = (1..=4)
        .map(|seconds| queue.join(Waker::noop().clone(), Some(after(seconds))))
        .collect();
    assert!(!queue.leave(tickets[1]).0);
    assert_eq!(queue.next_deadline(), Some(after(1)));
    assert_eq!(queue.call_late(after(3)).len(), 2);
    assert_eq!(queue.next_deadline(), Some(after(4)));
    assert_eq!(
        queue.poll(tickets[0], Waker::noop(), &mut None),
        Some(Call::TooLate)
    );
    assert_eq!(queue.poll(tickets[3], Waker::noop(), &mut None), None);
    // A turn goes to who still waits, not to the late.
    assert!(queue.call_next().is_some());
    assert_eq!(
        queue.poll(tickets[2], Waker::noop(), &mut None),
        Some(Call::TooLate)
    );
    assert_eq!(
        queue.poll(tickets[3], Waker::noop(), &mut None),
        Some(Call::Turn)
    );
    assert_eq!(queue.next_deadline(), None);
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    let (old, new) = (Arc::<Count>::default(), Arc::<Count>::default());
    let mut queue = Queue::default();
    let ticket = queue.join(Waker::from(Arc::clone(&old)), None);
    assert_eq!(
        queue.poll(ticket, &Waker::from(Arc::clone(&new)), &mut None),
        None
    );
    queue.call_next().unwrap().wake();
    assert_eq!(old.0.load(Ordering::Relaxed), 0);
    assert_eq!(new.0.load(Ordering::Relaxed), 1);
}
