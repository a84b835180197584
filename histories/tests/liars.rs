//! Stores with one fault each, which the checker must find in recorded histories.

#![allow(clippy::unwrap_used, reason = "a failed test panics, in its helpers, too")]

use std::collections::HashMap;
use std::sync::Mutex;

use inflight::{Absent, TaskId};
use inflight_histories::{Call, Client, Features, Local, Plan, Reply, Seen, Target};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Every eighth poll returns what the poll before it returned.
    StalePoll,
    /// Every fourth losing call of an end is told that it won.
    TwoWinners,
    /// Every eighth increment is lost.
    LostIncrement,
    /// Polls of a task that is gone reply that it never existed.
    Forgetful,
}

struct Liar {
    honest: Local,
    fault: Fault,
    last: Mutex<(u64, HashMap<TaskId, Seen>)>,
}

struct LyingClient<'a> {
    liar: &'a Liar,
    honest: Box<dyn Client + 'a>,
}

impl Target for Liar {
    fn features(&self) -> Features {
        self.honest.features()
    }

    fn client(&self, number: usize) -> Box<dyn Client + '_> {
        Box::new(LyingClient { liar: self, honest: self.honest.client(number) })
    }

    fn clear(&self) {
        self.honest.clear();
    }
}

impl Client for LyingClient<'_> {
    fn call(&mut self, id: Option<TaskId>, via: u64, call: &Call) -> Reply {
        let mut last = self.liar.last.lock().unwrap();
        last.0 += 1;
        let turn = last.0;
        if self.liar.fault == Fault::LostIncrement
            && matches!(call, Call::Advance(_))
            && turn.is_multiple_of(8)
        {
            return Reply::Done;
        }
        let reply = self.honest.call(id, via, call);
        match (self.liar.fault, reply) {
            (Fault::StalePoll, Reply::Seen(seen)) if *call == Call::Get => {
                let before = last.1.insert(id.unwrap(), seen);
                Reply::Seen(if turn.is_multiple_of(8) { before.unwrap_or(seen) } else { seen })
            }
            (Fault::TwoWinners, Reply::Lost(_)) if turn.is_multiple_of(4) => Reply::Won,
            (Fault::Forgetful, Reply::Absent(Absent::Gone(Some(_)))) => Reply::Absent(Absent::Unknown),
            (_, reply) => reply,
        }
    }
}

#[test]
fn every_fault_is_found() {
    for fault in [Fault::StalePoll, Fault::TwoWinners, Fault::LostIncrement, Fault::Forgetful] {
        let liar = Liar { honest: Local::new(), fault, last: Mutex::default() };
        let report = Plan { histories: 200, calls: 60, ..Plan::default() }.run(&liar);
        assert!(!report.failures.is_empty(), "{fault:?} was not found");
        let shown = report.failures[0].to_string();
        assert!(shown.contains("not linearizable") && shown.contains("client"), "{shown}");
    }
}
