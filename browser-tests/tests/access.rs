//! Access: if the service requires a token, the dashboard asks for one when it needs it, keeps it in the tab,
//! and shows it nowhere.

use inflight::{NewTask, State, Store};
use inflight_browser_tests::{Browser, Look, Service};
use inflight_server::{Access, Tokens};
use serde_json::json;

const READER: &str = "reader-token-0123456789";
const WRITER: &str = "writer-token-0123456789";

async fn service() -> Service {
    let tokens = format!("dash read,list - {READER}\nops read,list,write - {WRITER}");
    let access = Access::tokens(Tokens::parse(&tokens).expect("good tokens"));
    let store = Store::builder().capacity(1 << 8).build().expect("a store");
    Service::start_for(store, access).await
}

async fn give(browser: &Browser, token: &str) {
    browser
        .until("document.querySelector('#token-dialog').open && document.activeElement.id === 'token'")
        .await;
    browser.type_into("#token", token).await;
    browser.click("#token-dialog button.main").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_for_when_it_is_needed_and_kept_in_the_tab() {
    let service = service().await;
    let mut task = service.store.create(NewTask::new("index")).expect("the store is not full");
    task.start().expect("pending");
    let browser = Browser::start(Look::DESK).await;
    browser.open(&service.url()).await;
    browser.until("document.querySelector('#token-why').textContent.includes('“list”')").await;
    browser.screenshot("token").await;
    give(&browser, "not-the-right-token-at-all").await;
    browser.until("document.querySelector('#token-why').textContent.includes('not known')").await;
    give(&browser, READER).await;
    browser.until("document.querySelector('#link').dataset.state === 'live'").await;
    browser.until("document.querySelector('.row .kind b')?.textContent === 'index'").await;

    // A token for reading is enough to read, but not to cancel.
    browser.click(".row").await;
    browser.click("#cancel").await;
    browser.click("#cancel-yes").await;
    browser.until("document.querySelector('#token-why').textContent.includes('“write”')").await;
    assert!(!task.cancel_requested());
    give(&browser, WRITER).await;
    browser.until("document.querySelector('#cancel')?.disabled").await;
    assert!(task.cancel_requested());

    assert_eq!(browser.eval("Object.values(sessionStorage)").await, json!([WRITER]));
    assert_eq!(browser.eval("localStorage.length").await, 0);
    assert_eq!(browser.eval("document.cookie").await, "");
    let shown = format!(
        "(document.documentElement.outerHTML + location.href + performance.getEntriesByType('resource').map((e) => e.name)).includes({})",
        json!(WRITER)
    );
    assert_eq!(browser.eval(&shown).await, false);

    // A reload of the tab keeps it, another tab does not have it, and it can be forgotten.
    browser.eval("location.reload()").await;
    browser.until("document.querySelector('.row .kind b')?.textContent === 'index'").await;
    browser.click("#token-button").await;
    browser.click("#token-forget").await;
    browser.until("document.querySelector('#token-why').textContent.includes('“list”') && document.querySelector('#token-dialog').open").await;
    assert_eq!(browser.eval("sessionStorage.length").await, 0);
    assert_eq!(service.store.get(task.id()).expect("there").state(), State::Running);
    assert_eq!(browser.errors().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_token_sees_nothing() {
    let service = service().await;
    let _task = service.store.create(NewTask::new("secret-kind")).expect("the store is not full");
    let browser = Browser::start(Look::DESK).await;
    browser.open(&service.url()).await;
    browser.until("document.querySelector('#token-dialog').open").await;
    browser.click("#token-dialog button[value=cancel]").await;
    browser.until("document.querySelector('#link-text').textContent === 'Not allowed'").await;
    assert!(!browser.text("body").await.contains("secret-kind"));
}
