//! Counts, and the sums of parents (I12).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::scope;
use std::time::Duration;

use inflight::{Absent, CancelError, FailureReason, NewTask, State, TaskId};

use crate::common::{running, store};
use crate::over::{OnPanic, Over, until};

#[test]
fn i12_counts_and_sums_are_exact_when_all_is_quiet() {
    const CHILDREN: usize = 800;
    let (store, clock) = store(4 * CHILDREN);
    let parent = running(&store);
    let over = AtomicBool::new(false);
    let work = || {
        let (mut done, mut ended) = (0, [0_u64; 6]);
        for number in 0..CHILDREN {
            let new = NewTask::new("test").parent(parent.id()).total(number as u64);
            let mut child = store.create(new).unwrap();
            child.start().unwrap();
            (0..number % 11).for_each(|_| child.advance(3).unwrap());
            if number % 4 == 0 {
                child.retry().unwrap();
                child.start().unwrap();
                child.advance(5).unwrap();
            }
            match number % 5 {
                0 => drop(child.succeed(())),
                1 => drop(child.fail(FailureReason::Error, ())),
                2 => drop(child.cancel()),
                3 => drop(store.cancel(child.id())),
                _ => {}
            }
            let before = child.status().unwrap();
            done += before.done();
            drop(child);
            ended[store.get(before.id()).unwrap().state() as usize] += 1;
        }
        let mut alive = store.create(NewTask::new("test").parent(parent.id()).total(0)).unwrap();
        alive.start().unwrap();
        alive.advance(7).unwrap();
        ended[State::Running as usize] += 1;
        (done + 7, ended, alive)
    };
    let sums = scope(|scope| {
        scope.spawn(|| {
            let mut before = 0;
            until(&over, || {
                clock.advance(Duration::from_micros(100));
                store.tick();
                let children = store.children(parent.id()).unwrap();
                assert!(children.count() <= 3 * (CHILDREN as u64 + 1) + 3, "{children:?}");
                assert!(children.count() + 6 >= before, "children that were there still count");
                before = children.count();
            });
        });
        let _over = Over(&over);
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    clock.advance(Duration::from_millis(1));
    store.tick();
    let children = store.children(parent.id()).unwrap();
    assert_eq!(children.done(), sums.iter().map(|(done, ..)| done).sum::<u64>());
    assert_eq!(children.total(), Some(3 * (CHILDREN * (CHILDREN - 1) / 2) as u64));
    for state in State::ALL {
        let expected: u64 = sums.iter().map(|(_, ended, _)| ended[state as usize]).sum();
        assert_eq!(children.in_state(state), expected, "{state}");
        assert_eq!(store.counts().of(state), expected + u64::from(state == State::Running), "{state}");
    }
}

/// Regression: a task with a client's id can be cancelled as soon as its id is in the index. The creating
/// thread then added it to its parent's sums once more, as pending, where it stayed for ever.
#[test]
fn i12_a_child_that_is_cancelled_while_it_is_created() {
    const ROUNDS: u128 = 400_000;
    let (store, _) = store(ROUNDS as usize + 1);
    let parent = running(&store);
    let (round, over) = (AtomicU64::new(0), AtomicBool::new(false));
    scope(|scope| {
        scope.spawn(|| {
            let is_early = || !over.load(Ordering::Acquire);
            for number in 1..=ROUNDS {
                while u128::from(round.load(Ordering::Acquire)) < number && is_early() {
                    std::hint::spin_loop();
                }
                let cancel = || store.cancel(TaskId::from_u128(number));
                while cancel() == Err(CancelError::Absent(Absent::Unknown)) && is_early() {}
            }
        });
        let _over = OnPanic(&over);
        for number in 1..=ROUNDS {
            round.store(number as u64, Ordering::Release);
            drop(
                store.create(NewTask::new("test").id(TaskId::from_u128(number)).parent(parent.id())).unwrap(),
            );
        }
    });
    let children = store.children(parent.id()).unwrap();
    assert_eq!((children.count(), children.live()), (ROUNDS as u64, 0), "{children:?}");
    assert_eq!(store.counts().live(), 1);
}
