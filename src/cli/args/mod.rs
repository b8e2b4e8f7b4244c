//! What the user typed.

mod apply;
mod audit;
mod follow;
mod simulate;
mod tuning;

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::values::{Keys, age, duration, keys, mark, prefix, protocol, state, tap};
pub use apply::{ApplyArgs, ConfirmArgs, RollbackArgs};
pub use audit::{AuditArgs, AuditFormat};
pub use follow::{EventsArgs, Kind, Listen, Reason, WatchArgs};
pub use simulate::SimulateArgs;
pub use tuning::{RecommendArgs, Shape};

use crate::collect::{FlowFilter, Prefix};
use crate::model::TcpState;

const AFTER: &str = "\
Exit status: 0 nothing found, 1 something found or undecided, 2 could not look.
Reading entries needs CAP_NET_ADMIN (root). Looking never changes the host.
Durations: 500ms, 2s (or 2), 5m, 1h.

Examples:
  sudo ctlens diagnose                 who holds the half-open connections here?
  sudo ctlens status                   the table on one screen
  sudo ctlens recommend                which timeouts this traffic asks for
  ctlens diagnose --from incident/     pasted netstat, conntrack -L, sysctl.conf
  sudo ctlens record case.pcapng.zst   for a colleague, who types:
  ctlens diagnose --from case.pcapng.zst";

const AUDIT_EXAMPLES: &str = "\
Exit status: 0 nothing but notes, 1 errors or warnings, 2 could not read.

Examples:
  ctlens audit                                   what is in force here
  ctlens audit /etc/sysctl.d/*.conf /etc/sysctl.conf
  ctlens audit --kernel 6.1 tuning.conf          before the host is upgraded
  ctlens audit --format sarif etc/sysctl.d/*.conf > audit.sarif
  sysctl -a 2>/dev/null | ctlens audit -";

/// Who holds the half-open connections: the firewall, the proxy or the backend?
#[derive(Debug, Parser)]
#[command(name = "ctlens", version, about, long_about = None, after_help = AFTER, max_term_width = 80)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The table on one screen: fill, a row per state, damage counters, verdict
    ///
    /// Prints entries, nf_conntrack_max, fill, buckets and mean chain length; a row per protocol and TCP state with its
    /// count, share, timeout in force, entries per second entering it (where ages tell), median and oldest age, and how
    /// many early_drop may evict (not ASSURED); conntrack's counters as differences over the window; and the verdict's
    /// headline. As long as the window it also listens on the wire, as diagnose does; --window 0 does not. Over 100,000 entries it reads a sample, says so, and gives 95 % intervals; --exact reads all.
    ///
    /// JSON (--format json) has the schema ctlens.report/1, as of diagnose.
    Status(StatusArgs),
    /// The verdict: who holds the pile-up, the proof, and what to change first
    ///
    /// Two answers that are easily mixed up: the bottleneck is who holds the pile-up of half-open entries or, where
    /// nothing is held, who fails; the trigger is who leaves the SYNs unanswered in the first place. Sides: firewall
    /// (this host's own netfilter), proxy (this host's own sockets and settings), backend (that address, or the path
    /// beyond this host), client, path, none, undecided.
    ///
    /// --from takes a recording, or a folder (or one file) of pasted text: netstat and ss histograms or listings,
    /// conntrack -L, -S and -C, /proc/net/nf_conntrack, /proc/net/stat/nf_conntrack, sysctl.conf, sysctl -a. What a
    /// paste cannot show is listed as a gap.
    ///
    /// Confidence is computed: each piece of evidence has a weight in nats, they add up to log-odds, and confidence is
    /// 1 / (1 + e^-sum), at most 0.99.
    Diagnose(DiagnoseArgs),
    /// The entries, filtered
    ///
    /// Rows are those of conntrack -L, without use= and delta-time=; a zone of one direction counts as the entry's. A filter goes down to the kernel only where an early sample says that it
    /// matches enough of the table: a dump that matches little of a full hash stalls packets. The result is the same
    /// either way. Rows stream: memory does not grow with the table.
    List(ListArgs),
    /// New entries, changes and ends as they happen
    ///
    /// Rows are those of conntrack -E; an end says why: expired (its timeout ran out), refused (a RST to the SYN),
    /// evicted (early_drop in a full table), reused (a new connection took its tuple or port, or room was made among
    /// closed ones), deleted (by a program, named by its netlink port). Address, port and protocol filters run in the
    /// kernel. Events that find no room in the buffer are counted exactly, and a row `[LOST]`
    /// says so where they are missing.
    ///
    /// Listening costs the traffic of this host some µs for each new flow, in every namespace; UPDATE is not listened to
    /// unless asked for. Entries that are older than the first listener send no events while nf_conntrack_events is 2, its
    /// default.
    ///
    /// JSON is one object per line, with the schema ctlens.event/1.
    Events(EventsArgs),
    /// The same look again and again: where the table is going, and what comes and goes
    ///
    /// On a terminal a screen of its own: fill and what it is heading for, entries by state over time, who holds most,
    /// damage, and the verdict with its evidence (? tells the keys). Elsewhere, and with --lines, a line for each look;
    /// with --format json a document for each, with the schema ctlens.watch/1.
    ///
    /// While few flows come it listens to conntrack's events, which tell exactly what came, went and why, and corrects
    /// them by each whole reading of the table; listening costs the traffic some µs for each new flow. When many come it
    /// stops listening and only reads. It says which it does, and what that costs.
    ///
    /// Exit status: 0 ended by itself or by a key, 1 a condition of --until holds, 2 could not look.
    Watch(WatchArgs),
    /// Write what a diagnosis looks at into a file that --from replays
    ///
    /// The file is pcapng with the raw netlink messages, so tshark and Wireshark open it; a name that ends in .zst is
    /// compressed. It holds addresses of this host and its peers, names of processes with half-open sockets, and
    /// settings; not the content of any packet. Refusals are recorded like answers: diagnose --from FILE prints the
    /// same bytes again, on any machine.
    Record(RecordArgs),
    /// Timeouts that this host's traffic asks for, each with its reason and its price
    ///
    /// Observes for --window: who comes into each state, how long those stay who move on (p50, p99, p99.9, the longest),
    /// which share stays until its time is over, and after how long a silence idle connections came back. A value is a
    /// measured tail times a margin, and never below a floor, whose source is named; where too little was seen it keeps
    /// today's value and says for how long to observe. A value is changed only where that frees entries worth it at
    /// --headroom times the rate. Where one destination is the trouble, its flows alone get a shorter timeout.
    ///
    /// --format sysctl, ansible, nft, nfct and iptables print the profile alone, for the tool that sets it. nft, nfct and
    /// iptables set timeouts for the destinations in trouble; iptables' rules stand before destination NAT, so name there
    /// the address that clients use. JSON has the schema ctlens.recommend/1. Nothing is changed; `apply` does that.
    ///
    /// It listens to every change of every entry, which costs the traffic some µs each, and stops where that is too much.
    ///
    /// Exit status: 0 nothing to change, 1 something to change, 2 could not look.
    Recommend(RecommendArgs),
    /// Recorded flows under other timeouts: peak, losses, and who would have been cut
    ///
    /// Replays the flows of a recording (of recommend or watch) as the kernel would keep their entries: each until its
    /// last deadline, expired ones counted until they are collected, a full table with the kernel's own evictions. A flow
    /// that went on after its entry would have expired is cut; with nf_conntrack_tcp_loose it gets a new entry in its
    /// middle. --profile and --set are columns beside what was.
    ///
    /// Packets that renew a timeout send no event: they are met by the looks of the recording, to within an interval. When
    /// the kernel's collector runs is not known, so `peak count` is about. JSON has the schema ctlens.simulate/1.
    Simulate(SimulateArgs),
    /// Put a profile in force, and take it back unless it is confirmed
    ///
    /// Shows what changes and the commands that this stands for, asks, writes the sysctls of this network namespace (and
    /// loads the policies of targets as nftables' table inet ctlens), and waits to be confirmed: by `yes` here, or by
    /// `ctlens confirm` from elsewhere. Else it takes all back: when the time is over, on Ctrl-C, when this process dies
    /// (a watchdog holds the old values), or as soon as conntrack's drop, early_drop, insert_failed, chaintoolong or
    /// invalid, or failed connects of this host, rise above what they were. Every write is logged in
    /// /var/log/ctlens/changes.log (LOGS_DIRECTORY); the way back stands in /run/ctlens (RUNTIME_DIRECTORY).
    ///
    /// A shorter timeout does not shorten entries that are there. --flush-held deletes those that certainly nobody waits
    /// for: without a socket on the host that sent the SYN or is to answer it, and elsewhere only such as are older than
    /// any default client's last SYN. Each is looked at once more and deleted by its whole tuple and id.
    ///
    /// nf_conntrack_max and nf_conntrack_buckets are the host's: only the initial network namespace may write them.
    /// Exit status: 0 kept, or nothing to do; 1 taken back; 2 could not. JSON has the schema ctlens.apply/1.
    Apply(ApplyArgs),
    /// Keep what an apply that waits has put in force
    Confirm(ConfirmArgs),
    /// Restore what the last apply of a network namespace has changed
    ///
    /// Sysctls, the policies in nftables, and the file that --persist wrote. What somebody else has changed since stays,
    /// unless --force. Deleted entries do not come back.
    Rollback(RollbackArgs),
    /// Restores what apply has changed, when that dies
    #[command(hide = true)]
    Watchdog,
    /// The page of a cause: what it is, how it is told apart, what to do
    ///
    /// CAUSE is a code (CT001) or a name (syn-sent-hold), as diagnose prints them; without it, all causes are listed.
    /// JSON has the schema ctlens.cause/1.
    Explain(ExplainArgs),
    /// Lint conntrack and TCP settings, of this host or of files
    ///
    /// Without FILE it reads what is in force here. It needs no privilege; with CAP_NET_ADMIN it also compares the local
    /// ports with those of NAT rules. Files (sysctl.conf, sysctl.d fragments, the output of sysctl -a, `options
    /// nf_conntrack` of modprobe.d, - for standard input) are read in the order given, and later lines win. sysctl
    /// --system sorts fragments by their names, whichever directory they are in, and reads /etc/sysctl.conf last.
    ///
    /// Each finding has a code, its source, and the line to write instead. An error has no effect, or breaks connections;
    /// a warning is likely not what was meant; a note is harmless. JSON has the schema ctlens.audit/1; SARIF is version
    /// 2.1.0.
    #[command(after_help = AUDIT_EXAMPLES)]
    Audit(AuditArgs),
}

/// Where to look and how to print.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Look into this network namespace: a name of `ip netns`, a process id, or a path
    #[arg(long, value_name = "NAME|PID|PATH", conflicts_with = "from")]
    pub netns: Option<String>,
    /// Answer from a recording, or from pasted text (a file, or a folder of them), instead of this host
    #[arg(long, value_name = "FILE|DIR")]
    pub from: Option<String>,
    /// Also write all that is looked at to FILE (.zst compresses)
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub record: Option<String>,
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

#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// A code or a name
    #[arg(value_name = "CAUSE")]
    pub cause: Option<String>,
    /// text for people, json for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Colour in text: never in a pipe, and never with NO_COLOR set, unless `always`
    #[arg(long, value_enum, default_value_t = When::Auto, visible_alias = "color")]
    pub colour: When,
}

/// How much of a large table to read.
#[derive(Debug, Clone, Args)]
pub struct ReadArgs {
    /// Read only the first N entries of a random order; figures then carry error bounds
    #[arg(long, value_name = "N", conflicts_with = "exact", value_parser = clap::value_parser!(u64).range(1..))]
    pub sample: Option<u64>,
    /// Read every entry, whatever the size (default: a sample above 100,000 entries)
    #[arg(long)]
    pub exact: bool,
    #[command(flatten)]
    pub harm: HarmArgs,
}

/// What is never done unless it is wished for.
#[derive(Debug, Clone, Args)]
pub struct HarmArgs {
    /// Dump the table even where that may stall this host's packets, for up to a third of a second or longer
    ///
    /// The kernel fills each datagram of a dump with softirqs off: few entries in a hash that other namespaces fill
    /// make it walk all of it at once, and no packet of that CPU moves meanwhile. Such tables are read from
    /// /proc/net/nf_conntrack, which stalls nobody; -v says which way was taken and what a dump could cost.
    #[arg(long)]
    pub even_if_it_stalls: bool,
}

#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    /// Watch the counters for so long; 0 shows totals since boot
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub window: Duration,
}

#[derive(Debug, Clone, Args)]
pub struct DiagnoseArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub watch: WindowArgs,
}

#[derive(Debug, Clone, Args)]
pub struct WindowArgs {
    /// Watch the counters for so long; 0 = totals since boot, on which counter rules say nothing
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub window: Duration,
    /// Listen on the wire for so long (incoming TCP control and ICMP error headers; never promiscuous); 0 = not
    ///
    /// SYN, SYN/ACK, FIN, RST and ICMP unreachable. By default 3s where the wire can tell something that sockets and
    /// entries cannot: where this host forwards or listens, where rules stand before conntrack or rp_filter is strict,
    /// and where attempts of this host fail.
    #[arg(long, value_name = "DURATION", value_parser = tap)]
    pub tap: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub struct RecordArgs {
    /// The pcapng to write; tshark opens it; a name that ends in .zst is compressed
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Record this network namespace: a name of `ip netns`, a process id, or a path
    #[arg(long, value_name = "NAME|PID|PATH")]
    pub netns: Option<String>,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub watch: WindowArgs,
    /// Say on stderr how the table is read, and why so
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only entries whose timeout was set at least so long ago
    #[arg(long, value_name = "DURATION", value_parser = age)]
    pub older_than: Option<Duration>,
    /// Count by these instead: src, dst, sport, dport, proto, state, zone, mark, joined by `:`
    #[arg(long, value_name = "KEYS", value_parser = keys)]
    pub top: Option<Keys>,
    /// At most so many rows (with --top: 20 unless given)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Every entry, which is what list reads anyway
    #[arg(long)]
    pub exact: bool,
    #[command(flatten)]
    pub harm: HarmArgs,
}

/// Which entries.
#[derive(Debug, Clone, Args)]
pub struct FilterArgs {
    /// Only this TCP state: SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2
    #[arg(long, value_name = "STATE", value_parser = state)]
    pub state: Option<TcpState>,
    /// Only entries that never saw a packet in reply direction
    #[arg(long)]
    pub unreplied: bool,
    /// Original source: an address or a prefix
    #[arg(long, value_name = "ADDR[/BITS]", value_parser = prefix)]
    pub src: Option<Prefix>,
    /// Original destination: an address or a prefix
    #[arg(long, value_name = "ADDR[/BITS]", value_parser = prefix)]
    pub dst: Option<Prefix>,
    /// Original source port
    #[arg(long, value_name = "PORT")]
    pub sport: Option<u16>,
    /// Original destination port
    #[arg(long, value_name = "PORT")]
    pub dport: Option<u16>,
    /// Protocol, by name or number
    #[arg(long, value_name = "PROTO", value_parser = protocol)]
    pub proto: Option<u8>,
    /// Only this conntrack zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<u16>,
    /// Only this mark; with a mask only the bits in it
    #[arg(long, value_name = "MARK[/MASK]", value_parser = mark)]
    pub mark: Option<(u32, u32)>,
}

impl From<&FilterArgs> for FlowFilter {
    fn from(args: &FilterArgs) -> FlowFilter {
        FlowFilter {
            state: args.state,
            unreplied: args.unreplied,
            src: args.src,
            dst: args.dst,
            sport: args.sport,
            dport: args.dport,
            proto: args.proto,
            zone: args.zone,
            mark: args.mark,
            ..FlowFilter::default()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    Auto,
    Always,
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
