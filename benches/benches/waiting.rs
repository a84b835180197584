//! Waiters and the change feed: an end and its waiters next to `tokio::sync::watch`, ticks with watchers, and
//! drains.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use inflight_benches::is_smoke;
use inflight_benches::upkeep::Stored;
use inflight_benches::waiting::{Channel, Ending, Ours, Until, time};

fn ends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("end to read");
    for waiters in [1, 1000] {
        let mut bench = |name: &str, time: &dyn Fn(usize) -> Result<Duration, String>| {
            group.bench_function(BenchmarkId::new(name, waiters), |bencher| {
                bencher.iter_custom(|times| {
                    let ends = usize::try_from(times).unwrap_or(usize::MAX);
                    time(ends).unwrap_or_else(|wrong| panic!("{name}: {wrong}"))
                });
            });
        };
        let ours = Ours::new(4096);
        bench("inflight", &|ends| read(&ours, waiters, ends));
        bench("tokio watch", &|ends| read(&Channel, waiters, ends));
    }
    group.finish();
}

fn read<E: Ending>(subject: &E, waiters: usize, ends: usize) -> Result<Duration, String> {
    time(subject, waiters, Until::Read, ends)
}

fn ticks(criterion: &mut Criterion) {
    let (watched, changes): (usize, &[usize]) =
        if is_smoke() { (500, &[50]) } else { (100_000, &[0, 1000, 10_000]) };
    let mut stored = Stored::new(watched, 16);
    let (mut watchers, bell) = stored.watch();
    let mut group = criterion.benchmark_group(format!("tick, {watched} watched"));
    for changed in changes {
        group.bench_function(BenchmarkId::new("changed", changed), |bencher| {
            bencher.iter_custom(|times| {
                let mut tick = || stored.time_tick(&mut watchers, &bell, *changed);
                (0..times).map(|_| tick().unwrap_or_else(|wrong| panic!("{wrong}"))).sum()
            });
        });
    }
    group.finish();
}

fn feed(criterion: &mut Criterion) {
    let (live, changes): (usize, &[usize]) =
        if is_smoke() { (1000, &[100]) } else { (1_000_000, &[1000, 10_000, 100_000]) };
    let mut stored = Stored::new(live, 16);
    let mut reader = stored.reader();
    let mut group = criterion.benchmark_group(format!("drain, {live} stored"));
    for changed in changes {
        group.bench_function(BenchmarkId::new("changed", changed), |bencher| {
            bencher.iter_custom(|times| {
                let mut drain = || stored.time_drain(&mut reader, *changed);
                (0..times).map(|_| drain().unwrap_or_else(|wrong| panic!("{wrong}"))).sum()
            });
        });
    }
    group.finish();
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = config(); targets = ends, ticks, feed }
criterion_main!(benches);
