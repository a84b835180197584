//! Who may use the service at all: an open one, one with tokens, one whose host knows who asks.

use std::net::SocketAddr;

use axum::Router;
use hyper::http::request::Parts;
use inflight::Store;
use inflight_server::{Access, Options, Principal, Scope, ServeOptions, Shutdown};
use tokio::net::TcpListener;

use crate::nest::ask;
use crate::service::{Service, service_for};

async fn service(access: Access) -> Service {
    service_for(access, Options::default(), ServeOptions::default(), 64).await
}

/// An open router, served by axum itself; `knows` says whether it is told where connections come from.
async fn open_by_axum(knows: bool) -> SocketAddr {
    let store = Store::builder().capacity(64).build().unwrap();
    let status = inflight_server::router(store, Access::open_on_loopback(), Options::default());
    let app = Router::new().nest("/status", status);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        if knows {
            axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
        } else {
            axum::serve(listener, app).await
        }
    });
    address
}

#[tokio::test]
async fn an_open_service_is_for_this_machine_and_by_its_names_only() {
    let service = service(Access::open_on_loopback()).await;
    assert_eq!(service.post("/v1/tasks", r#"{"kind":"a"}"#).await.status, 202);
    for name in ["localhost", "localhost:7117", "127.0.0.1", "[::1]:80"] {
        assert_eq!(service.get_with("/v1/counts", &[("host", name)]).await.status, 200, "{name}");
    }
    for name in ["evil.example", "evil.example:7117", "localhost.evil.example", "192.0.2.1", ""] {
        service.get_with("/v1/counts", &[("host", name)]).await.assert_problem(421, "misdirected");
    }
}

#[tokio::test]
async fn an_open_router_lets_nobody_in_whose_address_it_does_not_know() {
    for (knows, expected) in [(true, "HTTP/1.1 200"), (false, "HTTP/1.1 403")] {
        let address = open_by_axum(knows).await;
        let (head, body) = ask(address, "localhost", "GET /status/v1/counts", "").await;
        assert!(head.starts_with(expected), "{head} {body}");
    }
}

#[tokio::test]
async fn an_open_router_refuses_other_machines_whatever_it_listens_on() {
    // A connection from this machine to another address of its own has that address at both ends.
    let Some(own) = own_address() else { return };
    let store = Store::builder().capacity(64).build().unwrap();
    let router = inflight_server::router(store, Access::open_on_loopback(), Options::default());
    let listener = TcpListener::bind((own, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(inflight_server::serve(listener, router, ServeOptions::default(), Shutdown::default()));
    let (head, body) = ask(address, "localhost", "GET /v1/counts", "").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head} {body}");
    assert!(body.contains("only this machine"), "{body}");
}

/// An address of this machine that is not loopback, if it has a way to anywhere. No packet is sent.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
}

#[tokio::test]
async fn a_host_says_itself_who_asks() {
    let access = Access::from_request(|parts: &Parts| {
        let user = parts.headers.get("x-user")?.to_str().ok()?;
        let (name, tenant) = user.split_once('@')?;
        assert_ne!(name, "trouble");
        let principal = Principal::new(name).scope(Scope::Read).scope(Scope::Write);
        Some(if tenant.is_empty() { principal.scope(Scope::List) } else { principal.tenant(tenant) })
    });
    let service = service(access).await;
    service.get("/v1/counts").await.assert_problem(401, "unauthenticated");
    service.get_with("/v1/counts", &[("x-user", "nobody")]).await.assert_problem(401, "unauthenticated");
    service.get_with("/v1/counts", &[("x-user", "trouble@acme")]).await.assert_problem(500, "internal");
    service.get_with("/v1/counts", &[("x-user", "ann@acme")]).await.assert_problem(403, "forbidden");
    let made = service.post_with("/v1/tasks", &[("x-user", "ann@acme")], r#"{"kind":"a"}"#).await;
    assert_eq!(made.json()["labels"]["tenant"], "acme");
    let path = format!("/v1/tasks/{}", made.json()["taskId"].as_str().unwrap());
    for (user, status) in [("ann@acme", 200), ("bob@other", 404), ("ops@", 200)] {
        assert_eq!(service.get_with(&path, &[("x-user", user)]).await.status, status, "{user}");
    }
    assert_eq!(service.get("/healthz").await.status, 200);
}
