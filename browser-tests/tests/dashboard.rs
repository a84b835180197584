//! The dashboard in a real browser: it is live, filters, is used by keyboard, shows one task, cancels, stays
//! safe with hostile data, reconnects, and is readable.

use std::time::Duration;

use inflight::{FailureReason, NewTask, Payload, State, Store, TaskId};
use inflight_browser_tests::{Browser, Look, Scene, Service};
use inflight_server::{Access, Options};
use serde_json::{Value, json};

/// Keys, as WebDriver names them.
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const UP: &str = "\u{e013}";
const DOWN: &str = "\u{e015}";
const LEFT: &str = "\u{e012}";
const RIGHT: &str = "\u{e014}";
const HOME: &str = "\u{e011}";
const END: &str = "\u{e010}";

fn store() -> Store {
    Store::builder().capacity(1 << 10).build().expect("a store")
}

/// Opens the dashboard of `service` in a browser, and waits until it is live.
async fn open(service: &Service, hash: &str, look: Look) -> Browser {
    let browser = Browser::start(look).await;
    browser.open(&format!("{}{hash}", service.url())).await;
    browser.until("document.querySelector('#link').dataset.state === 'live'").await;
    browser
}

/// The kinds of the visible rows, from top to bottom.
const KINDS: &str = "[...document.querySelectorAll('.row:not([hidden])')]
    .sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'))
    .map((row) => row.querySelector('.kind b').textContent).join(' ')";

async fn until_kinds(browser: &Browser, kinds: &str) {
    browser.until(&format!("{KINDS} === {}", json!(kinds))).await;
}

fn count_is(state: &str, count: u32) -> String {
    format!("document.querySelector('.tile[data-tone={state}] .number').textContent === '{count}'")
}

async fn no_errors(browser: &Browser) {
    assert_eq!(browser.errors().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_seen_without_a_reload() {
    let service = Service::start(store(), Options::default()).await;
    let browser = open(&service, "", Look::DESK).await;
    browser
        .until("document.querySelector('#empty pre')?.textContent.startsWith('curl http://127.0.0.1:')")
        .await;
    browser.eval("window.marker = 'the same page'").await;

    let new = NewTask::new("index").total(40).unit("pages").label("tenant", "acme");
    let mut task = service.store.create(new).expect("the store is not full");
    until_kinds(&browser, "index").await;
    browser.until(&count_is("pending", 1)).await;
    task.start().expect("pending");
    let _ = task.advance(10);
    task.set_message("embedding").expect("short");
    browser.until(&count_is("running", 1)).await;
    browser.until("document.querySelector('.row .says').textContent === '10 / 40 pages25%'").await;
    browser.until("document.querySelector('.row .message').textContent === 'embedding'").await;
    browser.until("document.querySelector('.row .bar i').style.transform === 'scaleX(0.25)'").await;
    browser.until("/^[0-9.,]+\\/s$/.test(document.querySelector('.row .rate').textContent)").await;

    task.succeed(()).expect("it ends");
    browser.until(&count_is("succeeded", 1)).await;
    browser.until("document.querySelector('.row').dataset.tone === 'succeeded'").await;
    assert!(service.store.remove(task.id()).is_ok(), "it has ended");
    until_kinds(&browser, "").await;
    browser.until(&count_is("succeeded", 0)).await;
    assert_eq!(browser.eval("window.marker").await, "the same page");
    no_errors(&browser).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filters_filter_and_the_address_says_which() {
    let service = Service::start(store(), Options::default()).await;
    let make = |kind: &'static str, tenant: &str| {
        service.store.create(NewTask::new(kind).label("tenant", tenant)).expect("the store is not full")
    };
    let (mut one, _two, mut three) = (make("index", "acme"), make("index", "globex"), make("mail", "acme"));
    one.start().expect("pending");
    three.start().expect("pending");
    three.set_message("to Zoë & friends").expect("short");
    let browser = open(&service, "", Look::DESK).await;
    until_kinds(&browser, "mail index index").await;

    browser.click(".tile[data-tone=running]").await;
    until_kinds(&browser, "mail index").await;
    assert_eq!(browser.eval("location.hash").await, "#/?state=running");
    assert_eq!(browser.eval("document.querySelector('.tile[data-tone=running]').ariaPressed").await, "true");
    browser.click("#kind option[value=index]").await;
    until_kinds(&browser, "index").await;
    browser.until("document.querySelector('#foot').textContent === '1 of 3 tasks'").await;
    browser.click("#clear").await;
    until_kinds(&browser, "mail index index").await;

    browser.type_into("#label", "tenant=acme").await;
    until_kinds(&browser, "mail index").await;
    browser.type_into("#q", "ZOË &").await;
    until_kinds(&browser, "mail").await;
    let hash = browser.eval("location.hash").await;
    assert_eq!(hash, "#/?label=tenant%3Dacme&q=ZO%C3%8B+%26");

    // The address alone leads to the same view; and a new task that matches appears.
    let again = open(&service, hash.as_str().expect("text"), Look::DESK).await;
    until_kinds(&again, "mail").await;
    one.set_message("also to zoë & co").expect("short");
    until_kinds(&again, "mail index").await;
    assert_eq!(again.eval("document.querySelector('#label').value").await, "tenant=acme");

    again.type_into("#q", "nothing like that").await;
    again.until("document.querySelector('#empty h2')?.textContent === 'No task matches'").await;
    again.click("#empty button").await;
    until_kinds(&again, "mail index index").await;
    no_errors(&again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_it_can_be_done_by_keyboard() {
    let service = Service::start(store(), Options::default()).await;
    let parent = service.store.create(NewTask::new("batch")).expect("the store is not full");
    let child = |kind: &'static str| {
        service.store.create(NewTask::new(kind).parent(parent.id())).expect("the store is not full")
    };
    let _children = [child("one"), child("two"), child("three")];
    let browser = open(&service, "", Look::DESK).await;
    until_kinds(&browser, "three two one batch").await;
    let chosen = "document.querySelector('.row.chosen .kind b')?.textContent";

    browser.keys(&[HOME]).await;
    browser.until(&format!("{chosen} === 'three'")).await;
    browser.keys(&[DOWN, "j", UP]).await;
    browser.until(&format!("{chosen} === 'two'")).await;
    let active =
        "document.getElementById(document.querySelector('#list').getAttribute('aria-activedescendant'))";
    browser.until(&format!("{active}?.getAttribute('aria-rowindex') === '2'")).await;
    browser.keys(&[END]).await;
    browser.until(&format!("{chosen} === 'batch'")).await;
    browser.keys(&[ENTER]).await;
    browser.until("document.querySelector('#task h2')?.textContent === 'batch'").await;
    assert_eq!(browser.eval("location.hash").await, json!(format!("#/tasks/{}", parent.id())));
    browser.keys(&[ESCAPE]).await;
    browser.until("document.querySelector('#task').hidden && document.activeElement.id === 'list'").await;

    browser.keys(&["t"]).await;
    until_kinds(&browser, "batch").await;
    browser.keys(&[HOME, RIGHT]).await;
    until_kinds(&browser, "batch one two three").await;
    assert_eq!(browser.eval("document.querySelector('.row.chosen').ariaExpanded").await, "true");
    browser.keys(&[DOWN, DOWN, LEFT]).await;
    browser.until(&format!("{chosen} === 'batch'")).await;
    browser.keys(&[LEFT]).await;
    until_kinds(&browser, "batch").await;

    browser.keys(&["/"]).await;
    browser.until("document.activeElement.id === 'q'").await;
    // In a text field, letters are letters.
    browser.keys(&["t", "w", "o"]).await;
    until_kinds(&browser, "batch two").await;
    browser.keys(&[ESCAPE, ESCAPE, "t", "2"]).await;
    until_kinds(&browser, "").await;
    browser.keys(&["2", "?"]).await;
    browser.until("document.querySelector('#help-dialog').open").await;
    browser.screenshot("help").await;
    browser.keys(&[ESCAPE]).await;
    browser.until("!document.querySelector('#help-dialog').open").await;
    until_kinds(&browser, "three two one batch").await;
    no_errors(&browser).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tasks_page_has_its_life_and_its_result() {
    let service = Service::start(store(), Options::default()).await;
    let parent = service.store.create(NewTask::new("batch")).expect("the store is not full");
    let new = NewTask::new("index").total(4).unit("pages").parent(parent.id()).label("tenant", "acme");
    let mut task = service.store.create(new).expect("the store is not full");
    task.start().expect("pending");
    let browser = open(&service, &format!("#/tasks/{}", task.id()), Look::DESK).await;
    // A button must not disappear during a click: it stays the same element however often the rest is drawn
    // again.
    browser.until("document.querySelector('.timeline') && (window.closer = document.querySelector('#task [data-act=close]'))").await;
    let steps =
        "[...document.querySelectorAll('.timeline li > span')].map((step) => step.textContent).join(', ')";
    browser.until(&format!("{steps} === 'Created, Started'")).await;
    browser.until("document.querySelector('.row.chosen .kind b')?.textContent === 'index' && document.title === 'index · inflight'").await;
    let _ = task.advance(3);
    browser.until("document.querySelector('#task .big').textContent === '75%3 / 4 pages'").await;
    browser.until("document.querySelector('#task [role=progressbar]').ariaValueNow === '75'").await;
    assert_eq!(browser.eval("window.closer.isConnected").await, true);
    task.block().expect("running");
    browser.until(&format!("{steps} === 'Created, Started, Blocked'")).await;
    task.resume().expect("blocked");
    task.set_message("the last page").expect("short");
    browser.until(&format!("{steps}.endsWith('Message')")).await;
    let result = br#"{"pages":[1,2,3,4],"note":"<b>fine</b>"}"#;
    task.succeed(Payload::new("application/json", result.to_vec())).expect("it ends");
    browser.until(&format!("{steps}.endsWith('Succeeded')")).await;
    browser.until("document.querySelector('#outcome h3').textContent === 'Result'").await;
    let shown: Value = serde_json::from_str(&browser.text("#outcome pre").await).expect("JSON as it was");
    assert_eq!(shown, serde_json::from_slice::<Value>(result).expect("JSON"));
    assert_eq!(
        browser.eval("document.querySelector('#cancel')").await,
        Value::Null,
        "nothing left to cancel"
    );

    browser.click("#task .kin button").await;
    browser.until("document.querySelector('#task h2')?.textContent === 'batch'").await;
    browser.until("document.querySelector('#task .kin button').textContent.startsWith('index')").await;
    browser.eval("history.back()").await;
    browser.until("document.querySelector('#task h2')?.textContent === 'index'").await;

    assert!(service.store.remove(task.id()).is_ok(), "it has ended");
    browser.open(&format!("{}#/tasks/{}", service.url(), TaskId::from_u128(7))).await;
    browser.until("document.querySelector('#task h2')?.textContent === 'No such task'").await;
    browser.open(&format!("{}#/tasks/{}", service.url(), task.id())).await;
    browser.until("document.querySelector('#task section')?.textContent.includes('gone (removed)')").await;
    no_errors(&browser).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_cancelled_after_a_question() {
    let service = Service::start(store(), Options::default()).await;
    let mut running = service.store.create(NewTask::new("running")).expect("the store is not full");
    running.start().expect("pending");
    let pending = service.store.create(NewTask::new("pending")).expect("the store is not full");
    let browser = open(&service, &format!("#/tasks/{}", running.id()), Look::DESK).await;

    browser.click("#cancel").await;
    browser.until("document.querySelector('#cancel-dialog').open").await;
    assert!(browser.text("#cancel-hint").await.contains("decides when"));
    browser.click("#cancel-no").await;
    browser.until("!document.querySelector('#cancel-dialog').open").await;
    assert!(!running.cancel_requested(), "cancellation was not requested yet");
    browser.click("#cancel").await;
    browser.click("#cancel-yes").await;
    browser.until("document.querySelector('#cancel')?.disabled").await;
    assert!(running.cancel_requested());
    assert_eq!(service.store.get(running.id()).expect("there").state(), State::Running);
    browser
        .until("document.querySelector('.row[data-tone=running] .flag').textContent === 'cancelling'")
        .await;
    running.cancel().expect("the worker agrees");
    browser.until("document.querySelector('#task .state').textContent === 'Cancelled'").await;

    // A task that has ended is not cancelled again, and the page says why nothing happens.
    browser.keys(&["x"]).await;
    browser
        .until("document.querySelector('#toast').textContent === 'The task has ended: it is cancelled.'")
        .await;
    // The other one by keyboard, when the list shows the same as the task's page. It has no worker, so it is
    // cancelled at once.
    until_kinds(&browser, "pending running").await;
    browser.keys(&[ESCAPE, HOME, "x"]).await;
    browser.until("document.querySelector('#cancel-dialog').open").await;
    assert!(browser.text("#cancel-hint").await.contains("at once"));
    browser.click("#cancel-yes").await;
    browser.until(&count_is("cancelled", 2)).await;
    assert_eq!(service.store.get(pending.id()).expect("there").state(), State::Cancelled);
    no_errors(&browser).await;
}

/// Each of these would become visible if it were ever treated as markup or as code.
const HOSTILE: [&str; 6] = [
    "<img src=x onerror=\"window.pwned=1\">",
    "<script>window.pwned=2</script>",
    "\"><svg onload=window.pwned=3>",
    "javascript:window.pwned=4//",
    "</pre></title><iframe srcdoc='<script>parent.pwned=5</script>'></iframe>",
    "\u{202e}${window.pwned=6}{{constructor.constructor('pwned=7')()}}\u{0}",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_kinds_labels_messages_and_results_are_text() {
    let service = Service::start(store(), Options::default()).await;
    let mut kept = Vec::new();
    for text in HOSTILE {
        let new = NewTask::new(text).unit(text.get(..20).unwrap_or("u")).label(text, text).total(3);
        let mut task = service.store.create(new).expect("the store is not full");
        task.start().expect("pending");
        task.set_message(text).expect("short");
        let _ = task.advance(1);
        kept.push(task);
    }
    let long = "W".repeat(128);
    let mut failed = service
        .store
        .create(NewTask::new(long.clone()).label(long.clone(), "x".repeat(256)))
        .expect("the store is not full");
    failed.start().expect("pending");
    failed.set_message("no-break".repeat(500)).expect("short");
    failed.fail(FailureReason::Error, Payload::from(HOSTILE.join("\n"))).expect("it ends");

    let browser = open(&service, "", Look::DESK).await;
    browser.until("document.querySelectorAll('.row:not([hidden])').length === 7").await;
    let kinds = browser
        .eval("[...document.querySelectorAll('.row:not([hidden]) .kind b')].map((b) => b.textContent)")
        .await;
    for text in HOSTILE {
        assert!(kinds.as_array().is_some_and(|kinds| kinds.contains(&json!(text))), "{text:?} in {kinds}");
    }
    for task in kept.iter().map(inflight::Task::id).chain([failed.id()]) {
        browser.eval(&format!("location.hash = '#/tasks/{task}'")).await;
        browser.until(&format!("document.querySelector('#task .id')?.textContent === '{task}' && document.querySelector('.timeline')")).await;
        browser.until(&format!("!document.querySelector('#task h2').textContent.startsWith('{}') || document.querySelector('#outcome')", "WWW")).await;
    }
    assert_eq!(browser.text("#outcome pre").await, HOSTILE.join("\n"));
    browser.screenshot("hostile").await;
    for strange in [
        "img:not([src='icon.svg'])",
        "iframe",
        "script:not([src='main.js'])",
        "[onerror]",
        "[onload]",
        "[style*=url]",
    ] {
        let found = browser.eval(&format!("document.querySelectorAll({}).length", json!(strange))).await;
        assert_eq!(found, 0, "{strange}");
    }
    assert_eq!(browser.eval("window.pwned ?? null").await, Value::Null);
    let wide = browser.eval("document.documentElement.scrollWidth <= innerWidth && document.querySelector('#task').scrollWidth <= document.querySelector('#task').clientWidth").await;
    assert_eq!(wide, true, "long words do not widen the page");
    // The content of the address is not trusted, either.
    let hash = "#/tasks/%3Cimg%20src=x%20onerror=window.pwned=8%3E?q=%22%3E%3Csvg%20onload=window.pwned=9%3E&kind=%3Cb%3E";
    browser.open("about:blank").await;
    browser.open(&format!("{}{hash}", service.url())).await;
    browser.until("document.querySelector('#empty h2')").await;
    assert_eq!(browser.eval("window.pwned ?? null").await, Value::Null);
    // The policy refuses what escaping might let through. The test shows that it is there by violating it.
    let refused = browser.run("const s = document.createElement('script'); s.textContent = 'window.pwned = 10'; document.body.append(s);
        const d = document.createElement('div'); d.innerHTML = '<img src=x onerror=\"window.pwned = 11\">'; document.body.append(d);
        setTimeout(() => done(window.pwned ?? null), 200)").await;
    assert_eq!(refused, Value::Null);
    assert!(browser.errors().await.iter().all(|error| error.contains("Content Security Policy")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_comes_back_is_found_again() {
    let service = Service::start(store(), Options::default()).await;
    let _old = service.store.create(NewTask::new("before")).expect("the store is not full");
    let browser = open(&service, "", Look::DESK).await;
    until_kinds(&browser, "before").await;
    let address = service.address;
    service.stop().await;
    browser.until("document.querySelector('#link').dataset.state === 'lost'").await;
    let service = Service::start_at(address, store(), Access::open_on_loopback(), Options::default()).await;
    let _new = service.store.create(NewTask::new("after")).expect("the store is not full");
    browser.until("document.querySelector('#link').dataset.state === 'live'").await;
    until_kinds(&browser, "after").await;
    no_errors(&browser).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_and_goes_while_the_list_is_read_is_neither_missed_nor_a_ghost() {
    let service = Service::start(store(), Options::default()).await;
    let mut old = service.store.create(NewTask::new("old")).expect("the store is not full");
    let _kept = service.store.create(NewTask::new("kept")).expect("the store is not full");
    let browser = Browser::start(Look::DESK).await;
    // Delays the list's response until the page has received the next events.
    let hold = "const real = window.fetch; window.fetch = async (url, options) => {
        const answer = await real(url, options);
        if (String(url).includes('v1/tasks?')) { window.held = true; while (!window.free) await new Promise((r) => setTimeout(r, 10)); }
        return answer; };";
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": hold })).await;
    browser.open(&service.url()).await;
    browser.until("window.held").await;
    old.cancel().expect("pending");
    assert!(service.store.remove(old.id()).is_ok());
    let _new = service.store.create(NewTask::new("new")).expect("the store is not full");
    until_kinds(&browser, "new").await;
    browser.eval("window.free = true").await;
    browser.until("document.querySelector('#foot').textContent === '2 tasks'").await;
    until_kinds(&browser, "new kept").await;
    no_errors(&browser).await;
}

/// WCAG's contrast of each visible text with its background; the least of them.
const CONTRAST: &str = "(() => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    const channels = (color, under) => {
        canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
        canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => rgb.map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
        const colors = [];
        for (let at = element; at; at = at.parentElement) colors.unshift(getComputedStyle(at).backgroundColor);
        return colors.reduce((under, color) => `rgb(${channels(color, under).join(' ')})`, 'white');
    };
    let least = [99, ''];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || !element.checkVisibility() || element.closest('dialog, .skip, svg, :disabled')) continue;
        const ground = behind(element), a = light(channels(getComputedStyle(element).color, ground)), b = light(channels(ground, ground));
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < least[0]) least = [ratio, element.outerHTML.slice(0, 120)];
    }
    return least;
})()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_readable_by_day_by_night_and_on_a_phone() {
    let scene = Scene::new();
    let (parent, failed) = (scene.parent, scene.failed);
    let service = Service::start(scene.store.clone(), Options::default()).await;
    for look in [Look::DESK, Look::DARK, Look::PHONE] {
        let browser = open(&service, "", look).await;
        for hash in [
            "#/".to_owned(),
            "#/?tree=1".to_owned(),
            format!("#/tasks/{parent}"),
            format!("#/tasks/{failed}"),
        ] {
            browser.eval(&format!("location.hash = '{hash}'")).await;
            let ready = if hash.contains("tasks") {
                "document.querySelector('.timeline')"
            } else {
                "document.querySelector('.row:not([hidden])')"
            };
            browser.until(ready).await;
            let least = browser.eval(CONTRAST).await;
            assert!(least[0].as_f64().is_some_and(|ratio| ratio >= 4.5), "{look:?} {hash}: {least}");
            let fits = browser.eval("document.documentElement.scrollWidth <= innerWidth").await;
            assert_eq!(fits, true, "{look:?} {hash} is wider than its window");
            // The page itself does not scroll, so an element outside could not be reached.
            let out = browser.eval("[...document.querySelectorAll('button, a:not(.skip), input, select')].filter((element) => element.checkVisibility())
                .filter((element) => element.getBoundingClientRect().right > innerWidth).length").await;
            assert_eq!(out, 0, "{look:?} {hash}: an element is outside the window");
        }
        let ground = browser.eval("getComputedStyle(document.body).backgroundColor").await;
        assert_eq!(ground, if look.dark { "rgb(12, 17, 27)" } else { "rgb(244, 246, 250)" });
        if look.phone {
            browser.eval("location.hash = '#/'").await;
            browser.until("document.querySelector('#task').hidden").await;
            let small = "[...document.querySelectorAll('button, a:not(.skip), input, select, .row:not([hidden])')].filter((element) => element.checkVisibility())
                .filter((element) => element.getBoundingClientRect().height < 40).map((element) => element.outerHTML.slice(0, 80))";
            assert_eq!(browser.eval(small).await, json!([]), "all that is touched is large enough");
            browser.click(".row:not([hidden])").await;
            browser.until("!document.querySelector('#task').hidden && !document.querySelector('.board').checkVisibility()").await;
            browser.until("document.querySelector('.timeline')").await;
            assert_eq!(browser.eval(small).await, json!([]), "on the task's page, too");
            browser.click("[data-act=close]").await;
            browser.until("document.querySelector('.board').checkVisibility()").await;
        }
        no_errors(&browser).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_from_anywhere_else() {
    let service = Service::start(store(), Options::default()).await;
    let browser = open(&service, "", Look::DESK).await;
    tokio::time::timeout(
        Duration::from_secs(10),
        browser.until("performance.getEntriesByType('resource').length > 5"),
    )
    .await
    .expect("loaded");
    let elsewhere = browser.eval("performance.getEntriesByType('resource').map((entry) => entry.name).filter((name) => !name.startsWith(location.origin))").await;
    assert_eq!(elsewhere, json!([]));
    assert_eq!(
        browser.eval("document.querySelectorAll('[style], style, script:not([src])').length").await,
        json!(styled(&browser).await)
    );
    no_errors(&browser).await;
}

/// How many elements have a style set by a script, property by property; the markup has none.
async fn styled(browser: &Browser) -> u64 {
    browser.eval("document.querySelectorAll('.row[style], .rows[style], .share i[style], .bar i[style], .name[style]').length").await.as_u64().expect("a number")
}
