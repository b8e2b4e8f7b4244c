//! ctlens: who holds the half-open connections.

pub mod cli;
pub mod collect;
pub mod diagnose;
pub mod evidence;
pub mod kernel;
pub mod model;
pub mod wire;
