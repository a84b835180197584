//! Applies to a store the operations that are applied to the [`Spec`], and compares the two.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use inflight::{
    CancelError, CreateError, FailureReason, Filter, Finish, FinishError, Limits, ManualClock, NewTask,
    RemoveError, Retention, SharedTask, State, Status, Store, Task, TaskId,
};
use uuid::Uuid;

use crate::common::builder;
use crate::spec::{
    AT_MOST, Act, CANCELLED_FOR, Entry, FAILED_FOR, LIMIT, New, Op, Outcome, SUCCEEDED_FOR, Spec,
};

const KINDS: [&str; 3] = ["index", "parse", ""];
const LABELS: [&str; 3] = ["acme", "other", ""];

enum Held {
    Exclusive(Task),
    Shared(SharedTask),
}

/// Calls the same method of either kind of handle.
macro_rules! of {
    ($held:expr, $method:ident($($argument:expr),*)) => {
        match $held {
            Held::Exclusive(task) => task.$method($($argument),*),
            Held::Shared(task) => task.$method($($argument),*),
        }
    };
}

/// The store and the spec.
pub(crate) struct Pair {
    store: Store,
    clock: ManualClock,
    spec: Spec,
    /// By the task's index in the spec; the earliest first.
    held: Vec<(usize, Held)>,
    /// The last status seen of each task, and how often the task had changed by then.
    seen: HashMap<usize, (Status, u64)>,
}

impl Pair {
    pub(crate) fn new(capacity: usize) -> Self {
        let clock = ManualClock::new();
        let ms = Duration::from_millis;
        let retention = Retention::forever()
            .succeeded_for(ms(SUCCEEDED_FOR))
            .failed_for(ms(FAILED_FOR))
            .cancelled_for(ms(CANCELLED_FOR))
            .at_most_succeeded(AT_MOST as u64)
            .at_most_cancelled(AT_MOST as u64);
        let limits = Limits { message: LIMIT, payload: LIMIT, ..Limits::default() };
        let store = builder(capacity, &clock).retain(retention).limits(limits).build().unwrap();
        Self { store, clock, spec: Spec::new(capacity), held: Vec::new(), seen: HashMap::new() }
    }

    pub(crate) fn step(&mut self, op: &Op) {
        match op {
            Op::Create(new) => self.create(new),
            Op::Act(handle, act) => {
                if !self.held.is_empty() {
                    self.act(handle % self.held.len(), act);
                }
            }
            Op::Cancel(back) => self.cancel(*back),
            Op::Remove(back) => self.remove(*back),
            Op::Pass(span) => self.pass(*span),
            Op::Tick(span) => self.tick(*span),
            Op::StepWall(seconds) => {
                self.clock.step_wall(*seconds);
                self.spec.step += seconds;
            }
        }
        self.compare();
    }

    /// Drops all handles, and lets all remaining tasks expire.
    pub(crate) fn end(&mut self) {
        while !self.held.is_empty() {
            self.act(0, &Act::Drop);
            self.compare();
        }
        self.tick(100_000);
        self.compare();
        assert_eq!(self.store.counts().total(), 0);
    }

    fn pass(&mut self, span: u64) {
        self.clock.advance(Duration::from_millis(span));
        self.spec.now += span;
    }

    fn tick(&mut self, span: u64) {
        self.pass(span);
        self.store.tick();
        self.spec.tick();
    }

    // ---- by id --------------------------------------------------------------------------------------

    fn create(&mut self, new: &New) {
        let id = new.client.map(client_id);
        let parent = new.parent.map(|back| {
            self.spec.latest(back).map_or(TaskId::from_u128(77), |parent| self.spec.tasks[parent].id)
        });
        let asked = new_task(new, id, parent);
        let mut expected = self.spec.refuses(new, id, parent);
        let created = self.store.create(asked.clone());
        let parent = parent.and_then(|id| self.spec.find(id));
        let ended = parent.and_then(|parent| self.store.get(self.spec.tasks[parent].id));
        if let Some(status) = ended.filter(Status::is_terminal)
            && matches!(expected, None | Some(CreateError::Full { .. }))
        {
            expected = Some(CreateError::ParentEnded(status));
        }
        match (created, expected) {
            (Ok(task), None) => {
                assert!(id.is_none_or(|id| id == task.id()));
                assert!(
                    self.spec.tasks.iter().all(|old| old.id != task.id() || id.is_some()),
                    "id used twice"
                );
                self.held.push((self.spec.tasks.len(), Held::Exclusive(task)));
                let id = self.held[self.held.len() - 1].1.id();
                self.spec.create(new.clone(), id, parent);
            }
            (created, expected) => assert_eq!(created.err(), expected),
        }
    }

    fn cancel(&mut self, back: usize) {
        let id = self.any_id(back);
        let said = self.store.cancel(id);
        let Some(task) = self.spec.find(id) else {
            assert_eq!(said, Err(CancelError::Absent(self.store.lookup(id).unwrap_err())));
            return;
        };
        let after = self.store.get(id).unwrap();
        match self.spec.cancel(task) {
            Ok(()) => assert_eq!(said, Ok(after)),
            Err(_) => assert_eq!(said, Err(CancelError::Ended(after))),
        }
    }

    fn remove(&mut self, back: usize) {
        let id = self.any_id(back);
        let before = self.store.get(id);
        let said = self.store.remove(id);
        match self.spec.find(id) {
            None => assert_eq!(said, Err(RemoveError::Absent(self.store.lookup(id).unwrap_err()))),
            Some(task) if self.spec.tasks[task].is_live() => {
                assert_eq!(said, Err(RemoveError::Live(before.unwrap())));
            }
            Some(task) => {
                assert_eq!(said, Ok(before.unwrap()));
                self.spec.let_go(task, inflight::GoneReason::Removed);
            }
        }
    }

    fn any_id(&self, back: usize) -> TaskId {
        self.spec.latest(back).map_or(TaskId::from_u128(77), |task| self.spec.tasks[task].id)
    }

    // ---- by handle ----------------------------------------------------------------------------------

    fn act(&mut self, handle: usize, act: &Act) {
        use State::{Blocked, Pending, Running};
        let (task, spec) = (self.held[handle].0, &mut self.spec);
        let held = &mut self.held[handle].1;
        match *act {
            Act::Start => assert_eq!(of!(held, start()), spec.transition(task, &[Pending], Running)),
            Act::Block => assert_eq!(of!(held, block()), spec.transition(task, &[Running], Blocked)),
            Act::Resume => assert_eq!(of!(held, resume()), spec.transition(task, &[Blocked], Running)),
            Act::Retry => {
                assert_eq!(of!(held, retry()), spec.transition(task, &[Running, Blocked], Pending));
            }
            Act::Advance(count) => assert_eq!(of!(held, advance(count)), spec.advance(task, count)),
            Act::Counter(counts) => match held {
                Held::Exclusive(held) => {
                    let mut counter = held.counter();
                    let said = counts.map(|count| counter.advance(count));
                    assert_eq!(said, counts.map(|count| spec.advance(task, count)));
                }
                Held::Shared(held) => {
                    let said = counts.map(|count| held.advance(count));
                    assert_eq!(said, counts.map(|count| spec.advance(task, count)));
                }
            },
            Act::SetDone(done) => assert_eq!(of!(held, set_done(done)), spec.set_done(task, done)),
            Act::SetTotal(total) => assert_eq!(of!(held, set_total(total)), spec.set_total(task, total)),
            Act::Message(size) => {
                assert_eq!(of!(held, set_message("m".repeat(size))), spec.set_message(task, size));
            }
            Act::Succeed(size) => {
                let said = of!(held, succeed("x".repeat(size)));
                let expected = spec.finish(task, State::Succeeded, None, Some(size));
                same_finish(said, expected, held.status());
            }
            Act::Fail(reason, size) => {
                let reason = FailureReason::ALL[reason];
                let said = of!(held, fail(reason, "x".repeat(size)));
                let expected = spec.finish(task, State::Failed, Some(reason), Some(size));
                same_finish(said, expected, held.status());
            }
            Act::Cancel => {
                let said = of!(held, cancel());
                same_finish(said, spec.finish(task, State::Cancelled, None, None), held.status());
            }
            Act::Heartbeat => assert_eq!(of!(held, heartbeat()), spec.heartbeat(task)),
            Act::Share => {
                let (task, held) = self.held.remove(handle);
                let held = match held {
                    Held::Exclusive(held) => held.share(),
                    Held::Shared(held) => held.clone(), // and the first one is dropped; it was not the last
                };
                self.held.insert(handle, (task, Held::Shared(held)));
            }
            Act::Drop => {
                drop(self.held.remove(handle));
                spec.drop_handle(task);
            }
        }
    }

    // ---- comparing ----------------------------------------------------------------------------------

    fn compare(&mut self) {
        for at in 0..self.spec.tasks.len() {
            let task = &self.spec.tasks[at];
            if task.is_stored() {
                let status = self.store.get(task.id).expect("it is stored");
                self.compare_status(task, &status);
                self.compare_details(task, status);
                self.compare_children(at, task.id);
                let (before, changes) = *self.seen.entry(at).or_insert((status, task.changes));
                if task.changes == changes {
                    assert_eq!((status, status.version()), (before, before.version()), "I4, I5");
                } else {
                    assert!(status.version() > before.version(), "I5: {before:?} {status:?}");
                }
                self.seen.insert(at, (status, task.changes));
            } else if self.spec.find(task.id).is_none() {
                let said = self.store.lookup(task.id).unwrap_err();
                assert!(self.spec.may_be_absent(task, said), "{said:?} of {task:?}");
                assert_eq!(self.store.get(task.id), None);
                assert_eq!(self.store.details(task.id).err(), Some(said));
                assert_eq!(self.store.children(task.id), Err(said));
            }
        }
        self.compare_tenants();
        for (at, held) in &self.held {
            let task = &self.spec.tasks[*at];
            assert_eq!(held.id(), task.id);
            assert_eq!(held.status(), self.store.get(task.id).filter(|_| task.is_stored()));
            assert_eq!(of!(held, cancel_requested()), task.cancel_requested);
        }
        let ids: Vec<TaskId> = self.spec.tasks.iter().map(|task| task.id).collect();
        let polled: Vec<_> = ids.iter().map(|id| self.store.get(*id)).collect();
        assert_eq!(self.store.get_many(&ids), polled);
        self.compare_counts();
        self.compare_lists();
    }

    /// Compares the versions of two tasks that had the same id one after the other (I5).
    fn compare_tenants(&self) {
        let mut last: HashMap<TaskId, Status> = HashMap::new();
        for at in 0..self.spec.tasks.len() {
            if let Some((status, _)) = self.seen.get(&at)
                && let Some(before) = last.insert(status.id(), *status)
            {
                assert!(status.version() > before.version(), "I5: {before:?} {status:?}");
            }
        }
    }

    fn compare_status(&self, task: &Entry, status: &Status) {
        assert_eq!(
            (status.id(), status.state(), status.failure_reason(), status.attempt()),
            (task.id, task.state, task.reason, task.attempt)
        );
        assert_eq!(
            (status.done(), status.total(), status.cancel_requested(), status.is_terminal()),
            (task.done, task.total, task.cancel_requested, !task.is_live())
        );
        let wall = |ms: u64| self.wall(ms);
        assert_eq!(
            (status.created_at(), status.started_at(), status.updated_at(), status.ended_at()),
            (
                wall(task.created),
                task.started.map(wall),
                wall(task.updated),
                (!task.is_live()).then(|| wall(task.updated))
            ),
            "{task:?}"
        );
        let worked = task.started.map(|started| task.updated - started);
        assert_eq!(status.worked_for(), worked.map(Duration::from_millis));
        let rate = worked.filter(|span| *span > 0 && task.done > 0);
        let rate = rate.map(|span| task.done as f64 / Duration::from_millis(span).as_secs_f64());
        assert_eq!(status.rate(), rate);
        let total = task.total.filter(|total| *total > 0);
        assert_eq!(status.fraction(), total.map(|total| (task.done as f64 / total as f64).min(1.0)));
        let running = Some(task).filter(|task| task.state == State::Running);
        let left = running.and_then(|task| Some(task.total?.saturating_sub(task.done) as f64));
        let eta = left.zip(rate).and_then(|(left, rate)| Duration::try_from_secs_f64(left / rate).ok());
        assert_eq!(status.eta(), eta);
    }

    fn wall(&self, ms: u64) -> SystemTime {
        let step = Duration::from_secs(self.spec.shown_step.unsigned_abs());
        let time = start() + Duration::from_millis(ms);
        if self.spec.shown_step >= 0 { time + step } else { time - step }
    }

    fn compare_details(&self, task: &Entry, status: Status) {
        let details = self.store.details(task.id).unwrap();
        assert_eq!(details.status(), status);
        assert_eq!(details.kind(), KINDS[task.new.kind]);
        assert_eq!(details.label("tenant"), task.new.label.map(|label| LABELS[label]));
        assert_eq!(details.parent(), task.parent.map(|parent| self.spec.tasks[parent].id));
        assert_eq!(details.ttl(), task.new.ttl.map(Duration::from_millis));
        assert_eq!(details.message().map(str::len), task.message);
        let (result, error) = (details.result(), details.error());
        let size = result.or(error).map(|payload| payload.bytes().len());
        match task.outcome {
            Outcome::None => assert_eq!(size, None),
            Outcome::Sized(expected) => assert_eq!(size, Some(expected)),
            Outcome::Lost => assert!(error.is_some_and(|error| !error.bytes().is_empty())),
        }
        assert!(result.is_none() || task.state == State::Succeeded);
        assert!(error.is_none() || task.state == State::Failed);
    }

    /// I12: exact where no progress was made since the last tick; states and totals always.
    fn compare_children(&self, at: usize, id: TaskId) {
        let children = self.store.children(id).unwrap();
        for state in State::ALL {
            let expected = self.spec.children(at).filter(|child| child.state == state).count();
            assert_eq!(children.in_state(state), expected as u64, "{state}");
        }
        let sum = |part: fn(&Entry) -> Option<u64>| {
            self.spec.children(at).map(part).try_fold(0, |sum: u64, part| Some(sum.saturating_add(part?)))
        };
        let total = sum(|child| child.total).filter(|_| children.count() > 0);
        assert_eq!(children.total(), total);
        if !self.spec.is_dirty {
            assert_eq!(Some(children.done()), sum(|child| Some(child.done)));
        }
    }

    fn compare_counts(&self) {
        let counts = self.store.counts();
        for state in State::ALL {
            let expected = self.spec.stored().filter(|task| task.state == state).count();
            assert_eq!(counts.of(state), expected as u64, "{state}");
        }
    }

    fn compare_lists(&self) {
        let all = self.listed(Filter::new().page_size(3));
        assert_eq!(all, self.spec.stored().map(|task| task.id).collect::<Vec<_>>());
        let listed = self.listed(Filter::new().page_size(2).state(State::Running).state(State::Failed));
        let has = |task: &Entry| matches!(task.state, State::Running | State::Failed);
        assert_eq!(listed, self.matching(has));
        let listed = self.listed(Filter::new().kind(KINDS[1]).label("tenant", LABELS[0]));
        assert_eq!(listed, self.matching(|task| task.new.kind == 1 && task.new.label == Some(0)));
        let since = self.spec.now.saturating_sub(2_000);
        let listed = self.listed(Filter::new().changed_since(self.wall(since)));
        assert_eq!(listed, self.matching(|task| task.updated >= since));
        if let Some(last) = self.spec.stored().next_back() {
            let listed = self.listed(Filter::new().parent(last.id).page_size(1));
            let parent = self.spec.find(last.id);
            assert_eq!(
                listed,
                self.matching(|task| task.parent == parent),
                "not of an earlier one with its id"
            );
        }
    }

    fn matching(&self, has: impl Fn(&Entry) -> bool) -> Vec<TaskId> {
        self.spec.stored().filter(|task| has(task)).map(|task| task.id).collect()
    }

    fn listed(&self, filter: Filter) -> Vec<TaskId> {
        let mut ids = Vec::new();
        let mut page = self.store.list(&filter).unwrap();
        loop {
            ids.extend(page.tasks.iter().map(|task| task.status().id()));
            let Some(next) = page.next else { return ids };
            page = self.store.list(&filter.clone().after(next)).unwrap();
        }
    }
}

impl Held {
    fn id(&self) -> TaskId {
        of!(self, id())
    }

    fn status(&self) -> Option<Status> {
        of!(self, status())
    }
}

fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_893_456_000)
}

/// UUIDs that a client could bring: nil, version 4, version 8 (as minted ids are), and all ones.
fn client_id(which: usize) -> TaskId {
    let v8 = Uuid::from_u128(0x0000_0000_0001_8001_8000_0000_0000_0001);
    let v4 = Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
    [Uuid::nil(), v4, v8, Uuid::max()][which].into()
}

fn new_task(new: &New, id: Option<TaskId>, parent: Option<TaskId>) -> NewTask {
    let mut task = NewTask::new(KINDS[new.kind]);
    if let Some(id) = id {
        task = task.id(id);
    }
    if let Some(parent) = parent {
        task = task.parent(parent);
    }
    if let Some(total) = new.total {
        task = task.total(total);
    }
    if let Some(span) = new.lease {
        task = task.lease(Duration::from_millis(span));
    }
    if let Some(span) = new.ttl {
        task = task.ttl(Duration::from_millis(span));
    }
    if let Some(label) = new.label {
        task = task.label("tenant", LABELS[label]);
    }
    task
}

/// A losing call returns how the task ended.
fn same_finish(
    said: Result<Finish, FinishError>,
    expected: Result<bool, FinishError>,
    status: Option<Status>,
) {
    let expected = expected.map(|won| match (won, status) {
        (true, _) => Finish::Won,
        (false, status) => Finish::Lost(status.expect("it is stored")),
    });
    assert_eq!(said, expected);
}
