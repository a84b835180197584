//! A headless Chromium, controlled by WebDriver: JSON over HTTP, so an HTTP client is enough.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long the page may take to fulfil a condition.
const PATIENCE_MS: u64 = 15_000;

/// The window, and the preferences of the user.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Width and height in CSS pixels.
    pub size: (u32, u32),
    /// Whether the dark scheme is preferred.
    pub dark: bool,
    /// Whether it is a phone: it has touch, and obeys the meta viewport.
    pub phone: bool,
}

impl Look {
    /// A window on a desktop.
    pub const DESK: Look = Look { size: (1440, 900), dark: false, phone: false };
    /// The same with the dark scheme.
    pub const DARK: Look = Look { size: (1440, 900), dark: true, phone: false };
    /// A phone, upright.
    pub const PHONE: Look = Look { size: (390, 844), dark: false, phone: true };
}

/// One browser with one page. It is closed when this is dropped.
#[derive(Debug)]
pub struct Browser {
    http: Client<HttpConnector, Full<Bytes>>,
    port: u16,
    session: String,
    _driver: Child,
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Panics
    ///
    /// If it is not installed: `ci/browser.sh` installs it.
    pub async fn start(look: Look) -> Self {
        let (driver, port) = start_driver().await;
        let http = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let mut browser = Self { http, port, session: String::new(), _driver: driver };
        let (width, height) = look.size;
        let size = format!("--window-size={width},{height}");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--enable-precise-memory-info",
            "--force-color-profile=srgb",
            &size,
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 2 * PATIENCE_MS },
        } } });
        let made = browser.call(Method::POST, "/session", Some(capabilities)).await;
        browser.session = made.get("sessionId").and_then(Value::as_str).expect("a session").to_owned();
        if look.phone {
            let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 2, "mobile": true });
            browser.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
            browser.devtools("Emulation.setTouchEmulationEnabled", json!({ "enabled": true })).await;
        } else {
            let metrics =
                json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
            browser.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        }
        let scheme = if look.dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.devtools("Emulation.setEmulatedMedia", media).await;
        browser
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let answer = self.try_call(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("the browser refused {path}: {error}"))
    }

    async fn try_call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Value> {
        let uri = format!("http://127.0.0.1:{}{path}", self.port);
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let response = self.http.request(request).await.expect("the driver answers");
        let ok = response.status().is_success();
        let body = response.into_body().collect().await.expect("the driver's answer").to_bytes();
        let mut answer: Value = serde_json::from_slice(&body).expect("JSON");
        let value = answer.get_mut("value").map(Value::take).unwrap_or_default();
        if ok { Ok(value) } else { Err(value) }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.call(Method::POST, &format!("/session/{}{path}", self.session), Some(body)).await
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// Opens an address.
    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// Evaluates an expression in the page.
    pub async fn eval(&self, expression: &str) -> Value {
        self.post("/execute/sync", json!({ "script": format!("return ({expression});"), "args": [] })).await
    }

    /// Waits until an expression is truthy, evaluating it once a frame; returns its value.
    ///
    /// # Panics
    ///
    /// If the expression does not become truthy within fifteen seconds.
    pub async fn until(&self, expression: &str) -> Value {
        let script = format!(
            "const done = arguments[0], end = performance.now() + {PATIENCE_MS}; let last = null;
             (function look() {{
               let value = null;
               try {{ value = ({expression}); last = value; }} catch (error) {{ last = String(error); }}
               if (value) done([true, value]);
               else if (performance.now() > end) done([false, String(last)]);
               else setTimeout(look, 15);
             }})()"
        );
        let answer = self.post("/execute/async", json!({ "script": script, "args": [] })).await;
        let said = answer.get(1).cloned().unwrap_or_default();
        if answer.get(0) != Some(&json!(true)) {
            self.screenshot("failed").await;
            panic!("the page did not come to {expression}: {said}");
        }
        said
    }

    /// Runs a script that calls `done(value)`; returns the value.
    pub async fn run(&self, script: &str) -> Value {
        let script = format!("const done = arguments[0]; {script}");
        self.post("/execute/async", json!({ "script": script, "args": [] })).await
    }

    async fn element(&self, css: &str) -> String {
        let found = self.post("/element", json!({ "using": "css selector", "value": css })).await;
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("no element {css}")).to_owned()
    }

    /// Clicks with the mouse on the one element that `css` selects.
    pub async fn click(&self, css: &str) {
        self.until(&format!("document.querySelector({})", json!(css))).await;
        let id = self.element(css).await;
        self.post(&format!("/element/{id}/click"), json!({})).await;
    }

    /// Types into an element.
    pub async fn type_into(&self, css: &str, text: &str) {
        let id = self.element(css).await;
        self.post(&format!("/element/{id}/value"), json!({ "text": text })).await;
    }

    /// Presses keys, one after the other, in the element with the focus. Names are the WebDriver's code
    /// points.
    pub async fn keys(&self, keys: &[&str]) {
        let press = |key: &&str| {
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        };
        let actions: Vec<Value> = keys.iter().flat_map(press).collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("/actions", json!({ "actions": [keyboard] })).await;
    }

    /// The text of the element that `css` selects.
    pub async fn text(&self, css: &str) -> String {
        let text = self.eval(&format!("document.querySelector({})?.textContent", json!(css))).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Errors of scripts, and refusals by the content security policy, since the last call. A refused request
    /// (401, 409, 410) is not one of them: the page handles it.
    pub async fn errors(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({ "type": "browser" })).await;
        let entries = log.as_array().cloned().unwrap_or_default();
        entries
            .into_iter()
            .filter(|entry| field(entry, "level") == "SEVERE" && field(entry, "source") != "network")
            .map(|entry| field(&entry, "message").to_owned())
            .collect()
    }

    /// Writes the visible page to `name.png`.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let path = format!("/session/{}/screenshot", self.session);
        let image = self.call(Method::GET, &path, None).await;
        let image = STANDARD.decode(image.as_str().unwrap_or_default()).expect("base64");
        let folder = std::env::var_os("INFLIGHT_SCREENSHOTS")
            .map_or_else(|| std::env::temp_dir().join("inflight-screenshots"), PathBuf::from);
        std::fs::create_dir_all(&folder).expect("a folder for screenshots");
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, image).expect("a screenshot");
        path
    }
}

impl Drop for Browser {
    /// Closes the browser: otherwise the driver, which is killed next, would leave it running.
    fn drop(&mut self) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = write!(stream, "DELETE /session/{} HTTP/1.1\r\nhost: localhost\r\n\r\n", self.session);
        let _ = stream.read(&mut [0; 512]);
    }
}

fn field<'v>(entry: &'v Value, name: &str) -> &'v str {
    entry.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Starts a driver, which chooses its own port.
async fn start_driver() -> (Child, u16) {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("chromedriver is needed (ci/browser.sh installs it): {error}"));
    let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
    while let Some(line) = lines.next_line().await.expect("the driver's output") {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            let port = port.trim_end_matches('.').parse().expect("a port");
            // Its later output is not needed, but a full pipe would stop it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, port);
        }
    }
    panic!("chromedriver ended before it had started");
}
