//! A headless Chromium, driven by the DevTools protocol over a pipe
//! (<https://chromedevtools.github.io/devtools-protocol/>).

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::tool;

/// Longest that the browser may take to answer before it counts as hung.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A browser with one page.
pub struct Chromium {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last_id: u64,
    session: Option<String>,
    /// Events that came while something else was waited for, in order.
    events: Vec<Value>,
    /// Its profile, which goes with it.
    _profile: TempDir,
}

impl Chromium {
    /// Starts the browser with an empty page of this size in CSS pixels.
    pub fn start(width: u32, height: u32) -> Self {
        let program = tool("chromium").expect("callers have asked for it");
        let profile = tempfile::tempdir().expect("a folder");
        // The protocol is spoken over the descriptors 3 and 4. The sandbox wants privileges that
        // containers lack, and all pages here are our own.
        let mut process = Command::new("sh")
            .args([
                "-c",
                "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1",
                "sh",
            ])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-extensions",
                "--no-first-run",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Chromium starts");
        let commands = process.stdin.take().expect("it was piped");
        let mut output = BufReader::new(process.stdout.take().expect("it was piped"));
        let (to, messages) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|n| n > 0) {
                if message.pop() != Some(0) {
                    break;
                }
                let value = serde_json::from_slice(&message).expect("Chromium speaks JSON");
                if to.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            process,
            commands,
            messages,
            last_id: 0,
            session: None,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let session = browser.call(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(width, height);
        browser
    }

    /// The result of a command.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut text = command.to_string().into_bytes();
        text.push(0);
        self.commands.write_all(&text).expect("Chromium listens");
        loop {
            let mut message = self.next_message(method);
            if message["id"] == self.last_id {
                assert_eq!(message["error"], Value::Null, "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    fn next_message(&self, what_for: &str) -> Value {
        let message = self.messages.recv_timeout(ANSWER_LIMIT);
        message.unwrap_or_else(|error| panic!("no answer to {what_for}: {error}"))
    }

    /// Sets the window's size in CSS pixels.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Whether the user prefers dark pages.
    pub fn prefer_dark(&mut self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": value}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Whether pages may run scripts. Holds for pages opened later.
    pub fn allow_scripts(&mut self, allowed: bool) {
        self.call(
            "Emulation.setScriptExecutionDisabled",
            json!({"value": !allowed}),
        );
    }

    /// Opens a file and waits until it is loaded.
    pub fn open(&mut self, file: &Path) {
        self.events.clear();
        let url = format!("file://{}", file.display());
        let answer = self.call("Page.navigate", json!({"url": url}));
        assert_eq!(answer["errorText"], Value::Null, "{answer}");
        let is_load = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(is_load) {
            let message = self.next_message("Page.navigate");
            self.events.push(message);
        }
    }

    /// Waits until the page is drawn as it now is, and has been told its size.
    pub fn rendered(&mut self) {
        let frame = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))";
        self.evaluate(frame);
    }

    /// The value of an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", parameters);
        assert_eq!(
            answer["exceptionDetails"],
            Value::Null,
            "{expression}: {answer}"
        );
        answer["result"]["value"].take()
    }

    /// Presses a key that types nothing, and lets it go.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            " " => (32, " "),
            "End" => (35, ""),
            "Home" => (36, ""),
            "ArrowLeft" => (37, ""),
            "ArrowUp" => (38, ""),
            "ArrowRight" => (39, ""),
            "ArrowDown" => (40, ""),
            _ => panic!("no code for {key}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let event =
                json!({"type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Moves the pointer over the middle of an element, which is scrolled into view, and says where
    /// that is.
    pub fn point_at(&mut self, selector: &str) -> (f64, f64) {
        let place = self.evaluate(&format!(
            "(() => {{ const element = document.querySelector({});
             element.scrollIntoView({{block: 'center', inline: 'center'}});
             const box = element.getBoundingClientRect();
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        ));
        let (x, y) = (place[0].as_f64().unwrap(), place[1].as_f64().unwrap());
        self.mouse("mouseMoved", x, y);
        (x, y)
    }

    /// Clicks on the middle of an element.
    pub fn click(&mut self, selector: &str) {
        let (x, y) = self.point_at(selector);
        self.mouse("mousePressed", x, y);
        self.mouse("mouseReleased", x, y);
    }

    fn mouse(&mut self, kind: &str, x: f64, y: f64) {
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        let event = json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": 1});
        self.call("Input.dispatchMouseEvent", event);
    }

    /// The page as PDF, in the page size that the browser chooses.
    pub fn pdf(&mut self) -> Vec<u8> {
        let answer = self.call("Page.printToPDF", json!({}));
        from_base64(answer["data"].as_str().expect("a document"))
    }

    /// The whole page as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let parameters = json!({"captureBeyondViewport": true, "format": "png",
            "clip": self.whole_page()});
        let answer = self.call("Page.captureScreenshot", parameters);
        from_base64(answer["data"].as_str().expect("a picture"))
    }

    fn whole_page(&mut self) -> Value {
        let size = self.evaluate(
            "[document.documentElement.clientWidth, document.documentElement.scrollHeight]",
        );
        json!({"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1})
    }

    /// What the page complained of since it was opened: errors, warnings, violations of its policy.
    pub fn complaints(&mut self) -> Vec<String> {
        let of = |method: &str, path: &str| {
            let events = self.events.iter().filter(|event| event["method"] == method);
            let bad = events.filter(|event| {
                let level = &event["params"]["entry"]["level"];
                let kind = &event["params"]["type"];
                match method {
                    "Log.entryAdded" => level == "error" || level == "warning",
                    "Runtime.consoleAPICalled" => {
                        kind == "error" || kind == "warning" || kind == "assert"
                    }
                    _ => true,
                }
            });
            let words = bad.map(|event| event.pointer(path).unwrap_or(event).to_string());
            words.collect::<Vec<_>>()
        };
        [
            of("Log.entryAdded", "/params/entry/text"),
            of("Runtime.consoleAPICalled", "/params/args"),
            of("Runtime.exceptionThrown", "/params/exceptionDetails"),
        ]
        .concat()
    }

    /// What the page asked for since it was opened, itself included.
    pub fn requests(&self) -> Vec<String> {
        let asked = |event: &&Value| event["method"] == "Network.requestWillBeSent";
        let events = self.events.iter().filter(asked);
        let url = |event: &Value| {
            event["params"]["request"]["url"]
                .as_str()
                .map(str::to_owned)
        };
        events.filter_map(url).collect()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It may have gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut known) = (0_u32, 0);
    for digit in text.bytes().take_while(|digit| *digit != b'=') {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => panic!("no base64"),
        };
        bits = bits << 6 | u32::from(value);
        known += 6;
        if known >= 8 {
            known -= 8;
            bytes.push((bits >> known) as u8);
            bits &= (1 << known) - 1;
        }
    }
    bytes
}
