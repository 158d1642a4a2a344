//! The tests of the bake room that look at it from outside.
#![expect(clippy::unwrap_used, reason = "a test that fails is to stop")]
#![expect(clippy::disallowed_methods, reason = "the tests read files; what they test does not")]

mod bounds;
mod cases;
mod corpus;
mod live;
