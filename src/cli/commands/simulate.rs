//! `ctlens simulate`: recorded flows under other timeouts.

use super::super::Outcome;
use super::super::args::SimulateArgs;

pub fn simulate(_args: &SimulateArgs) -> anyhow::Result<Outcome> {
    anyhow::bail!("not built yet")
}
