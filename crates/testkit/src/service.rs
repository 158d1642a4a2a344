//! A service in the process, on loopback: one function answers, a log tells what was asked.

use std::io::BufReader;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::registry::LoggedRequest;
use crate::registry::wire::{self, Request, Response};

/// A service that lives as long as this value.
#[derive(Debug)]
pub(crate) struct Service<S> {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared<S>>,
}

#[derive(Debug)]
struct Shared<S> {
    stopped: AtomicBool,
    state: Mutex<S>,
    log: Mutex<Vec<LoggedRequest>>,
    open: Mutex<Vec<TcpStream>>,
    answer: fn(&mut S, &Request) -> Response,
}

impl<S: Send + 'static> Service<S> {
    /// Starts one that knows its own address.
    pub(crate) fn start(
        state: impl FnOnce(SocketAddr) -> S,
        answer: fn(&mut S, &Request) -> Response,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            state: Mutex::new(state(address)),
            log: Mutex::default(),
            open: Mutex::default(),
            answer,
        });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &for_thread));
        Self { address, shared }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, S> {
        lock(&self.shared.state)
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<LoggedRequest> {
        lock(&self.shared.log).clone()
    }
}

impl<S> Drop for Service<S> {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        for open in &*lock(&self.shared.open) {
            drop(open.shutdown(Shutdown::Both));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept<S: Send + 'static>(listener: &TcpListener, shared: &Arc<Shared<S>>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        stream.set_nodelay(true).ok();
        if let Ok(again) = stream.try_clone() {
            lock(&shared.open).push(again);
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || serve(&stream, &shared));
    }
}

fn serve<S>(stream: &TcpStream, shared: &Shared<S>) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Ok(Some(request)) = wire::read_request(&mut reader) {
        let response = (shared.answer)(&mut lock(&shared.state), &request);
        lock(&shared.log).push(request.logged(response.status));
        match wire::write_response(&mut writer, &request, &response) {
            Ok(true) => {}
            Ok(false) | Err(_) => break,
        }
    }
    // The other side may be gone already.
    drop(stream.shutdown(Shutdown::Both));
}
