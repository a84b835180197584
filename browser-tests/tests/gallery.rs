//! Screenshots of the dashboard: light and dark, desktop and phone, list, tree and task.

use inflight_browser_tests::{Browser, Look, Scene, Service};
use inflight_server::Options;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_of_it() {
    let scene = Scene::new();
    let (parent, running, failed, succeeded) = (scene.parent, scene.running, scene.failed, scene.succeeded);
    let service = Service::start(scene.store.clone(), Options::default()).await;
    scene.go_on();
    for (name, look) in [("light", Look::DESK), ("dark", Look::DARK), ("phone", Look::PHONE)] {
        let browser = Browser::start(look).await;
        let url = service.url();
        for (what, hash) in [
            ("list", String::new()),
            ("tree", "#/?tree=1&state=running,pending".into()),
            ("running", format!("#/tasks/{running}")),
            ("parent", format!("#/tasks/{parent}")),
            ("failed", format!("#/tasks/{failed}?state=failed,cancelled")),
            ("succeeded", format!("#/tasks/{succeeded}")),
        ] {
            browser.open(&format!("{url}{hash}")).await;
            // A running task is ready when it has been watched for long enough to have a line.
            let ready = match what {
                "running" => "document.querySelector('.spark')",
                "list" | "tree" => "document.querySelector('.row:not([hidden])')",
                _ => "document.querySelector('.timeline')",
            };
            browser.until(ready).await;
            browser.until("document.querySelector('#link').dataset.state === 'live' && document.querySelector('#foot').textContent.includes('tasks')").await;
            browser.screenshot(&format!("{name}-{what}")).await;
        }
        assert_eq!(browser.errors().await, Vec::<String>::new(), "{name}");
    }
}
