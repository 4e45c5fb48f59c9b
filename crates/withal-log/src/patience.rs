//! Whether to let others run before a batch is written.

use std::time::Duration;

/// How often whoever leads lets others run first.
const MOST_YIELDS: u32 = 8;
/// Who has not run for so long has given the processor to some other program; each of those who were
/// woken may take a little, too.
const SLICE: Duration = Duration::from_micros(400);
const TURN: Duration = Duration::from_micros(20);
/// For how many batches nobody yields after that: at first, and at most.
const HASTE: (u32, u32) = (64, 8192);

/// Whether those who were woken just now are worth waiting for.
///
/// To yield costs next to nothing where they are all there is to run; where other programs want the
/// processor, too, it costs their time slice, thirty times as long as a sync. So that is measured, and
/// tried the more seldom the more often it has happened.
#[derive(Debug)]
pub(crate) struct Patience {
    /// How many the last batch has woken, and how often something was appended since.
    woken: usize,
    returned: usize,
    /// For how many batches nobody is to yield, and for how many after the next time it takes long.
    haste: u32,
    next_haste: u32,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            woken: 0,
            returned: 0,
            haste: 0,
            next_haste: HASTE.0,
        }
    }
}

impl Patience {
    /// Whether whoever would write the next batch is to yield first, having done so `yields` times.
    pub(crate) fn lets_run(&self, yields: u32) -> bool {
        yields < MOST_YIELDS && self.haste == 0 && self.returned < self.woken
    }

    /// Somebody has yielded, and had the processor again after so long.
    pub(crate) fn yielded(&mut self, took: Duration) {
        let (least, most) = HASTE;
        let turns = TURN * u32::try_from(self.woken).unwrap_or(u32::MAX);
        if took < SLICE.saturating_add(turns) {
            self.next_haste = (self.next_haste - 1).max(least);
            return;
        }
        self.haste = self.next_haste;
        self.next_haste = (self.next_haste * 2).min(most);
    }

    pub(crate) fn record_has_come(&mut self) {
        self.returned += 1;
    }

    pub(crate) fn batch_begins(&mut self) {
        self.haste = self.haste.saturating_sub(1);
    }

    pub(crate) fn batch_has_woken(&mut self, woken: usize) {
        self.woken = woken;
        self.returned = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_woken_is_waited_for_until_all_are_back() {
        let mut patience = Patience::default();
        assert!(!patience.lets_run(0), "one who is alone waits for nobody");
        patience.batch_has_woken(2);
        assert!(patience.lets_run(0));
        patience.record_has_come();
        assert!(patience.lets_run(MOST_YIELDS - 1));
        assert!(!patience.lets_run(MOST_YIELDS), "not for ever");
        patience.record_has_come();
        assert!(!patience.lets_run(0));
    }

    #[test]
    fn where_others_want_the_processor_it_is_tried_ever_more_seldom() {
        let mut patience = Patience::default();
        patience.batch_has_woken(3);
        let mut batches = || {
            patience.yielded(SLICE * 2);
            let mut batches = 0;
            while !patience.lets_run(0) {
                patience.batch_begins();
                batches += 1;
            }
            batches
        };
        let (least, most) = HASTE;
        assert_eq!([batches(), batches()], [least, 2 * least]);
        assert_eq!((0..20).map(|_| batches()).last(), Some(most));
    }

    #[test]
    fn many_may_take_long_to_come_back() {
        let mut patience = Patience::default();
        patience.batch_has_woken(100);
        patience.yielded(SLICE * 2);
        assert!(patience.lets_run(1));
    }
}
