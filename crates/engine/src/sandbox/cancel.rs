//! A switch that stops running steps at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::EventfdFlags;

/// A switch that is turned once, by anyone who has a copy, and seen by every step that
/// was started with one.
#[derive(Debug, Clone)]
pub struct Cancel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    turned: AtomicBool,
    /// Readable for ever once the switch is turned: nobody reads it.
    event: OwnedFd,
}

impl Cancel {
    /// A switch that is not turned.
    pub fn new() -> io::Result<Self> {
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { inner: Arc::new(Inner { turned: AtomicBool::new(false), event }) })
    }

    /// Turns the switch. What runs is killed; what would start does not.
    pub fn cancel(&self) {
        if !self.inner.turned.swap(true, Ordering::SeqCst) {
            // The counter starts at 0, so adding 1 to it cannot fail.
            let _ = rustix::io::write(&self.inner.event, &1_u64.to_ne_bytes());
        }
    }

    /// Whether the switch is turned.
    pub fn is_cancelled(&self) -> bool {
        self.inner.turned.load(Ordering::SeqCst)
    }
}

impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.event.as_fd()
    }
}
