//! What the user typed to derive a profile.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::super::observe::watching;
use super::super::values::{duration, headroom, interval};
use super::{CommonArgs, Format, Listen, ReadArgs, WatchArgs, When};

#[derive(Debug, Clone, Args)]
pub struct RecommendArgs {
    /// Look into this network namespace: a name of `ip netns`, a process id, or a path
    #[arg(long, value_name = "NAME|PID|PATH", conflicts_with = "from")]
    pub netns: Option<String>,
    /// Derive it from recordings instead of this host; several are taken together
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub from: Vec<String>,
    /// Also write all that is looked at to FILE (.zst compresses)
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub record: Option<String>,
    /// Observe for so long
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub window: Duration,
    /// A look every so often; idle connections that come back are met between two looks
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = interval)]
    pub interval: Duration,
    /// Whether to listen to events: auto stops when many flows come
    #[arg(long, value_enum, default_value_t = Listen::Auto)]
    pub events: Listen,
    /// Have room for so many times the observed rate
    #[arg(long, value_name = "FACTOR", default_value = "3", value_parser = headroom)]
    pub headroom: f64,
    /// Two profiles, calm and spike, and the fills at which to switch
    #[arg(long)]
    pub adaptive: bool,
    #[command(flatten)]
    pub read: ReadArgs,
    /// text for people; json; or the profile alone, for the tool that sets it
    #[arg(long, value_enum, default_value_t = Shape::Text)]
    pub format: Shape,
    /// Colour in text: never in a pipe, and never with NO_COLOR set, unless `always`
    #[arg(long, value_enum, default_value_t = When::Auto, visible_alias = "color")]
    pub colour: When,
    /// Say on stderr how the table is read, and why so
    #[arg(short, long)]
    pub verbose: bool,
}

/// What a recommendation is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    Text,
    Json,
    /// A file for /etc/sysctl.d
    Sysctl,
    /// nftables' `ct timeout` objects, and the rules that use them for the flows in trouble only
    Nft,
    /// Commands of nfct(8), which define the same policies
    Nfct,
    /// The same policies, and the iptables rules that use them
    Iptables,
    /// Variables for a playbook
    Ansible,
}

impl RecommendArgs {
    pub fn common(&self, from: Option<&str>) -> CommonArgs {
        CommonArgs {
            netns: self.netns.clone(),
            from: from.map(str::to_string),
            record: self.record.clone(),
            format: match self.format {
                Shape::Json => Format::Json,
                _ => Format::Text,
            },
            colour: self.colour,
            verbose: self.verbose,
        }
    }

    /// How the host is observed.
    pub fn watching(&self) -> WatchArgs {
        WatchArgs {
            lasting: self.from.is_empty().then_some(self.window),
            ..watching(&self.common(None), &self.read, self.interval, self.events)
        }
    }
}
