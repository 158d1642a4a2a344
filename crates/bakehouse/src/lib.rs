//! The program: what a command line asks for, carried through the rooms.

pub mod demo;
pub mod hostbase;
