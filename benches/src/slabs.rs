//! Peers whose key is an address: slabs with generations. Their keys have 8 bytes and are not UUIDs.

use std::sync::Arc;

use idr_ebr::{EbrGuard, Idr};
use sharded_slab::Slab;

use crate::maps::step_on;
use crate::payload::{Line, PeerVersion};
use crate::subject::{Built, Job, Role, Step, Subject, WRITTEN};

/// `idr_ebr::Idr<Arc<Line>>`, guarded for each poll or once: the most similar design.
pub struct Resolver(Idr<Arc<Line>>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Resolver").finish_non_exhaustive()
    }
}

impl Subject for Resolver {
    type Key = idr_ebr::Key;
    type Version = PeerVersion;
    type Hand = Arc<Line>;
    const ROLE: Role = Role::Slab;
    const MODES: &'static [&'static str] = &["idr-ebr", "idr-ebr, guarded once"];

    fn build(tasks: usize) -> Built<Self> {
        let idr = Idr::default();
        let gone: Vec<_> = (0..tasks.min(1 << 17)).filter_map(|_| idr.insert(Arc::default())).collect();
        gone.iter().for_each(|key| assert!(idr.remove(*key), "it was inserted"));
        let (mut keys, mut hands) = (Vec::with_capacity(tasks), Vec::new());
        for _ in 0..tasks {
            let place = idr.vacant_entry().expect("the slab is not full");
            let line = Arc::new(Line::running(Self::tag(place.key())));
            if hands.len() < WRITTEN {
                hands.push(Arc::clone(&line));
            }
            keys.push(place.key());
            place.insert(line);
        }
        Built { store: Self(idr), keys, absent: gone, hands }
    }

    #[inline(always)]
    fn tag(key: idr_ebr::Key) -> u64 {
        u64::from(key)
    }

    fn poll<J: Job<Self>>(&self, mode: usize, job: J) -> J::Out {
        if mode == 0 {
            return job.run(|key| self.0.get(key, &EbrGuard::new()).map(|line| line.read()));
        }
        let guard = EbrGuard::new();
        job.run(|key| self.0.get(key, &guard).map(|line| line.read()))
    }

    fn write(&self, hand: &mut Arc<Line>, step: Step) {
        step_on(hand, step);
    }
}

/// `sharded_slab::Slab<Arc<Line>>`.
#[derive(Debug)]
pub struct Sharded(Slab<Arc<Line>>);

impl Subject for Sharded {
    type Key = usize;
    type Version = PeerVersion;
    type Hand = Arc<Line>;
    const ROLE: Role = Role::Slab;
    const MODES: &'static [&'static str] = &["sharded-slab"];

    fn build(tasks: usize) -> Built<Self> {
        let slab = Slab::new();
        let gone: Vec<_> = (0..tasks.min(1 << 17)).filter_map(|_| slab.insert(Arc::default())).collect();
        gone.iter().for_each(|key| assert!(slab.remove(*key), "it was inserted"));
        let (mut keys, mut hands) = (Vec::with_capacity(tasks), Vec::new());
        for _ in 0..tasks {
            let place = slab.vacant_entry().expect("the slab is not full");
            let key = place.key();
            let line = Arc::new(Line::running(Self::tag(key)));
            if hands.len() < WRITTEN {
                hands.push(Arc::clone(&line));
            }
            keys.push(key);
            place.insert(line);
        }
        Built { store: Self(slab), keys, absent: gone, hands }
    }

    #[inline(always)]
    fn tag(key: usize) -> u64 {
        key as u64
    }

    fn poll<J: Job<Self>>(&self, _: usize, job: J) -> J::Out {
        job.run(|key| self.0.get(key).map(|line| line.read()))
    }

    fn write(&self, hand: &mut Arc<Line>, step: Step) {
        step_on(hand, step);
    }
}
