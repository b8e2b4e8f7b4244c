//! What the user typed to put a profile in force, and to take it back.

use std::time::Duration;

use clap::Args;

use super::super::values::{duration, setting};
use super::{Format, When};
use crate::model::Timer;

#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// A file of sysctl.d, or JSON of recommend; - for standard input
    #[arg(value_name = "PROFILE")]
    pub profile: Option<String>,
    /// A timeout in seconds, instead of or beside PROFILE: syn_sent=35
    #[arg(long, value_name = "NAME=SECS", value_parser = setting)]
    pub set: Vec<(Timer, u32)>,
    /// In this network namespace: a name of `ip netns`, a process id, or a path
    #[arg(long, value_name = "NAME|PID|PATH")]
    pub netns: Option<String>,
    /// Write without asking first
    #[arg(short, long)]
    pub yes: bool,
    /// Take it back unless it is confirmed within so long; 0 = keep it at once
    ///
    /// Confirmed by `yes` on this terminal, or by `ctlens confirm` from another one.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub confirm_within: Duration,
    /// Keep it when that time is over and no damage rose, without a word from anybody
    #[arg(long)]
    pub keep_if_quiet: bool,
    /// Count damage for so long before, to compare
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    pub baseline: Duration,
    /// Delete the half-open entries that certainly nobody waits for, each by its whole tuple
    #[arg(long, conflicts_with = "shorten_held")]
    pub flush_held: bool,
    /// Let them expire in so many seconds instead
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..))]
    pub shorten_held: Option<u32>,
    /// Once it is confirmed, write it for the next boot too: 60-ctlens.conf in DIR
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "/etc/sysctl.d")]
    pub persist: Option<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// text for people, json for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Colour in text: never in a pipe, and never with NO_COLOR set, unless `always`
    #[arg(long, value_enum, default_value_t = When::Auto, visible_alias = "color")]
    pub colour: When,
}

#[derive(Debug, Clone, Args)]
pub struct ConfirmArgs {
    /// Of this network namespace: a name of `ip netns`, a process id, or a path
    #[arg(long, value_name = "NAME|PID|PATH")]
    pub netns: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// Of this network namespace: a name of `ip netns`, a process id, or a path
    #[arg(long, value_name = "NAME|PID|PATH")]
    pub netns: Option<String>,
    /// Without asking first
    #[arg(short, long)]
    pub yes: bool,
    /// Restore also what somebody else has changed since
    #[arg(long)]
    pub force: bool,
}
