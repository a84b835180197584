//! Pictures of the dashboard, for people to look at: light and dark, desk and phone, list, tree and task.

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
            let ready = if hash.contains("tasks/") {
                "document.querySelector('.timeline')"
            } else {
                "document.querySelector('.row:not([hidden])')"
            };
            browser.until(ready).await;
            browser.until("document.querySelector('#link').dataset.state === 'live'").await;
            browser.run("setTimeout(done, 1600)").await;
            browser.screenshot(&format!("{name}-{what}")).await;
        }
        assert_eq!(browser.errors().await, Vec::<String>::new(), "{name}");
    }
}
