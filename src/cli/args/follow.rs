//! What the user typed to follow a host: `watch` and `events`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::super::conditions::{Condition, condition};
use super::super::values::{bytes, duration, interval, speed, switch, window_of};
use super::{CommonArgs, FilterArgs, ReadArgs};
use crate::tune::Switch;

#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    /// A look every so often
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    pub interval: Duration,
    /// Stop after so long (else: q, or Ctrl-C)
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub lasting: Option<Duration>,
    /// One line for each look, also on a terminal
    #[arg(long)]
    pub lines: bool,
    /// Stop, with exit status 1, as soon as this holds: fill>0.8, SYN_SENT>5000, drop>0, full_in<60, cause=table-full
    ///
    /// NAME OP VALUE. Names: fill (0 to 1), count, growth (entries a second), full_in (seconds), plateau, new, gone,
    /// lost (each a second), a TCP state, one of conntrack's counters (each second), confidence (0 to 1), cause,
    /// bottleneck, trigger, profile (calm or spike, of --adaptive). OP: > >= < <= = !=. Of several the first that holds stops.
    #[arg(long, value_name = "CONDITION", value_parser = condition)]
    pub until: Vec<Condition>,
    /// Tell, and run what --on-alert names, when this begins to hold
    #[arg(long, value_name = "CONDITION", value_parser = condition)]
    pub alert: Vec<Condition>,
    /// A shell command for each alert, once as it begins; CTLENS_ALERT and CTLENS_HEADLINE tell it why
    ///
    /// Without --alert: as soon as the verdict names somebody.
    #[arg(long, value_name = "COMMAND")]
    pub on_alert: Option<String>,
    /// Whether to listen to events: auto listens while few flows come, always and never do as they say
    #[arg(long, value_enum, default_value_t = Listen::Auto)]
    pub events: Listen,
    /// Listen to state changes too, for so long every so often: how long handshakes take
    #[arg(long, value_name = "FOR/EVERY", value_parser = window_of)]
    pub updates: Option<(Duration, Duration)>,
    /// Room for events that come faster than they are read
    #[arg(long, value_name = "BYTES", default_value = "8M", value_parser = bytes)]
    pub buffer: u32,
    /// Tell which of two profiles would be in force: JSON of `ctlens recommend --adaptive`; nothing is changed
    #[arg(long, value_name = "FILE", value_parser = switch)]
    pub adaptive: Option<Switch>,
    /// Of a recording: so many times as fast as it was (default: 1 on a terminal, else as fast as can be)
    #[arg(long, value_name = "FACTOR", value_parser = speed, requires = "from")]
    pub speed: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Listen {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// What to hear of: new, update, destroy, joined by `,`; each update costs the traffic some µs
    #[arg(long, value_name = "KINDS", value_delimiter = ',', default_values_t = [Kind::New, Kind::Destroy])]
    pub kinds: Vec<Kind>,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only entries that went for this reason: expired, refused, evicted, reused, deleted
    #[arg(long, value_name = "REASON")]
    pub gone: Option<Reason>,
    /// Stop after so long (else: Ctrl-C)
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub lasting: Option<Duration>,
    /// Stop after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Room for events that come faster than they are read; an event takes about 1,283 bytes
    #[arg(long, value_name = "BYTES", default_value = "8M", value_parser = bytes)]
    pub buffer: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    New,
    Update,
    Destroy,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::New => "new",
            Kind::Update => "update",
            Kind::Destroy => "destroy",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reason {
    Expired,
    Refused,
    Evicted,
    Reused,
    Deleted,
    Unknown,
}
