//! TLS: the service proves who it is, and a client that cannot see that sends nothing.

use inflight::Store;
use inflight_client::{Client, NewTask, State};
use inflight_server::{Access, Options, ServeOptions, Shutdown, Tls, router, serve};
use tokio::net::TcpListener;

/// Serves over TLS as `localhost`; gives the port and the certificate.
async fn service() -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.pem();
    let tls = Tls::from_pem(certificate.as_bytes(), made.signing_key.serialize_pem().as_bytes());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let store = Store::builder().capacity(16).build().expect("a store");
    let options = ServeOptions { tls: Some(tls.expect("they fit")), ..ServeOptions::default() };
    tokio::spawn(async move {
        let _ = serve(
            listener,
            router(store, Access::open_on_loopback(), Options::default()),
            options,
            Shutdown::default(),
        )
        .await;
    });
    (port, certificate)
}

#[tokio::test]
async fn a_service_that_proves_itself_is_talked_to_and_another_is_not() {
    let (port, certificate) = service().await;
    let at = |host: &str| Client::builder(format!("https://{host}:{port}")).retries(0);
    let client = at("localhost").root_certificates(certificate.clone()).build().expect("good");
    let id = client.create(NewTask::new("index")).await.expect("created").task.id;
    let mut watch = client.watch(id);
    assert!(watch.next().await.expect("an event").is_ok());
    client.cancel(id).await.expect("at once");
    assert_eq!(watch.next().await.expect("an event").expect("no fault").state, State::Cancelled);

    let stranger = at("localhost").build().expect("the system's roots");
    assert!(stranger.get(id).await.expect_err("nobody vouches for it").is_connect());
    let misled = at("127.0.0.1").root_certificates(certificate).build().expect("good");
    assert!(misled.get(id).await.expect_err("the certificate is for another name").is_connect());
    for bad in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(at("localhost").root_certificates(bad).build().is_err(), "{bad:?}");
    }
}
