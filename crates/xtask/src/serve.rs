//! The page while one works on it: built, served, and built again after every change.

use std::net::{Ipv4Addr, TcpStream};
use std::process::Child;
use std::thread;
use std::time::Duration;

use crate::chore::{Outcome, Workspace, timed};
use crate::setup::{self, Needs};

/// Sets up, then serves the page on `port` of this machine only, until Ctrl-C.
pub(crate) fn serve(ws: &Workspace, port: u16) -> Outcome {
    timed("setup", || setup::setup(ws, Needs::Site))?;
    if listens(port) {
        return Err(format!("Port {port} is taken; try: cargo xtask serve --port {}", port ^ 1));
    }
    let trunk =
        ws.line(&format!("trunk serve --release --offline=true --address 127.0.0.1 --port {port}"));
    println!("$ {}", trunk.text());
    let mut child = trunk.command().spawn().map_err(|e| trunk.no_start(&e))?;
    if announce(&mut child, port)? {
        child.wait().map_err(|e| e.to_string())?;
    }
    Err("trunk has stopped".to_string())
}

/// Waits for the first build and says where the page is. False if trunk ended before that.
fn announce(child: &mut Child, port: u16) -> Outcome<bool> {
    while !listens(port) {
        if child.try_wait().map_err(|e| e.to_string())?.is_some() {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(200));
    }
    println!("podwire is on http://127.0.0.1:{port}");
    Ok(true)
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}
