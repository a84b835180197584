//! The binary: its settings in layers, what it says, what it refuses.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::service::LONG;

const BINARY: &str = env!("CARGO_BIN_EXE_inflight");

fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(BINARY);
    // What whoever runs the tests has set is not what they are about.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("INFLIGHT_")) {
        command.env_remove(name);
    }
    command.args(arguments).envs(environment.iter().copied());
    command
}

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    output(&mut command(arguments, environment))
}

fn output(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (id, (done, is_done)) = (child.id(), std::sync::mpsc::channel());
    // One that goes on when it should have refused must not hold up the tests.
    let watchdog = std::thread::spawn(move || {
        if is_done.recv_timeout(LONG).is_err() {
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        }
    });
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    watchdog.join().unwrap();
    output
}

/// What the binary says when it refuses to do this.
fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    refused_as(&mut command(arguments, environment))
}

fn refused_as(command: &mut Command) -> String {
    let output = output(command);
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{command:?}: {said}");
    said
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What the binary says it would run with.
fn config(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut all = vec!["config"];
    all.extend(arguments);
    let output = run(&all, environment);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// A file of this test's own, which is gone when it is dropped.
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    pub(crate) fn new(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("inflight-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The binary, serving on a port of its own.
pub(crate) struct Started {
    child: Child,
    greeting: Vec<String>,
    /// Reads what is logged, so that the binary never waits for it.
    lines: Receiver<String>,
    log: String,
}

impl Started {
    pub(crate) fn serve(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut all = vec!["serve"];
        if !arguments.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        all.extend(arguments);
        let mut command = command(&all, environment);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let greeting = out.lines().take(3).map(Result::unwrap).collect();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (said, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        Self { child, greeting, lines, log: String::new() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let url = self.greeting[0].split_whitespace().last().unwrap();
        url.split("://").nth(1).unwrap().trim_end_matches('/').parse().unwrap()
    }

    pub(crate) fn terminate(&mut self) {
        self.signal("-TERM");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let killed = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Waits until a line with this is logged.
    pub(crate) fn until_logged(&mut self, text: &str) {
        loop {
            let line = self.lines.recv_timeout(LONG).unwrap_or_else(|_| panic!("{text:?}: {}", self.log));
            self.log += &format!("{line}\n");
            if line.contains(text) {
                return;
            }
        }
    }

    /// Ends it, and gives what it has logged.
    pub(crate) fn stop(mut self) -> String {
        self.terminate();
        while let Ok(line) = self.lines.recv() {
            self.log += &format!("{line}\n");
        }
        let log = std::mem::take(&mut self.log);
        assert!(self.wait().success(), "{log}");
        log
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn flags_are_stronger_than_the_environment_than_the_file_than_the_defaults() {
    let defaults = config(&[], &[]);
    for line in
        ["listen = \"127.0.0.1:7117\"", "body_limit = 2097152", "keep_failed = \"24h\"", "log = \"info\""]
    {
        assert!(defaults.contains(line), "{line}: {defaults}");
    }
    let file = TempFile::new("layers.toml", "body_limit = 1\nwait_limit = \"1s\"\nkeep_failed = \"1h\"\n");
    let of_file = config(&["--config", file.path()], &[]);
    assert!(of_file.contains("body_limit = 1\n") && of_file.contains("wait_limit = \"1s\""), "{of_file}");
    let environment =
        [("INFLIGHT_BODY_LIMIT", "2"), ("INFLIGHT_WAIT_LIMIT", "2s"), ("INFLIGHT_CONFIG", file.path())];
    let all = config(&["--body-limit", "3"], &environment);
    for line in
        ["body_limit = 3\n", "wait_limit = \"2s\"", "keep_failed = \"1h\"", "header_timeout = \"15s\""]
    {
        assert!(all.contains(line), "{line}: {all}");
    }
    // What it shows is a file that gives the same.
    let copy = TempFile::new("copy.toml", &all);
    assert_eq!(config(&["--config", copy.path()], &[]), all);
    let hosts = config(&[], &[("INFLIGHT_ALLOWED_HOSTS", "a,b")]);
    assert!(hosts.contains("allowed_hosts = [\"a\", \"b\"]"), "{hosts}");
    assert_eq!(config(&["--allowed-hosts", "a,b"], &[]), hosts);
}

#[test]
fn what_is_wrong_with_the_settings_is_said() {
    let unknown = TempFile::new("unknown.toml", "body_limt = 1\n");
    let broken = TempFile::new("broken.toml", "body_limit =\n");
    for (arguments, environment, says) in [
        (vec!["config", "--config", unknown.path()], vec![], "body_limt"),
        (vec!["config", "--config", broken.path()], vec![], "body_limit"),
        (vec!["config", "--config", "/nonexistent"], vec![], "/nonexistent"),
        (vec!["config"], vec![("INFLIGHT_BODY_LIMT", "1")], "INFLIGHT_BODY_LIMT"),
        (vec!["config"], vec![("INFLIGHT_BODY_LIMIT", "much")], "INFLIGHT_BODY_LIMIT"),
        (vec!["config", "--body-timeout", "soon"], vec![], "soon"),
        (vec!["config", "--body-timeout", "0s"], vec![], "body_timeout"),
        (vec!["config", "--tls-cert", "x"], vec![], "tls_key"),
        (vec!["config", "--connections", "0"], vec![], "connections"),
        (vec!["serve", "--capacity", "0", "--listen", "127.0.0.1:0"], vec![], "capacity"),
        (vec!["serve", "--log", "loud", "--listen", "127.0.0.1:0"], vec![], "loud"),
        (vec!["serve", "--demo", "/nonexistent", "--listen", "127.0.0.1:0"], vec![], "/nonexistent"),
        (vec!["serve", "--tls-cert", broken.path(), "--tls-key", broken.path()], vec![], "certificate"),
        (vec!["serve", "--tokens-file", "/nonexistent"], vec![], "/nonexistent"),
        (vec!["serve"], vec![("INFLIGHT_TOKENS", "")], "no tokens"),
    ] {
        let output = run(&arguments, &environment);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(says), "{arguments:?} {environment:?}: {said}");
    }
}

#[test]
fn a_setting_is_read_by_its_type_wherever_it_stands() {
    let text = "INFLIGHT_TENANT_LABEL";
    for value in ["007", "true", "1.50", "nan"] {
        assert!(config(&[], &[(text, value)]).contains(&format!("tenant_label = \"{value}\"")), "{value}");
    }
    for (name, value) in [
        ("CAPACITY", "nan"),
        ("CAPACITY", "1.5"),
        ("CAPACITY", "1e3"),
        ("CAPACITY", "-1"),
        ("CAPACITY", ""),
        ("CAPACITY", " 7"),
        ("CAPACITY", "true"),
        ("KEEP_AT_MOST", "18446744073709551615"),
        ("KEEP_FAILED", "15"),
        ("LOG_FORMAT", "Text"),
        ("TENANT_LABEL", ""),
        ("ALLOWED_HOSTS", "a,,b"),
        ("ALLOWED_HOSTS", "a:80"),
        ("ALLOWED_HOSTS", "a, b"),
        ("PUBLIC_URL", "status.example.com"),
        ("PUBLIC_URL", "javascript:alert(1)"),
        ("HELP", ""),
        ("", "1"),
    ] {
        let variable = format!("INFLIGHT_{name}");
        let said = refused(&["config"], &[(&variable, value)]);
        assert!(said.to_lowercase().contains(&name.to_lowercase()), "{variable}={value}: {said}");
    }
    for line in [
        "tenant_label = 7",
        "capacity = \"7\"",
        "capacity = 1.0",
        "capacity = nan",
        "keep_failed = 15",
        "allowed_hosts = \"a\"",
        "public_url = \"ftp://a\"",
        "log_format = \"xml\"",
    ] {
        let file = TempFile::new("types.toml", line);
        let name = line.split(' ').next().unwrap();
        // Also where a stronger layer has a good one.
        for environment in [vec![], vec![("INFLIGHT_CAPACITY", "7"), ("INFLIGHT_TENANT_LABEL", "t")]] {
            let said = refused(&["config", "--config", file.path()], &environment);
            assert!(said.contains(name) && said.contains(file.path()), "{line}: {said}");
        }
    }
}

#[test]
fn what_is_outside_a_settings_range_is_refused_by_name() {
    for (flag, value) in [
        ("capacity", "0"),
        ("capacity", "18446744073709551615"),
        ("connections", "0"),
        ("connections", "9223372036854775807"),
        ("body-limit", "0"),
        ("body-limit", "9223372036854775808"),
        ("keep-at-most", "18446744073709551615"),
        ("header-timeout", "0s"),
        ("header-timeout", "9223372036854775807s"),
        ("body-timeout", "25h"),
        ("wait-limit", "5124095576030431h"),
        ("keep-alive", "1ns"),
        ("event-interval", "1h"),
        ("shutdown-deadline", "25h"),
        ("keep-failed", "100000h"),
        ("quota-tasks", "0"),
        ("quota-requests", "18446744073709551615"),
        ("total-streams", "0"),
    ] {
        let said = refused(&["config", &format!("--{flag}={value}")], &[]);
        let name = said.contains(flag) || said.contains(&flag.replace('-', "_"));
        assert!(name && !said.contains("panicked"), "{flag} {value}: {said}");
    }
}

#[test]
fn what_is_not_utf8_is_refused_and_no_service_starts_open_for_it() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    for (name, value) in [
        ("INFLIGHT_TOKENS", &b"ci admin - 0123456789abcdef\xff"[..]),
        ("INFLIGHT_TOKENS_FILE", b"/tmp/\xff"),
        ("INFLIGHT_TENANT_LABEL", b"\xff"),
        ("INFLIGHT_CONFIG", b"/tmp/\xff"),
    ] {
        let mut command = command(&["serve", "--listen", "127.0.0.1:0"], &[]);
        let said = refused_as(command.env(name, OsStr::from_bytes(value)));
        assert!(said.contains(name) && said.contains("UTF-8"), "{name}: {said}");
    }
    let mut command = command(&["config"], &[]);
    let said = refused_as(command.env(OsStr::from_bytes(b"INFLIGHT_\xff"), "1"));
    assert!(said.contains("INFLIGHT_"), "{said}");
    let file = TempFile::new("latin1.txt", "");
    std::fs::write(file.path(), b"m\xfcller admin - 0123456789abcdef").unwrap();
    let said = refused(&["serve", "--listen", "127.0.0.1:0", "--tokens-file", file.path()], &[]);
    assert!(said.contains("UTF-8"), "{said}");
}

#[test]
fn names_that_are_nearly_settings_are_refused() {
    for name in ["inflight_tokens", "INFLIGHT_Capacity", "inflight_CAPACITY", "INFLIGHT_BODY-LIMIT"] {
        let said = refused(&["config"], &[(name, "7")]);
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn tokens_that_leave_a_doubt_are_refused() {
    let file = TempFile::new("doubt.txt", "a read - 0123456789abcdef\n");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--tokens-file", file.path()];
    let said = refused(&arguments, &[("INFLIGHT_TOKENS", "b admin - 0123456789abcdef")]);
    assert!(said.contains("there twice") && said.contains("INFLIGHT_TOKENS"), "{said}");
    let said = refused(&arguments, &[("INFLIGHT_TOKENS", "# none")]);
    assert!(said.contains("no tokens in INFLIGHT_TOKENS"), "{said}");
    let commented =
        TempFile::new("commented.txt", "# a read - 0123456789abcdef; b admin - fedcba9876543210\n");
    let said = refused(&["serve", "--listen", "127.0.0.1:0", "--tokens-file", commented.path()], &[]);
    assert!(said.contains("no tokens in"), "{said}");
}

#[test]
fn a_file_that_is_none_is_refused_and_not_waited_for() {
    let path = std::env::temp_dir().join(format!("inflight-{}-fifo", std::process::id()));
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let fifo = path.to_str().unwrap();
    for flag in ["--tokens-file", "--config"] {
        let said = refused(&["serve", "--listen", "127.0.0.1:0", flag, fifo], &[]);
        assert!(said.contains("not a regular file"), "{flag}: {said}");
    }
    for pair in [["--tls-cert", "--tls-key"], ["--tls-key", "--tls-cert"]] {
        let file = TempFile::new("no.pem", "");
        let said = refused(&["serve", "--listen", "127.0.0.1:0", pair[0], fifo, pair[1], file.path()], &[]);
        assert!(said.contains("not a regular file"), "{pair:?}: {said}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn it_does_not_go_beyond_this_machine_without_tokens() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let output = run(&["serve", "--listen", address], &[]);
        assert!(!output.status.success());
        assert!(text(&output.stderr).contains("needs tokens"), "{}", text(&output.stderr));
    }
    let tokens = [("INFLIGHT_TOKENS", "ci admin - 0123456789abcdef")];
    let started = Started::serve(&["--listen", "0.0.0.0:0"], &tokens);
    assert!(started.greeting[2].contains("Bearer $TOKEN"), "{:?}", started.greeting);
    started.stop();
}

/// What curl says the status is.
pub(crate) fn status(arguments: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]).args(arguments);
    text(&curl.output().unwrap().stdout)
}

#[test]
fn no_token_is_ever_logged() {
    let file = TempFile::new("tokens.txt", "# comment\nfile read,write - of-the-file-0123456789\n");
    let environment = [("INFLIGHT_TOKENS", "env admin - of-the-environment-01")];
    let started = Started::serve(&["--tokens-file", file.path(), "--log", "trace"], &environment);
    let url = format!("http://{}/v1/tasks", started.address());
    for (token, expected) in
        [("of-the-file-0123456789", "403"), ("of-the-environment-01", "200"), ("of-nobody-0123456789", "401")]
    {
        let header = format!("authorization: Bearer {token}");
        assert_eq!(status(&["-H", &header, &url]), expected, "{token}");
    }
    let log = started.stop();
    assert!(log.contains("answered") && log.contains("refused"), "it is logged: {log}");
    assert!(
        !log.contains("of-the-file") && !log.contains("of-the-env") && !log.contains("of-nobody"),
        "{log}"
    );
}

#[test]
fn a_token_in_a_path_or_query_is_not_logged_either() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let chain = TempFile::new("log-chain.pem", &made.cert.pem());
    let key = TempFile::new("log-key.pem", &made.signing_key.serialize_pem());
    let tokens = [("INFLIGHT_TOKENS", "env admin - 0123456789abcdef0123456789abcdef")];
    let tls = ["--tls-cert", chain.path(), "--tls-key", key.path(), "--log", "trace"];
    let plain = Started::serve(&["--log", "trace"], &tokens);
    let secure = Started::serve(&tls, &tokens);
    for (service, scheme) in [(plain, "http"), (secure, "https")] {
        let base = format!("{scheme}://{}", service.address());
        for token in ["0123456789abcdef0123456789abcdef", "stray-0123456789"] {
            let header = "authorization: Bearer 0123456789abcdef0123456789abcdef";
            for (method, place) in [
                ("GET", format!("/{token}")),
                ("GET", format!("/v1/{token}")),
                ("GET", format!("/v1/tasks/{token}")),
                ("GET", format!("/v1/tasks/{token}/events?access_token={token}")),
                ("POST", format!("/v1/tasks/{token}:cancel")),
                ("GET", format!("/v1/tasks?{token}=1")),
                ("GET", format!("/v1/tasks?access_token={token}")),
                ("GET", format!("/v1/tasks?pageToken={token}")),
                ("GET", format!("/v1/tasks?state={token}")),
                ("GET", format!("/healthz?token={token}")),
            ] {
                let url = format!("{base}{place}");
                let status = status(&["-k", "-X", method, "-H", header, &url]);
                assert_ne!(status, "000", "{url}");
            }
        }
        let log = service.stop();
        assert!(log.contains("answered") && log.contains("refused"), "it is logged: {log}");
        for part in ["0123456789abcdef", "01234567-89ab", "stray-"] {
            let line = log.lines().find(|line| line.contains(part));
            assert_eq!(line, None);
        }
    }
}

#[test]
fn secrets_that_others_can_read_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let chain = TempFile::new("mode-chain.pem", &made.cert.pem());
    let key = TempFile::new("mode-key.pem", &made.signing_key.serialize_pem());
    let tokens = TempFile::new("mode-tokens.txt", "a read - 0123456789abcdef");
    for (mode, warned) in [(0o600, false), (0o640, true), (0o604, true)] {
        for file in [&key, &tokens] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let files = ["--tls-cert", chain.path(), "--tls-key", key.path(), "--tokens-file", tokens.path()];
        let log = Started::serve(&files, &[]).stop();
        for file in [&key, &tokens] {
            let is_warned = log.lines().any(|line| line.contains("WARN") && line.contains(file.path()));
            assert_eq!(is_warned, warned, "{mode:o} {}: {log}", file.path());
        }
    }
}

#[test]
fn the_greeting_has_a_curl_line_that_works() {
    let started = Started::serve(&[], &[]);
    let line = started.greeting[2].trim_start_matches("try").trim();
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let said = text(&output.stdout);
    assert!(said.starts_with("HTTP/1.1 202") && said.contains("\"kind\":\"demo\""), "{line}: {said}");
    let metrics =
        Command::new("curl").args(["-s", &format!("http://{}/metrics", started.address())]).output().unwrap();
    let metrics = text(&metrics.stdout);
    for line in [
        "inflight_http_requests_total{route=\"tasks\",status=\"2xx\"} 1",
        "inflight_http_request_duration_seconds_count{route=\"tasks\"} 1",
        "inflight_tasks{state=\"pending\"} 1",
        "inflight_capacity 1048576",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    started.stop();
}

#[test]
fn the_demo_shows_life() {
    let dir = std::env::temp_dir().join(format!("inflight-demo-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("abc"), "abc").unwrap();
    let started = Started::serve(&["--demo", dir.to_str().unwrap()], &[]);
    let events = format!("http://{}/v1/events?kind=file", started.address());
    let mut curl = Command::new("curl").args(["-sN", &events]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines().map(Result::unwrap);
    let ended = lines.find(|line| line.contains("\"status\":\"succeeded\"")).unwrap();
    assert!(ended.contains("\"path\":\"abc\""), "{ended}");
    curl.kill().unwrap();
    curl.wait().unwrap();
    started.stop();
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn help_and_completions_teach() {
    let help = text(&run(&["serve", "--help"], &[]).stdout);
    for part in [
        "--listen",
        "--demo",
        "--tokens-file",
        "Examples:",
        "INFLIGHT_BODY_LIMIT",
        "[default: 127.0.0.1:7117]",
    ] {
        assert!(help.contains(part), "{part}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&run(&["completions", shell], &[]).stdout);
        assert!(script.contains("--tokens-file") || script.contains("tokens-file"), "{shell}");
    }
    assert!(text(&run(&["--version"], &[]).stdout).starts_with("inflight "));
}
