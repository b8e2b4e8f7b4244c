//! What the user typed to simulate.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {}
