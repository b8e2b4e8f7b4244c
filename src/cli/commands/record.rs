//! `ctlens record`: what a diagnosis looks at, into a file.

use super::super::Outcome;
use super::super::args::RecordArgs;

pub fn record(args: &RecordArgs) -> anyhow::Result<Outcome> {
    anyhow::bail!("recording into {} is not there yet", args.file)
}
