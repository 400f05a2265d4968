//! A browser by hand: the dozen calls of WebDriver (https://www.w3.org/TR/webdriver2/) that the tests make.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chore::{Outcome, Workspace};
use crate::setup;

/// The name under which the protocol hands out elements (§12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// ChromeDriver and one session in it; both end with this value.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Closes the browser; without it a killed driver leaves it behind.
            let _ = self.call("DELETE", "", &Value::Null);
        }
        // Lets it take its temporary files away before it goes.
        let _ = exchange(self.port, "GET", "/shutdown", &Value::Null);
        thread::sleep(Duration::from_millis(100));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// Starts ChromeDriver on a free port, and a browser as `crates/web/webdriver.json` says.
    pub(crate) fn start(ws: &Workspace) -> Outcome<Self> {
        let program =
            setup::chromedriver(ws).ok_or("ChromeDriver is missing: cargo xtask setup --tests")?;
        let port = free_port()?;
        let line = ws.program(program).arg(format!("--port={port}"));
        let mut command = line.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = command.spawn().map_err(|e| line.no_start(&e))?;
        let mut browser = Self { driver, port, session: String::new() };
        browser.wait_until_ready()?;
        let reply = exchange(port, "POST", "/session", &capabilities(ws)?)?;
        browser.session = reply["sessionId"].as_str().unwrap_or_default().to_string();
        Ok(browser)
    }

    fn wait_until_ready(&mut self) -> Outcome {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if exchange(self.port, "GET", "/status", &Value::Null).is_ok_and(|s| s["ready"] == true)
            {
                return Ok(());
            }
            if let Ok(Some(status)) = self.driver.try_wait() {
                return Err(format!("ChromeDriver ended by itself ({status})"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err("ChromeDriver was not ready after 20 s".to_string())
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Outcome<Value> {
        exchange(self.port, method, &format!("/session/{}{path}", self.session), body)
    }

    /// Opens a page and waits until it has loaded.
    pub(crate) fn open(&self, url: &str) -> Outcome {
        self.call("POST", "/url", &json!({ "url": url })).map(drop)
    }

    /// Runs the body of a function with `arguments`; if it returns a promise, its value.
    pub(crate) fn eval(&self, script: &str, arguments: Value) -> Outcome<Value> {
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// Clicks in the middle of the first element of `css`, as a person would: if something lies over it, that
    /// is an error.
    pub(crate) fn click(&self, css: &str) -> Outcome {
        let find = json!({ "using": "css selector", "value": css });
        let found = self.call("POST", "/element", &find)?;
        let id = found[ELEMENT].as_str().unwrap_or_default();
        self.call("POST", &format!("/element/{id}/click"), &json!({})).map(drop)
    }

    /// The window as a PNG file.
    pub(crate) fn screenshot(&self) -> Outcome<Vec<u8>> {
        let text = self.call("GET", "/screenshot", &Value::Null)?;
        base64(text.as_str().unwrap_or_default())
            .ok_or_else(|| "a screenshot without sense".to_string())
    }

    /// Errors that the page left in the console since the last time this was asked.
    pub(crate) fn console_errors(&self) -> Outcome<Vec<String>> {
        // Not in the standard, but ChromeDriver's.
        let log = self.call("POST", "/se/log", &json!({ "type": "browser" }))?;
        let lines = log.as_array().map_or(&[][..], Vec::as_slice);
        let errors = lines.iter().filter(|line| line["level"] == "SEVERE");
        Ok(errors.map(|line| line["message"].as_str().unwrap_or_default().to_string()).collect())
    }
}

fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
    Ok(listener.local_addr().map_err(|e| e.to_string())?.port())
}

/// The capabilities of the browser tests, with a window of a laptop's size and the console's log.
fn capabilities(ws: &Workspace) -> Outcome<Value> {
    let file = ws.root.join("crates/web/webdriver.json");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut wanted: Value =
        serde_json::from_str(&text).map_err(|e| format!("webdriver.json: {e}"))?;
    if let Some(args) = wanted["goog:chromeOptions"]["args"].as_array_mut() {
        args.push(json!("--window-size=1440,900"));
    }
    wanted["browserName"] = json!("chrome");
    wanted["goog:loggingPrefs"] = json!({ "browser": "ALL" });
    Ok(json!({ "capabilities": { "alwaysMatch": wanted } }))
}

/// One request to the driver, and the `value` of its answer.
fn exchange(port: u16, method: &str, path: &str, body: &Value) -> Outcome<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (is_ok, text) = http(port, method, path, &body).map_err(|e| format!("WebDriver: {e}"))?;
    let mut reply: Value =
        serde_json::from_str(&text).map_err(|e| format!("WebDriver: {e}: {text}"))?;
    let value = reply["value"].take();
    if is_ok {
        return Ok(value);
    }
    let message = value["message"].as_str().unwrap_or(&text);
    Err(format!("WebDriver: {}", message.lines().next().unwrap_or_default()))
}

/// One request on its own connection. True if the status is 200.
fn http(port: u16, method: &str, path: &str, body: &str) -> std::io::Result<(bool, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n");
    let length =
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &length + body).as_bytes())?;
    let mut reader = BufReader::new(stream);
    let (is_ok, length) = read_head(&mut reader)?;
    let mut text = vec![0; length];
    reader.read_exact(&mut text)?;
    Ok((is_ok, String::from_utf8_lossy(&text).into_owned()))
}

/// Reads up to the empty line: whether the status is 200, and how long the body is.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<(bool, usize)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let is_ok = line.split(' ').nth(1) == Some("200");
    let mut length = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            return Ok((is_ok, length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
}

/// Decodes RFC 4648 §4.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = vec![];
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | u32::from(digit(c)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_rfc_4648() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64("Zm 9v"), None);
    }

    #[test]
    fn heads_of_answers() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\nx: y\r\n\r\nrest";
        assert_eq!(read_head(&mut head.as_bytes()).unwrap(), (true, 12));
        assert_eq!(read_head(&mut "HTTP/1.1 404 Not Found\r\n".as_bytes()).unwrap(), (false, 0));
    }
}
