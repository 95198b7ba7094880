//! Loopback to the egress socket: programs see an HTTP proxy on 127.0.0.1:3128 (and `creto.internal` on port 80, for those that
//! ignore proxy settings); each connection becomes one on the Unix socket the host mounted.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

const PROXY: &str = "127.0.0.1:3128";
const INTERNAL: &str = "127.0.0.1:80";
const EGRESS_SOCKET: &str = "/run/creto/egress.sock";
/// Most connections at once; further ones are closed at once, which a client sees as a reset.
const CONNECTIONS_MAX: usize = 512;
const STACK_BYTES: usize = 64 * 1024;

/// Listens, and carries connections from threads of its own.
pub(crate) fn start() -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    let proxy = TcpListener::bind(PROXY)?;
    serve(proxy, Arc::clone(&open))?;
    // Port 80 needs a capability that a stricter runtime may not give; the proxy port serves the same name.
    if let Ok(internal) = TcpListener::bind(INTERNAL) {
        serve(internal, open)?;
    }
    Ok(())
}

fn serve(listener: TcpListener, open: Arc<AtomicUsize>) -> io::Result<()> {
    Builder::new().stack_size(STACK_BYTES).spawn(move || {
        for connection in listener.incoming() {
            // An error here is the peer's: it went away before it was accepted.
            let Ok(client) = connection else { continue };
            let place = Place::take(&open);
            if let Some(place) = place {
                // A thread that cannot be had drops the connection, and its place with it.
                let _refused = Builder::new().stack_size(STACK_BYTES).spawn(move || {
                    let _ended = carry(&client);
                    drop(place);
                });
            }
        }
    })?;
    Ok(())
}

/// One of the [`CONNECTIONS_MAX`] places, given back on drop.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(Arc::clone(open));
        (open.fetch_add(1, Ordering::AcqRel) < CONNECTIONS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn carry(client: &TcpStream) -> io::Result<()> {
    let gateway = UnixStream::connect(EGRESS_SOCKET)?;
    // Failing to switch Nagle's algorithm off costs latency only.
    let _slower = client.set_nodelay(true);
    let (mut from_client, mut to_gateway) = (client.try_clone()?, gateway.try_clone()?);
    let upward = Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let _ended = io::copy(&mut from_client, &mut to_gateway);
        let _closed = to_gateway.shutdown(Shutdown::Write);
    })?;
    let (mut from_gateway, mut to_client) = (gateway, client.try_clone()?);
    let _ended = io::copy(&mut from_gateway, &mut to_client);
    // The gateway is done: whatever the client still sends has no reader.
    let _closed = client.shutdown(Shutdown::Both);
    let _joined = upward.join();
    Ok(())
}
