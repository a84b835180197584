//! Increments by the exclusive handle and by shared ones, next to other counters.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use inflight_benches::advance::{COUNTINGS, count};

fn update(criterion: &mut Criterion) {
    for (name, threads, one) in [("own task", 1, false), ("own task", 2, false), ("one task", 2, true)] {
        let mut group = criterion.benchmark_group(format!("update/{name}"));
        for counting in COUNTINGS.iter().filter(|counting| counting.is_shared || !one) {
            let mut holds = (counting.make)(threads, one);
            group.bench_function(BenchmarkId::new(counting.name, format!("x{threads}")), |bencher| {
                bencher.iter_custom(|times| {
                    let times = usize::try_from(times).unwrap_or(usize::MAX);
                    count(&mut holds, one, times).unwrap_or_else(|wrong| panic!("{}: {wrong}", counting.name))
                });
            });
        }
        group.finish();
    }
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = config(); targets = update }
criterion_main!(benches);
