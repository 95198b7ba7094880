//! The agent inside a sandbox: process 1. It starts commands on the host's request, carries their streams, reaps every orphan, and
//! joins the loopback proxy port to the egress socket that the host mounted.
//!
//! It uses `std` only and is linked statically, so it runs on any root file system. It trusts nothing it was not sent on standard
//! input, and holds no secret: whatever governs the sandbox is on the other side of the pipes.

mod exec;
mod proxy;
mod sys;
#[path = "../src/wire.rs"]
mod wire;

use std::io::{self, BufReader};
use std::sync::{Arc, Mutex, PoisonError};

use exec::Commands;
use wire::Frame;

/// The way to the host. One frame at a time.
pub(crate) struct Host(Mutex<io::Stdout>);

impl Host {
    /// Sends a frame. A host that went away ends the sandbox.
    pub(crate) fn send(&self, frame: &Frame) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wire::write(&mut *out, frame).is_err() {
            std::process::exit(0);
        }
    }
}

fn main() {
    let host = Arc::new(Host(Mutex::new(io::stdout())));
    if let Err(error) = proxy::start() {
        eprintln!("creto-agent: no proxy port: {error}");
        std::process::exit(71);
    }
    let commands = Commands::start(Arc::clone(&host));
    host.send(&Frame::Ready { protocol: wire::PROTOCOL, statx_broken: sys::statx_is_broken() });
    let mut input = BufReader::new(io::stdin());
    loop {
        match wire::read(&mut input) {
            Ok(Some(frame)) => commands.handle(frame),
            // The host closed its end or died: with process 1 the whole sandbox ends.
            Ok(None) => std::process::exit(0),
            Err(error) => {
                eprintln!("creto-agent: {error}");
                std::process::exit(65);
            }
        }
    }
}
