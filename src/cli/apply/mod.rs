//! `ctlens apply`, `confirm` and `rollback`: a profile in force, with a way back.

use super::Outcome;
use super::args::{ApplyArgs, ConfirmArgs, RollbackArgs};

pub fn apply(_args: &ApplyArgs) -> anyhow::Result<Outcome> {
    anyhow::bail!("not built yet")
}

pub fn confirm(_args: &ConfirmArgs) -> anyhow::Result<Outcome> {
    anyhow::bail!("not built yet")
}

pub fn rollback(_args: &RollbackArgs) -> anyhow::Result<Outcome> {
    anyhow::bail!("not built yet")
}
