//! Memory that is not used any more.
//!
//! The program's allocator (mimalloc) keeps what was freed for a second before the kernel gets it
//! back. That is right while a plan is made, of a great many small strings. While layers are
//! fetched, unpacked and packed by twenty threads it is a hundred megabytes that a build's own
//! processes could use.

#![expect(unsafe_code, reason = "the allocator's settings are C functions")]

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// `mi_option_purge_delay`, which the bindings do not name: milliseconds.
const PURGE_DELAY: mi_option_t = 15;

/// From now on the kernel gets back at once what is freed.
pub fn give_back_at_once() {
    // SAFETY: sets a number that the allocator reads atomically; any thread may do so, at any time,
    // and it means nothing if the program has another allocator.
    unsafe { mi_option_set(PURGE_DELAY, 0) }
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    #[test]
    fn the_number_is_that_of_the_delay() {
        // SAFETY: reads a number.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1000, "no other option of the allocator begins as 1000");
        give_back_at_once();
        assert_eq!(delay(), 0);
    }
}
