//! The dashboard's modules by themselves, in the browser: this file checks their computations, `dashboard.rs`
//! what they show.

use inflight::{NewTask, Store};
use inflight_browser_tests::{Browser, Look, Service};
use inflight_server::Options;
use serde_json::{Value, json};

async fn browser() -> (Service, Browser) {
    let store = Store::builder().capacity(1 << 10).build().expect("a store");
    let service = Service::start(store, Options::default()).await;
    let browser = Browser::start(Look::DESK).await;
    browser.open(&service.url()).await;
    (service, browser)
}

/// Evaluates an expression with a module's exports in `m`.
async fn with(browser: &Browser, module: &str, expression: &str) -> Value {
    browser
        .run(&format!("import('./{module}').then((m) => done({expression})).catch((e) => done(String(e)))"))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_spans_and_versions_are_what_they_should_be() {
    let (_service, browser) = browser().await;
    for (expression, expected) in [
        (
            "[0, 999, 1500, 59_999, 61_000, 3_600_000, 90_061_000, null, NaN].map(m.span)",
            json!(["0 ms", "999 ms", "1.5 s", "59 s", "1 m 01 s", "1 h", "1 d 1 h", "–", "–"]),
        ),
        (
            "[0.07, 0.5, 12.34, 1234, 0.0001, null].map((r) => m.rate(r, 'x'))",
            json!(["4.2/min", "0.5/s", "12/s", "1,234/s", "0.4/h", "–"]),
        ),
        (
            "[512, 1536, 128849018880].map((n) => m.amount(n, 'bytes'))",
            json!(["512 B", "1.5 KiB", "120 GiB"]),
        ),
        (
            "[0, 0.001, 0.0999, 0.5, 0.9999, 1, null].map(m.percent)",
            json!(["0%", "0.1%", "9.9%", "50%", "99%", "100%", "–"]),
        ),
        (
            "[[1e5, 5e4], [5e4, 1e5], [5e4, null]].map(([at, eta]) => m.left({ state: 'running', eta, updated: at }, 120_000))",
            json!(["30 s", "30 s", "–"]),
        ),
        ("m.left({ state: 'running', eta: 1000, updated: 0 }, 120_000)", json!("overdue")),
        (
            "[['1-2-3', '1-2-2'], ['1-10-0', '1-9-ff'], ['a-0-0', 'b-0-0'], ['1-2-3', '1-2-3'], ['2-0-0', '1-ff-ff']].map((p) => m.newer(...p))",
            json!([true, true, false, false, true]),
        ),
        ("m.isolated('plain') + m.isolated('\\u202eturned').length", json!("plain9")),
    ] {
        assert_eq!(with(&browser, "format.js", expression).await, expected, "{expression}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_is_parsed_wherever_it_is_cut() {
    let (_service, browser) = browser().await;
    let read = "(() => {
        const text = ': hi\\n\\nid: 1\\nevent: status\\ndata: {\"a\":1}\\n\\nretry: 40\\rdata: x\\r\\ndata:  y\\r\\n\\r\\nid: 2\\ndata: cut';
        const all = [];
        for (let size = 1; size <= text.length; size += 1) {
            const got = [], position = { id: null, retry: 1 };
            const parser = new m.Parser(position, (name, data) => got.push(`${name} ${data}`));
            for (let at = 0; at < text.length; at += size) parser.feed(text.slice(at, at + size));
            all.push(JSON.stringify([got, position]));
        }
        return [...new Set(all)];
    })()";
    let expected = json!([r#"[["status {\"a\":1}","message x\n y"],{"id":"1","retry":40}]"#]);
    assert_eq!(
        with(&browser, "api.js", read).await,
        expected,
        "the same at each size, and half an event is none"
    );
    let endless = "(() => { const parser = new m.Parser({}, () => {}); let fed = 0;
        try { for (;;) { parser.feed('x'.repeat(1 << 20)); fed += 1; } } catch (error) { return [error.message, fed]; } })()";
    assert_eq!(with(&browser, "api.js", endless).await, json!(["An event is too long.", 8]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_keeps_what_matters_within_its_bound() {
    let (_service, browser) = browser().await;
    let raw = "const raw = (at, status, more = {}) => ({ taskId: String(at), version: `1-${at}-0`, status, kind: 'k', attempt: 1,
        createdAt: `2026-01-01T00:00:0${at}Z`, lastUpdatedAt: '2026-01-01T00:00:09Z', labels: { l: 'v' }, parentId: null,
        cancelRequested: false, progress: { done: 0, total: null, unit: null, fraction: null, rate: null, etaMs: null }, ...more });";
    let run = |body: &str| format!("(() => {{ {raw} const model = new m.Model(3); {body} }})()");
    let bounded = run("for (const [at, state] of [[1, 'succeeded'], [2, 'running'], [3, 'failed'], [4, 'running'], [5, 'failed']]) model.take(raw(at, state));
        return [[...model.tasks.keys()], model.cut, model.counts.running, model.counts.succeeded];");
    assert_eq!(
        with(&browser, "model.js", &bounded).await,
        json!([["2", "3", "4"], true, 2, 0]),
        "the oldest that has ended is removed for a live one, and only for that"
    );
    let versions = run("const said = [raw(1, 'running'), raw(1, 'running'), raw(1, 'failed', { version: '1-0-0' }), raw(1, 'running', { version: '1-2-0' }),
        raw(1, 'running', { version: '1-3-0', statusMessage: 'm' }), raw(1, 'failed', { version: '1-4-0' })].map((one) => model.take(one));
        return [said, model.tasks.get('1').state, model.drop('1'), model.drop('1'), model.rows(new m.Filter(), false).tasks.length];");
    assert_eq!(
        with(&browser, "model.js", &versions).await,
        json!([[3, 0, 0, 1, 2, 3], "failed", true, false, 0])
    );
    let family = run("for (const [at, parent] of [[1, null], [2, '1'], [3, '1']]) model.take(raw(at, 'running', { parentId: parent }));
        const said = [model.childrenOf('1').length]; model.drop('2'); said.push(model.childrenOf('1').length);
        model.drop('3'); said.push(model.childrenOf('1') === undefined, model.childrenOf('9') === undefined); return said;");
    assert_eq!(with(&browser, "model.js", &family).await, json!([2, 1, true, true]));
    // An id that is used again is another task, whatever is said late of the earlier one.
    let reused = run("model.take(raw(1, 'running', { version: '1-9-0' })); model.take(raw(1, 'blocked', { version: '2-1-0', kind: 'other' }));
        return [model.drop('1', '1-9-9'), model.tasks.get('1').kind, model.counts.running, model.counts.blocked, model.drop('1', '2-1-0')];");
    assert_eq!(with(&browser, "model.js", &reused).await, json!([false, "other", 0, 1, true]));
    let loops = run("model.take(raw(1, 'running', { parentId: '2' })); model.take(raw(2, 'running', { parentId: '1' })); model.take(raw(3, 'running', { parentId: '3' }));
        return model.rows(new m.Filter({ kind: 'k' }), true, () => true).tasks.length;");
    let shown = with(&browser, "model.js", &loops).await;
    assert!(shown.is_number(), "a cycle of parents does not hang the page: {shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_larger_than_the_page_is_filtered_by_the_service() {
    let (service, browser) = browser().await;
    let mut live = Vec::new();
    for at in 0..60 {
        let kind = if at % 20 == 0 { "rare" } else { "common" };
        let mut task = service.store.create(NewTask::new(kind)).expect("the store is not full");
        if at % 3 == 0 {
            live.push(task);
        } else {
            task.start().expect("pending");
            task.succeed(()).expect("it ends");
        }
    }
    browser.open(&format!("{}?keep=30", service.url())).await;
    browser
        .until("document.querySelector('#foot').textContent.startsWith('30 tasks; the store has 60')")
        .await;
    // Live tasks are kept before ended ones.
    assert_eq!(browser.text(".tile[data-tone=pending] .number").await, "20");
    let pending = "[...document.querySelectorAll('.row:not([hidden])')].filter((row) => row.dataset.tone === 'pending').length";
    browser.until(&format!("{pending} >= 10")).await;
    browser.type_into("#label", "no=such").await;
    browser.until("document.querySelector('#empty h2')?.textContent === 'No task matches'").await;
    browser.click("#clear").await;
    browser
        .until("document.querySelector('#foot').textContent.startsWith('30 tasks; the store has 60')")
        .await;
    browser.click("#kind option[value=rare]").await;
    browser.until("document.querySelectorAll('.row:not([hidden])').length === 3").await;
    live.clear();
    browser.until("document.querySelector('.tile[data-tone=pending] .number').textContent === '0'").await;
    assert_eq!(browser.errors().await, Vec::<String>::new());
}
