//! What came to a listener on loopback.

use std::cell::RefCell;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A listener on a free port, until the test ends, and what came and nobody took, in the order in which it came.
#[derive(Debug)]
pub(crate) struct Heard<T> {
    port: u16,
    pub(super) came: Receiver<T>,
    pub(super) kept: RefCell<Vec<T>>,
}

impl<T: Clone + Send + 'static> Heard<T> {
    /// Each connection is handed on, with where to say what came by it.
    pub(super) fn listen(take: impl Fn(TcpStream, &Sender<T>) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, came) = channel();
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| take(stream, &sender)));
        Self { port, came, kept: RefCell::default() }
    }

    pub(super) fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What has come by now and is this.
    pub(super) fn so_far(&self, is: impl Fn(&T) -> bool) -> Vec<T> {
        let mut kept = self.kept.borrow_mut();
        kept.extend(self.came.try_iter());
        kept.iter().filter(|it| is(it)).cloned().collect()
    }
}
