//! What the user typed to simulate.

use std::time::Duration;

use clap::Args;

use super::super::observe::watching;
use super::super::values::{duration, interval, rate, setting};
use super::{CommonArgs, Format, Listen, ReadArgs, WatchArgs, When};
use crate::model::Timer;

#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// The flows of this recording: `ctlens recommend --record FILE` makes one
    #[arg(long, value_name = "FILE", conflicts_with = "netns")]
    pub from: Option<String>,
    /// Without a recording: the flows of this network namespace, while they are observed
    #[arg(long, value_name = "NAME|PID|PATH")]
    pub netns: Option<String>,
    /// Observe for so long, where there is no recording
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub window: Duration,
    /// A look every so often, where there is no recording
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = interval)]
    pub interval: Duration,
    /// Also write all that is looked at to FILE (.zst compresses)
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub record: Option<String>,
    /// Under these timeouts: a file of sysctl.d, or JSON of recommend; one column each
    #[arg(long, value_name = "FILE")]
    pub profile: Vec<String>,
    /// Under this timeout, in seconds: syn_sent=20, udp=60; all of them are one column
    #[arg(long, value_name = "NAME=SECS", value_parser = setting)]
    pub set: Vec<(Timer, u32)>,
    /// With this nf_conntrack_max (default: the one in force, or a profile's)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max: Option<u64>,
    /// With so many hash buckets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub buckets: Option<u64>,
    /// So many times the flows
    #[arg(long, value_name = "xFACTOR", default_value = "x1", value_parser = rate)]
    pub rate: f64,
    #[command(flatten)]
    pub read: ReadArgs,
    /// text for people, json for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Colour in text: never in a pipe, and never with NO_COLOR set, unless `always`
    #[arg(long, value_enum, default_value_t = When::Auto, visible_alias = "color")]
    pub colour: When,
    /// Say on stderr how the table is read, and why so
    #[arg(short, long)]
    pub verbose: bool,
}

impl SimulateArgs {
    pub fn common(&self) -> CommonArgs {
        CommonArgs {
            netns: self.netns.clone(),
            from: self.from.clone(),
            record: self.record.clone(),
            format: self.format,
            colour: self.colour,
            verbose: self.verbose,
        }
    }

    /// How the host is observed.
    pub fn watching(&self) -> WatchArgs {
        WatchArgs {
            lasting: self.from.is_none().then_some(self.window),
            ..watching(&self.common(), &self.read, self.interval, Listen::Always)
        }
    }
}
