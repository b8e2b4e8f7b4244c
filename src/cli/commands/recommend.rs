//! `ctlens recommend`: timeouts that this host's traffic asks for.

use super::super::Outcome;
use super::super::args::RecommendArgs;

pub fn recommend(_args: &RecommendArgs) -> anyhow::Result<Outcome> {
    anyhow::bail!("not built yet")
}
