//! Words in, exit code out: what the user typed, the look it asks for, and where the result goes.

pub mod args;
pub mod look;
