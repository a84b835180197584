//! Polls by minted id, by a client's UUID and by handle, next to the peers and the floors.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use inflight_benches::keys::{Spread, stream_length, streams};
use inflight_benches::subject::{Contender, Plan, Writer, contenders};
use inflight_benches::{floors, is_smoke, maps, ours, slabs};

fn all(tasks: usize) -> Vec<Box<dyn Contender>> {
    [
        contenders::<ours::ById>(tasks),
        contenders::<ours::ByUuid>(tasks),
        contenders::<ours::ByHandle>(tasks),
        contenders::<maps::Locked>(tasks),
        contenders::<maps::ReadLocked>(tasks),
        contenders::<maps::Dashed>(tasks),
        contenders::<maps::Papaya>(tasks),
        contenders::<maps::Scc>(tasks),
        contenders::<slabs::Resolver>(tasks),
        contenders::<slabs::Sharded>(tasks),
        contenders::<floors::BareLine>(tasks),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn poll(criterion: &mut Criterion) {
    let sizes: &[usize] = if is_smoke() { &[1000] } else { &[1000, 100_000, 1_000_000] };
    for tasks in sizes {
        let mut contenders = all(*tasks);
        for (spread, threads) in [(Spread::Uniform, 1), (Spread::Uniform, 2), (Spread::Hot, 2)] {
            let mut group = criterion.benchmark_group(format!("poll/{}/x{threads}", spread.word()));
            let streams = streams(spread, *tasks, stream_length(*tasks), threads);
            for contender in &mut contenders {
                contender.prepare(&streams, true);
                group.bench_function(BenchmarkId::new(contender.name(), tasks), |bencher| {
                    bencher.iter_custom(|times| time(&**contender, times));
                });
            }
            group.finish();
        }
    }
}

/// The time of so many polls; of more polls, if that is less than the harness's least number.
fn time(contender: &dyn Contender, times: u64) -> Duration {
    let ops = usize::try_from(times).unwrap_or(usize::MAX).max(1024);
    let plan = Plan { hits: true, writer: Writer::None, written: 0, ops, from: 0 };
    let elapsed = contender.run(&plan).unwrap_or_else(|wrong| panic!("{}: {wrong}", contender.name()));
    elapsed.mul_f64(times as f64 / ops as f64)
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = config(); targets = poll }
criterion_main!(benches);
