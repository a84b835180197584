//! Runs the scenarios under shuttle, at random and by PCT:
//!
//! ```text
//! shuttle [SCHEDULES] [SEED]               that many schedules in all
//! shuttle only NAME SCHEDULES SEED         that many of one scenario
//! shuttle seed NAME random|pct SEED        one batch again, as a failure printed it
//! shuttle replay NAME SCHEDULE             one schedule again, as a failure printed it
//! ```
//!
//! Built with `RUSTFLAGS="--cfg inflight_shuttle"`; see `ci/shuttle.sh`.

#[cfg(not(inflight_shuttle))]
fn main() -> std::process::ExitCode {
    eprintln!("built without --cfg inflight_shuttle: use ci/shuttle.sh");
    std::process::ExitCode::from(2)
}

#[cfg(inflight_shuttle)]
fn main() -> std::process::ExitCode {
    run::main()
}

#[cfg(inflight_shuttle)]
mod run {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::ExitCode;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use inflight_proofs::scenarios::{SCENARIOS, Scenario};
    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

    /// How many schedules share one seed. PCT needs several, to learn how long they are.
    const BATCH: usize = 200;

    /// How many preemptions PCT places.
    const DEPTH: usize = 3;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum How {
        Random,
        Pct,
    }

    fn config() -> Config {
        let mut config = Config::new();
        config.stack_size = 0x4_0000;
        config.failure_persistence = FailurePersistence::Print;
        config.max_steps = MaxSteps::FailAfter(200_000);
        config.silence_warnings = true;
        config
    }

    /// Runs one batch; returns the number of its schedules, or `None` if one failed.
    fn batch(scenario: Scenario, how: How, seed: u64) -> Option<usize> {
        let run = || match how {
            How::Random => {
                Runner::new(RandomScheduler::new_from_seed(seed, BATCH), config()).run(scenario.run)
            }
            How::Pct => {
                Runner::new(PctScheduler::new_from_seed(seed, DEPTH, BATCH), config()).run(scenario.run)
            }
        };
        let ran = catch_unwind(AssertUnwindSafe(run)).ok();
        if ran.is_none() {
            let how = if how == How::Random { "random" } else { "pct" };
            println!(
                "FAILED: {} ({}); again: ci/shuttle.sh seed {0} {how} {seed}",
                scenario.name, scenario.about
            );
        }
        ran
    }

    /// Runs all batches of one scenario, half of them at random and half by PCT; `None` if one failed.
    fn whole(scenario: Scenario, batches: u64, seed: u64) -> Option<usize> {
        (0..batches)
            .flat_map(|number| [(How::Random, seed + number), (How::Pct, seed + number)])
            .try_fold(0, |all, (how, seed)| Some(all + batch(scenario, how, seed)?))
    }

    fn all(scenarios: &[Scenario], schedules: u64, seed: u64) -> ExitCode {
        let began = Instant::now();
        let batches = schedules.div_ceil(2 * BATCH as u64 * scenarios.len() as u64);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = (0, 0);
            // SeqCst: it hands out scenarios.
            while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::SeqCst)) {
                let began = Instant::now();
                match whole(*scenario, batches, seed) {
                    Some(ran) => {
                        let Scenario { name, about, .. } = scenario;
                        let seconds = began.elapsed().as_secs_f64();
                        println!("{name:18} {about:12} {ran:7} schedules in {seconds:5.1} s");
                        done.0 += ran;
                    }
                    None => done.1 += 1,
                }
            }
            done
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (ran, failed) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().fold((0, 0), |(ran, failed), thread| {
                let done = thread.join().unwrap_or((0, 1));
                (ran + done.0, failed + done.1)
            })
        });
        println!(
            "summary: scenarios={} schedules={ran} failed={failed} seed={seed} seconds={:.1}",
            scenarios.len(),
            began.elapsed().as_secs_f64()
        );
        if failed == 0 && ran as u64 >= schedules { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn named(name: &str) -> Option<Scenario> {
        SCENARIOS.into_iter().find(|scenario| scenario.name == name)
    }

    pub(crate) fn main() -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let number = |text: &str| text.parse::<u64>().ok();
        let code = match arguments[..] {
            [] => Some(all(&SCENARIOS, 20_000, 1)),
            [schedules] => number(schedules).map(|schedules| all(&SCENARIOS, schedules, 1)),
            [schedules, seed] => {
                number(schedules).zip(number(seed)).map(|(schedules, seed)| all(&SCENARIOS, schedules, seed))
            }
            ["only", name, schedules, seed] => named(name)
                .zip(number(schedules).zip(number(seed)))
                .map(|(scenario, (schedules, seed))| all(&[scenario], schedules, seed)),
            ["replay", name, schedule] => named(name).map(|scenario| {
                shuttle::replay(scenario.run, schedule);
                println!("{name}: this schedule does not fail");
                ExitCode::SUCCESS
            }),
            ["seed", name, how, seed] => named(name).zip(number(seed)).map(|(scenario, seed)| {
                let how = if how == "pct" { How::Pct } else { How::Random };
                if batch(scenario, how, seed).is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }),
            _ => None,
        };
        code.unwrap_or_else(|| {
            eprintln!("usage: shuttle [SCHEDULES] [SEED] | only NAME SCHEDULES SEED | seed NAME random|pct SEED | replay NAME SCHEDULE");
            ExitCode::from(2)
        })
    }
}
