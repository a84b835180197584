//! Creations, and whole lives: create, ten updates, finish, expire.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inflight_benches::is_smoke;
use inflight_benches::lifecycle::{CHURNINGS, CREATINGS, KEPT_ROUNDS, ROUND};

fn create(criterion: &mut Criterion) {
    let count = if is_smoke() { 1000 } else { 100_000 };
    for threads in [1, 2] {
        let mut group = criterion.benchmark_group("create");
        group.throughput(Throughput::Elements(count as u64));
        for creating in CREATINGS {
            group.bench_function(BenchmarkId::new(creating.name, format!("x{threads}")), |bencher| {
                bencher.iter_custom(|times| {
                    let run = || (creating.run)(threads, count);
                    (0..times)
                        .map(|_| run().unwrap_or_else(|wrong| panic!("{}: {wrong}", creating.name)))
                        .sum()
                });
            });
        }
        group.finish();
    }
}

fn churn(criterion: &mut Criterion) {
    for threads in [1, 2] {
        let mut group = criterion.benchmark_group("churn");
        group.throughput(Throughput::Elements(ROUND as u64));
        for churning in CHURNINGS {
            let mut churn = (churning.make)(threads);
            // Until as many tasks expire as are created.
            churn.rounds(2 * KEPT_ROUNDS).unwrap_or_else(|wrong| panic!("{}: {wrong}", churning.name));
            group.bench_function(BenchmarkId::new(churning.name, format!("x{threads}")), |bencher| {
                bencher.iter_custom(|times| {
                    let rounds = usize::try_from(times).unwrap_or(usize::MAX);
                    churn.rounds(rounds).unwrap_or_else(|wrong| panic!("{}: {wrong}", churning.name))
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

criterion_group! { name = benches; config = config(); targets = create, churn }
criterion_main!(benches);
