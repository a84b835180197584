//! Tokens and certificates that change while the service runs.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use hyper::Method;
use inflight_server::{Access, Options, ServeOptions, Tokens};

use crate::config::{Started, TempFile, status};
use crate::service::{LONG, service_for};

const OLD: &str = "old admin - old-0123456789abcdef\nstays admin - stays-0123456789abcdef\n";
const NEW: &str = "stays admin - stays-0123456789abcdef\nnew admin - new-0123456789abcdef\n";

fn bearer(name: &str) -> String {
    format!("authorization: Bearer {name}-0123456789abcdef")
}

/// Asks until the answer is this.
fn until(expected: &str, arguments: &[&str]) {
    let since = Instant::now();
    while status(arguments) != expected {
        assert!(since.elapsed() < LONG, "{arguments:?} never gives {expected}");
    }
}

/// curl, as it follows events.
struct Follower {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(arguments: &[&str]) -> Self {
        let mut curl = Command::new("curl");
        let mut child = curl.arg("-sN").args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "event: ready"));
        Self { child, lines }
    }

    /// Whether this comes, before the stream ends.
    fn hears(&mut self, text: &str) -> bool {
        self.lines.any(|line| line.unwrap().contains(text))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn create(base: &str, options: &[&str], token: &str, kind: &str) {
    let body = format!("{{\"kind\":\"{kind}\"}}");
    let url = format!("{base}/v1/tasks");
    let json = "content-type: application/json";
    let mut arguments = options.to_vec();
    let header = bearer(token);
    arguments.extend(["-H", json, "-H", &header, "-d", &body, &url]);
    assert_eq!(status(&arguments), "202");
}

#[tokio::test]
async fn a_withdrawn_token_ends_its_streams_and_no_others() {
    let tokens = Tokens::parse(OLD).unwrap();
    let access = Access::tokens(tokens.clone());
    let service = service_for(access, Options::default(), ServeOptions::default(), 64).await;
    let header = |name: &str| bearer(name).split_once(": ").unwrap().1.to_owned();
    let (old, stays, new) = (header("old"), header("stays"), header("new"));
    let made =
        service.ask(Method::POST, "/v1/tasks", &[("authorization", &old)], Some(r#"{"kind":"a"}"#)).await;
    let path = format!("/v1/tasks/{}", made.json()["taskId"].as_str().unwrap());
    let mut streams = Vec::new();
    for name in [&old, &stays] {
        let of_all = service.events("/v1/events?snapshot=false", &[("authorization", name)]).await;
        let mut of_task = service.events(&format!("{path}/events"), &[("authorization", name)]).await;
        of_task.expect("status").await;
        streams.push((of_all, of_task));
    }
    for (of_all, _) in &mut streams {
        of_all.expect("ready").await;
    }
    tokens.replace(&Tokens::parse(NEW).unwrap());
    let (of_all, of_task) = &mut streams[0];
    // What was on its way comes first; then they end.
    while of_all.next().await.is_some() {}
    while of_task.next().await.is_some() {}
    for (name, expected) in [(&old, 401), (&stays, 200), (&new, 200)] {
        assert_eq!(service.get_with(&path, &[("authorization", name)]).await.status, expected, "{name}");
    }
    let cancel = format!("{path}:cancel");
    service.ask(Method::POST, &cancel, &[("authorization", &new)], Some("{}")).await;
    let (of_all, of_task) = &mut streams[1];
    while of_all.expect("status").await.data["status"] != "cancelled" {}
    while of_task.expect("status").await.data["status"] != "cancelled" {}
    // A token that means something else now is another one.
    let mut events = service.events("/v1/events?snapshot=false", &[("authorization", &stays)]).await;
    events.expect("ready").await;
    tokens.replace(&Tokens::parse("stays read acme stays-0123456789abcdef").unwrap());
    while events.next().await.is_some() {}
    service.get_with(&path, &[("authorization", &stays)]).await.assert_problem(404, "unknown-task");
}

#[test]
fn tokens_are_read_again_when_their_file_changes_and_no_connection_is_lost() {
    let file = TempFile::new("reload.txt", OLD);
    let started = Started::serve(&["--tokens-file", file.path()], &[]);
    let base = format!("http://{}", started.address());
    let url = format!("{base}/v1/counts");
    let events = format!("{base}/v1/events");
    let (old, stays, new) = (bearer("old"), bearer("stays"), bearer("new"));
    assert_eq!((status(&["-H", &old, &url]), status(&["-H", &new, &url])), ("200".into(), "401".into()));
    create(&base, &[], "old", "before");
    let mut follower = Follower::start(&["-H", &stays, &events]);
    let mut kept = TcpStream::connect(started.address()).unwrap();
    assert_eq!(ask_on(&mut kept, &stays), "200");

    std::fs::write(file.path(), NEW).unwrap();
    until("200", &["-H", &new, &url]);
    assert_eq!((status(&["-H", &old, &url]), status(&["-H", &stays, &url])), ("401".into(), "200".into()));
    create(&base, &[], "new", "after");
    assert!(follower.hears("\"kind\":\"after\""), "the stream goes on");
    assert_eq!(ask_on(&mut kept, &stays), "200");
    assert_eq!(ask_on(&mut kept, &old), "401");

    // What cannot be used changes nothing; a signal does not wait for the file to look different.
    std::fs::write(file.path(), "broken\n").unwrap();
    started.signal("-HUP");
    std::fs::write(file.path(), format!("{NEW}more admin - more-0123456789abcdef\n")).unwrap();
    started.signal("-HUP");
    until("200", &["-H", &bearer("more"), &url]);
    assert_eq!(status(&["-H", &new, &url]), "200");
    let log = started.stop();
    assert!(log.contains("the tokens were read again") && !log.contains("0123456789abcdef"), "{log}");
}

/// One request on a connection that is kept; its status.
fn ask_on(stream: &mut TcpStream, header: &str) -> String {
    write!(stream, "GET /v1/counts HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let (mut status, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the connection is lost");
        let line = line.trim_end();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if status.is_empty() {
            status = line.split(' ').nth(1).unwrap().to_owned();
        }
        if line.is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    status
}

#[test]
fn tokens_that_cannot_be_read_again_stay_as_they_were() {
    let file = TempFile::new("stay.txt", OLD);
    let mut started = Started::serve(&["--tokens-file", file.path()], &[]);
    let url = format!("http://{}/v1/counts", started.address());
    for (content, says) in [
        ("", "there are no tokens"),
        ("broken", "line 1: name"),
        ("# x\nold admin - old-0123456789abcdef # x", "line 2: name"),
    ] {
        std::fs::write(file.path(), content).unwrap();
        started.signal("-HUP");
        started.until_logged(says);
        assert_eq!(status(&["-H", &bearer("old"), &url]), "200", "{content}");
    }
    std::fs::remove_file(file.path()).unwrap();
    started.until_logged("cannot be read");
    assert_eq!(status(&["-H", &bearer("old"), &url]), "200");
    assert!(started.stop().contains("the tokens stay as they were"));
}

#[test]
fn a_certificate_is_read_again_when_its_files_change_and_no_connection_is_lost() {
    let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (old, new) = (make(), make());
    let chain = TempFile::new("reload-chain.pem", &old.cert.pem());
    let key = TempFile::new("reload-key.pem", &old.signing_key.serialize_pem());
    let (old_root, new_root) =
        (TempFile::new("old-root.pem", &old.cert.pem()), TempFile::new("new-root.pem", &new.cert.pem()));
    let tokens = TempFile::new("reload-tls.txt", OLD);
    let files = ["--tls-cert", chain.path(), "--tls-key", key.path(), "--tokens-file", tokens.path()];
    let started = Started::serve(&files, &[]);
    let base = format!("https://localhost:{}", started.address().port());
    let (url, events) = (format!("{base}/healthz"), format!("{base}/v1/events"));
    assert_eq!(status(&["--cacert", old_root.path(), &url]), "200");
    let stays = bearer("stays");
    let mut follower = Follower::start(&["--cacert", old_root.path(), "-H", &stays, &events]);

    // Half of a pair is no pair: the old one stays until the other half is there.
    std::fs::write(key.path(), new.signing_key.serialize_pem()).unwrap();
    started.signal("-HUP");
    assert_eq!(status(&["--cacert", old_root.path(), &url]), "200");
    std::fs::write(chain.path(), new.cert.pem()).unwrap();
    until("200", &["--cacert", new_root.path(), &url]);
    assert_eq!(status(&["--cacert", old_root.path(), &url]), "000");
    create(&base, &["--cacert", new_root.path()], "stays", "after");
    assert!(follower.hears("\"kind\":\"after\""), "the stream goes on");
    drop(follower);
    let log = started.stop();
    assert!(log.contains("the certificate was read again"), "{log}");
}
