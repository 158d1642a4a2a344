//! (being written)

pub mod dockerfile;
