//! Floors: no store can be faster, since a floor leaves out something that a store needs.

use std::collections::HashMap;

use inflight::TaskId;

use crate::Hasher;
use crate::maps::{step_on, uuids};
use crate::payload::{Line, PeerVersion};
use crate::subject::{Built, Job, Role, Step, Subject, WRITTEN, tag_of};

/// A flat array of lines, read by index: one random cache line and three loads, without a check of the tenant
/// or of the instant. Its keys take 16 bytes, so that its stream of keys fills the caches as much as a stream
/// of ids does.
#[derive(Debug)]
pub struct BareLine(Box<[Line]>);

impl Subject for BareLine {
    type Key = u128;
    type Version = PeerVersion;
    type Hand = usize;
    const ROLE: Role = Role::Floor;
    const MODES: &'static [&'static str] = &["bare line"];

    fn build(tasks: usize) -> Built<Self> {
        let keys: Vec<u128> = (0..tasks as u128).collect();
        let lines = keys.iter().map(|key| Line::running(Self::tag(*key))).collect();
        let hands = (0..tasks.min(WRITTEN)).collect();
        Built { store: Self(lines), keys, absent: Vec::new(), hands }
    }

    #[inline(always)]
    fn tag(key: u128) -> u64 {
        key as u64
    }

    fn poll<J: Job<Self>>(&self, _: usize, job: J) -> J::Out {
        let lines = &self.0;
        job.run(|key| lines.get(key as usize).map(|line| line.glance()))
    }

    fn write(&self, hand: &mut usize, step: Step) {
        if let Some(line) = self.0.get(*hand) {
            step_on(line, step);
        }
    }
}

/// A `HashMap` without a lock: the cost of hashing and probing alone.
#[derive(Debug)]
pub struct BareMap(HashMap<TaskId, Box<Line>, Hasher>);

impl Subject for BareMap {
    type Key = TaskId;
    type Version = PeerVersion;
    type Hand = TaskId;
    const ROLE: Role = Role::Floor;
    const MODES: &'static [&'static str] = &["unsynchronised HashMap"];

    fn build(tasks: usize) -> Built<Self> {
        let (keys, absent) = uuids(tasks);
        let map = keys.iter().map(|key| (*key, Box::new(Line::running(Self::tag(*key))))).collect();
        let hands = keys.iter().take(WRITTEN).copied().collect();
        Built { store: Self(map), keys, absent, hands }
    }

    #[inline(always)]
    fn tag(key: TaskId) -> u64 {
        tag_of(key)
    }

    fn poll<J: Job<Self>>(&self, _: usize, job: J) -> J::Out {
        job.run(|key| self.0.get(&key).map(|line| line.glance()))
    }

    fn write(&self, hand: &mut TaskId, step: Step) {
        if let Some(line) = self.0.get(hand) {
            step_on(line, step);
        }
    }
}
