//! 100,000 tasks: the page holds a screenful of rows, continues to show changes, and stays smooth. The
//! smoothness is printed, not judged, because the machine is shared.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use inflight::{NewTask, Store, Task};
use inflight_browser_tests::{Browser, Look, Service};
use inflight_server::Options;

const TASKS: usize = 100_000;

/// Fills a store: a tenth of the tasks run, the others have ended or are pending.
fn fill() -> (Store, Vec<Task>) {
    let store = Store::builder().capacity(1 << 17).build().expect("a store");
    let mut live = Vec::new();
    let kinds = ["index", "thumbnail", "send-mail", "transcode", "report"];
    for at in 0..TASKS {
        let new =
            NewTask::new(kinds[at % 5]).total(1000).unit("items").label("tenant", format!("t{}", at % 40));
        let mut task = store.create(new).expect("the store is not full");
        if at % 10 < 6 {
            task.start().expect("pending");
        }
        match at % 10 {
            0..4 => drop(task.succeed(())),
            4 => drop(task.fail(inflight::FailureReason::Error, "no")),
            5 | 6 => live.push(task),
            _ => live.push(task),
        }
    }
    (store, live)
}

/// Scrolls through the whole list for three seconds and returns the times between frames, sorted.
const SCROLL: &str = "const list = document.querySelector('#list'), gaps = [], begun = performance.now(), end = list.scrollHeight;
    let before = begun;
    (function step(now) {
        gaps.push(now - before); before = now;
        const share = (now - begun) / 3000;
        if (share >= 1) return done(gaps.slice(1).sort((a, b) => a - b));
        // Fast most of the time, slow at times, as a user does.
        list.scrollTop = end * (share < 0.5 ? share : 0.5 + (share - 0.5) / 100);
        requestAnimationFrame(step);
    })(begun);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_tasks_are_a_screenful_of_rows() {
    let (store, mut live) = fill();
    let service = Service::start(store.clone(), Options::default()).await;
    let browser = Browser::start(Look::DESK).await;
    let begun = std::time::Instant::now();
    browser.open(&service.url()).await;
    browser.until("document.querySelector('.row:not([hidden])')").await;
    let first = begun.elapsed();
    browser.until("document.querySelector('#foot').textContent === '100,000 tasks'").await;
    let all = begun.elapsed();

    // Two thousand tasks change each tenth of a second, all the time.
    let going = tokio::task::spawn_blocking({
        let store = store.clone();
        move || {
            let until = std::time::Instant::now() + std::time::Duration::from_secs(6);
            let mut rounds = 0;
            while std::time::Instant::now() < until {
                for task in live.iter_mut().skip(rounds % 10 * 2000).take(2000) {
                    if task.advance(1).is_err() {
                        let _ = task.set_message("soon");
                    }
                }
                rounds += 1;
                std::thread::park_timeout(std::time::Duration::from_millis(100));
            }
            (live, store.counts())
        }
    });
    let before = spent(&browser).await;
    let gaps = browser.run(SCROLL).await;
    let work = spent(&browser)
        .await
        .into_iter()
        .zip(before)
        .map(|((name, after), (_, before))| format!("{name} {:.2} s", after - before));
    let work = work.collect::<Vec<_>>().join(", ");
    let gaps: Vec<f64> =
        gaps.as_array().expect("gaps").iter().filter_map(serde_json::Value::as_f64).collect();
    let at = |share: f64| gaps[((gaps.len() - 1) as f64 * share) as usize];
    let rows = browser.eval("document.querySelectorAll('.row').length").await.as_u64().expect("a number");
    let elements = browser.eval("document.querySelectorAll('*').length").await.as_u64().expect("a number");
    assert!(rows < 60, "{rows} rows for a screen of 900 pixels");
    assert!(elements < 2_000, "{elements} elements");
    let updates = browser.until("document.querySelector('#pulse').textContent").await;
    browser.screenshot("many").await;

    // Meanwhile the rows are the right ones: each shows the task that belongs there.
    browser.until("(() => {
        const list = document.querySelector('#list').getBoundingClientRect();
        const seen = [...document.querySelectorAll('.row:not([hidden])')].map((row) => row.getBoundingClientRect())
            .filter((row) => row.bottom > list.top && row.top < list.bottom).map((row) => row.top).sort((a, b) => a - b);
        return seen.length > 8 && seen.every((top, at) => at === 0 || Math.abs(top - seen[at - 1] - 56) < 1);
    })()").await;

    let filtering = std::time::Instant::now();
    browser.eval("document.querySelector('#q').focus()").await;
    browser.type_into("#q", "transcode").await;
    browser.until("document.querySelector('#foot').textContent === '20,000 of 100,000 tasks'").await;
    let filtered = filtering.elapsed();
    browser.eval("window.gc && gc()").await;
    let heap = browser.eval("Math.round(performance.memory.usedJSHeapSize / 1048576)").await;
    let (live, _) = going.await.expect("no panic");
    drop(live);
    println!(
        "100,000 tasks: first rows after {first:?}, all after {all:?}; scrolling for 3 s with {updates}: {work}; {} frames, gaps p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, worst {:.1} ms; a filter after {filtered:?}; heap {heap} MiB; {elements} elements",
        gaps.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    // All live tasks are lost with their handles: this is shown, too, although it is many at once.
    browser.until("document.querySelector('.tile[data-tone=running] .number').textContent === '0'").await;
    assert_eq!(browser.errors().await, Vec::<String>::new());
}

/// How long the page's thread was busy with what, in seconds.
async fn spent(browser: &Browser) -> Vec<(String, f64)> {
    browser.devtools("Performance.enable", serde_json::json!({})).await;
    let metrics = browser.devtools("Performance.getMetrics", serde_json::json!({})).await;
    let seconds =
        |metric: &serde_json::Value| Some((metric["name"].as_str()?.to_owned(), metric["value"].as_f64()?));
    let all = metrics["metrics"].as_array().into_iter().flatten().filter_map(seconds);
    all.filter(|(name, _)| {
        ["ScriptDuration", "LayoutDuration", "RecalcStyleDuration", "TaskDuration"].contains(&name.as_str())
    })
    .collect()
}
