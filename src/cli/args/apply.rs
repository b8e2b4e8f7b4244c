//! What the user typed to put a profile in force, and to take it back.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {}

#[derive(Debug, Clone, Args)]
pub struct ConfirmArgs {}

#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {}
