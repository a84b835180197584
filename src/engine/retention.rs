//! Retention: terminal tasks are in a queue for each outcome, and are removed by age and by number. It costs
//! what is due (I9).

use std::collections::VecDeque;

use crate::engine::Engine;
use crate::engine::sweeping::{Sweeping, tidy};
use crate::engine::timers::{Due, Timer, Timers};
use crate::engine::upkeep::SLICE;
use crate::model::clock::{STAMP_BITS, Stamp};
use crate::model::id::Address;
use crate::model::reason::GoneReason;
use crate::model::retention::{Keep, OUTCOMES, outcome};
use crate::model::state::State;
use crate::record::Record;
use crate::record::wait_list::WakeList;

/// The queues of terminal tasks.
#[derive(Default)]
pub(crate) struct Queues {
    /// By outcome, the longest ended first, or nearly: those of one tick may come with the next.
    retired: [Sweeping<VecDeque<Retired>>; OUTCOMES],
    /// Those that are past their age, but have a time to live of their own.
    past_age: [Sweeping<VecDeque<Retired>>; OUTCOMES],
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Retired {
    address: Address,
    ended: Ended,
}

/// When and how a task ended, in one word: there may be millions of these.
#[derive(Clone, Copy, Debug)]
struct Ended(u64);

impl Ended {
    const HAS_TTL: u64 = 1 << STAMP_BITS;
    const OUTCOME_SHIFT: u32 = STAMP_BITS + 1;

    fn new(at: Stamp, outcome: usize, has_ttl: bool) -> Self {
        let has_ttl = if has_ttl { Self::HAS_TTL } else { 0 };
        Self(at.bits() | has_ttl | (outcome as u64) << Self::OUTCOME_SHIFT)
    }

    fn at(self) -> Stamp {
        Stamp::from_bits(self.0)
    }

    fn outcome(self) -> usize {
        (self.0 >> Self::OUTCOME_SHIFT) as usize
    }

    fn has_ttl(self) -> bool {
        self.0 & Self::HAS_TTL != 0
    }
}

impl Engine {
    /// Has a task that ended be removed in time.
    pub(crate) fn retire(&self, record: &Record, state: State, ended: Stamp) {
        let Some(outcome) = outcome(state) else { return };
        let (ttl, address) = (record.ttl(), record.key().address());
        if let Some(ttl) = ttl {
            let what = Due::Removal(address, GoneReason::Expired);
            self.watch(Timer { due: ended.plus(ttl), what });
        }
        let keep = self.retention.keep(state);
        if keep.count.is_some() || (ttl.is_none() && keep.age.is_some()) {
            let retired = Retired { address, ended: Ended::new(ended, outcome, ttl.is_some()) };
            self.upkeep.retired.push(retired, |retired| self.is_alive(retired.address));
        }
    }

    /// Removes terminal tasks that are past their age, and those that are too many.
    pub(crate) fn let_go(
        &self,
        queues: &mut Queues,
        timers: &mut Timers,
        now: Stamp,
        wakes: &mut WakeList,
    ) -> bool {
        let mut retired = self.upkeep.retired.fetch();
        // Each stripe's are in order, or nearly, and a sort that finds that out merges them.
        retired.sort_by_key(|retired| retired.ended.at());
        for retired in retired {
            if let Some(list) = queues.retired.get_mut(retired.ended.outcome()) {
                list.list.push_back(retired);
            }
        }
        let mut left = SLICE;
        let terminal = [State::Succeeded, State::Failed, State::Cancelled];
        let Queues { retired, past_age } = queues;
        let lists = retired.iter_mut().zip(past_age);
        for ((state, keep), (list, past_age)) in terminal.into_iter().zip(self.retention.keeps()).zip(lists) {
            while left > 0
                && let Some((address, why)) =
                    self.next_to_go(state, *keep, &mut list.list, &mut past_age.list, now)
            {
                left -= 1;
                timers.begin(Timer { due: now, what: Due::Removal(address, why) });
                self.drop_ended(address, why, wakes);
                timers.finish();
            }
            tidy!(list, |retired| self.is_alive(retired.address));
            tidy!(past_age, |retired| self.is_alive(retired.address));
        }
        left == 0
    }

    /// Takes the next task that has to go out of the lists of its outcome.
    fn next_to_go(
        &self,
        state: State,
        keep: Keep,
        list: &mut VecDeque<Retired>,
        past_age: &mut VecDeque<Retired>,
        now: Stamp,
    ) -> Option<(Address, GoneReason)> {
        let is_past = |oldest: &Retired| keep.age.is_some_and(|age| oldest.ended.at().plus(age) <= now);
        while list.front().is_some_and(is_past)
            && let Some(oldest) = list.pop_front()
        {
            if !oldest.ended.has_ttl() {
                return Some((oldest.address, GoneReason::Expired));
            }
            past_age.push_back(oldest);
        }
        if self.tally.of(state) <= keep.count? {
            return None;
        }
        let oldest = past_age.pop_front().or_else(|| list.pop_front())?;
        Some((oldest.address, GoneReason::Evicted))
    }

    /// Removes a terminal task; one that is gone already, or (impossibly) lives, is left alone.
    pub(crate) fn drop_ended(&self, address: Address, why: GoneReason, wakes: &mut WakeList) {
        self.upkeep.may_panic();
        if let Some(record) = self.tenant(address).and_then(|key| self.registry.find(key)) {
            let _ = self.remove(&record, why, wakes);
        }
    }
}

#[cfg(all(test, not(inflight_loom)))]
impl Queues {
    /// How many entries there are, and how many there is room for.
    pub(crate) fn size(&self) -> (usize, usize) {
        let queues = self.retired.iter().chain(&self.past_age).map(|queue| &queue.list);
        queues.fold((0, 0), |(len, room), queue| (len + queue.len(), room + queue.capacity()))
    }
}
