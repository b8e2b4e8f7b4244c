//! Values that the kernel refuses with EINVAL: what was in force stays.

use super::numbers::{all, first, grouped, whole, with_unit};
use super::{Context, Lint, Said, Severity};
use crate::model::{Setting, current_name};

pub const LINTS: &[Lint] = &[
    Lint {
        code: "AU001",
        title: "the kernel rejects the value",
        severity: Severity::Error,
        source: "kernel/sysctl.c, proc_get_long() and the do_proc_*_conv() functions",
        dead: true,
        check: rejected,
    },
    Lint {
        code: "AU026",
        title: "a number in base 8",
        severity: Severity::Warning,
        source: "kernel/sysctl.c, proc_get_long(): strtoul_lenient() with base 0",
        dead: false,
        check: octal,
    },
];

/// What a setting takes.
#[derive(Clone, Copy)]
enum Takes {
    /// A whole number between these, both included.
    Whole(i64, i64),
    /// Seconds that become jiffies.
    Seconds,
    /// Two ports, the lower one first.
    Ports,
    /// Ports and ranges of them, separated by commas.
    PortSet,
    /// Three sizes, each 1 at least.
    Sizes,
}

const ANY: Takes = Takes::Whole(i32::MIN as i64, i32::MAX as i64);
const BYTE: Takes = Takes::Whole(0, 255);
const SWITCH: Takes = Takes::Whole(0, 1);
/// Of a number that every kernel refuses: it is none.
const EVER: (u32, u32) = (2, 6);
/// Tried on this release; when it began is not known here.
const TRIED: (u32, u32) = (6, 18);

/// What is taken, since when, and where that can be read.
struct Value {
    name: &'static str,
    takes: Takes,
    since: (u32, u32),
    source: &'static str,
}

const fn value(name: &'static str, takes: Takes, since: (u32, u32), source: &'static str) -> Value {
    Value {
        name,
        takes,
        since,
        source,
    }
}

const TCP_TABLE: &str = "net/ipv4/sysctl_net_ipv4.c, ipv4_net_table (tried on Linux 6.18)";
const CT_TABLE: &str = "net/netfilter/nf_conntrack_standalone.c, nf_ct_sysctl_table (tried on Linux 6.18)";
const JIFFIES: &str = "kernel/sysctl.c, proc_dointvec_jiffies(): at most INT_MAX / HZ";

const VALUES: [Value; 37] = [
    value(
        "net.ipv4.ip_local_port_range",
        Takes::Ports,
        EVER,
        "net/ipv4/sysctl_net_ipv4.c, ipv4_local_port_range()",
    ),
    value(
        "net.ipv4.ip_local_reserved_ports",
        Takes::PortSet,
        EVER,
        "kernel/sysctl.c, proc_do_large_bitmap()",
    ),
    value("net.ipv4.tcp_rmem", Takes::Sizes, (3, 10), TCP_TABLE),
    value("net.ipv4.tcp_wmem", Takes::Sizes, (3, 10), TCP_TABLE),
    value(
        "net.ipv4.tcp_syn_retries",
        Takes::Whole(1, 127),
        (4, 12),
        TCP_TABLE,
    ),
    value("net.ipv4.tcp_synack_retries", BYTE, TRIED, TCP_TABLE),
    value("net.ipv4.tcp_keepalive_probes", BYTE, TRIED, TCP_TABLE),
    value("net.ipv4.tcp_retries1", BYTE, TRIED, TCP_TABLE),
    value("net.ipv4.tcp_retries2", BYTE, TRIED, TCP_TABLE),
    value("net.ipv4.tcp_syncookies", BYTE, TRIED, TCP_TABLE),
    value("net.ipv4.tcp_timestamps", BYTE, TRIED, TCP_TABLE),
    value("net.ipv4.tcp_abort_on_overflow", BYTE, TRIED, TCP_TABLE),
    value("net.ipv4.tcp_rfc1337", BYTE, TRIED, TCP_TABLE),
    value("net.ipv4.tcp_window_scaling", BYTE, TRIED, TCP_TABLE),
    value("net.ipv4.tcp_sack", BYTE, TRIED, TCP_TABLE),
    value("net.ipv4.tcp_tw_reuse", Takes::Whole(0, 2), TRIED, TCP_TABLE),
    value("net.ipv4.tcp_max_syn_backlog", ANY, EVER, TCP_TABLE),
    value("net.ipv4.tcp_max_tw_buckets", ANY, EVER, TCP_TABLE),
    value("net.ipv4.tcp_max_orphans", ANY, EVER, TCP_TABLE),
    value("net.ipv4.ip_forward", ANY, EVER, TCP_TABLE),
    value("net.ipv4.tcp_fin_timeout", Takes::Seconds, EVER, JIFFIES),
    value("net.ipv4.tcp_keepalive_time", Takes::Seconds, EVER, JIFFIES),
    value("net.ipv4.tcp_keepalive_intvl", Takes::Seconds, EVER, JIFFIES),
    value("net.core.rmem_max", ANY, EVER, "net/core/sysctl_net_core.c"),
    value("net.core.wmem_max", ANY, EVER, "net/core/sysctl_net_core.c"),
    value(
        "net.core.somaxconn",
        Takes::Whole(0, i32::MAX as i64),
        TRIED,
        "net/core/sysctl_net_core.c, netns_core_table (tried on Linux 6.18)",
    ),
    value("net.netfilter.nf_conntrack_max", ANY, EVER, CT_TABLE),
    value("net.netfilter.nf_conntrack_buckets", ANY, EVER, CT_TABLE),
    value("net.netfilter.nf_conntrack_acct", SWITCH, TRIED, CT_TABLE),
    value("net.netfilter.nf_conntrack_timestamp", SWITCH, TRIED, CT_TABLE),
    value("net.netfilter.nf_conntrack_checksum", SWITCH, TRIED, CT_TABLE),
    value("net.netfilter.nf_conntrack_tcp_loose", SWITCH, TRIED, CT_TABLE),
    value(
        "net.netfilter.nf_conntrack_tcp_be_liberal",
        SWITCH,
        TRIED,
        CT_TABLE,
    ),
    value(
        "net.netfilter.nf_conntrack_tcp_ignore_invalid_rst",
        SWITCH,
        TRIED,
        CT_TABLE,
    ),
    value(
        "net.netfilter.nf_conntrack_events",
        Takes::Whole(0, 2),
        TRIED,
        CT_TABLE,
    ),
    value("net.netfilter.nf_conntrack_log_invalid", BYTE, TRIED, CT_TABLE),
    value(
        "net.netfilter.nf_conntrack_tcp_max_retrans",
        BYTE,
        TRIED,
        CT_TABLE,
    ),
];

const CT: &str = "net.netfilter.nf_conntrack_";
/// All timeouts of conntrack take the same.
const TIMEOUT: Value = value(CT, Takes::Seconds, EVER, JIFFIES);

/// Why a value is refused.
pub struct Refusal {
    why: String,
    /// What may have been meant.
    instead: Option<String>,
    since: (u32, u32),
    source: &'static str,
}

fn known(name: &str) -> Option<&'static Value> {
    let name = current_name(name);
    if name.strip_prefix(CT).is_some_and(|rest| rest.contains("timeout")) {
        return Some(&TIMEOUT);
    }
    VALUES.iter().find(|value| value.name == name)
}

/// Why this kernel, or where none is known a recent one, refuses the value; `None` where it takes it, or is not known to
/// refuse it.
pub fn why(setting: &Setting, kernel: Option<(u32, u32)>) -> Option<Refusal> {
    // What a kernel printed it has taken.
    let known = known(&setting.name).filter(|_| !setting.in_force)?;
    let mut refusal = judge(setting, known)?;
    if kernel.is_some_and(|kernel| kernel < refusal.since) {
        return None;
    }
    let who = match kernel {
        None if refusal.since == TRIED => "Linux 6.18",
        _ => "the kernel",
    };
    refusal.why = format!("{who} rejects it, {}", refusal.why);
    Some(refusal)
}

/// Whether no kernel takes the value.
pub fn everywhere(setting: &Setting) -> bool {
    why(setting, None).is_some_and(|refusal| refusal.since <= EVER)
}

fn judge(setting: &Setting, known: &Value) -> Option<Refusal> {
    let (why, instead, since) = match known.takes {
        Takes::Whole(low, high) => whole_number(&setting.value, low, high, known.since)?,
        Takes::Seconds => seconds(&setting.value)?,
        Takes::Ports => ports(&setting.value)?,
        Takes::PortSet => port_set(&setting.value)?,
        Takes::Sizes => sizes(&setting.value, known.since)?,
    };
    Some(Refusal {
        why,
        instead: instead.map(|value| format!("{} = {value}", setting.name)),
        since,
        source: known.source,
    })
}

type Judged = (String, Option<String>, (u32, u32));

fn no_number(value: &str) -> String {
    match value.split_whitespace().next() {
        Some(word) if after_zeros(word).is_some() => {
            format!("{word} begins with a 0, and is no number in base 8")
        }
        Some(word) => format!("{word} is no whole number"),
        None => "there is no number".to_string(),
    }
}

/// The digits of a word that begins with a 0, as its writer meant them.
fn after_zeros(word: &str) -> Option<&str> {
    let rest = word.strip_prefix('0')?.trim_start_matches('0');
    (!rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())).then_some(rest)
}

fn whole_number(value: &str, low: i64, high: i64, since: (u32, u32)) -> Option<Judged> {
    match first(value) {
        None => {
            let word = value.split_whitespace().next().unwrap_or("").to_lowercase();
            let meant = match word.as_str() {
                "yes" | "true" | "on" | "enabled" => Some("1".to_string()),
                "no" | "false" | "off" | "disabled" => Some("0".to_string()),
                word => after_zeros(word).map(str::to_string),
            };
            Some((no_number(value), meant.filter(|_| low <= 1), EVER))
        }
        Some(number) if number < low || number > high => {
            let why = format!("it takes {} to {}", grouped(low), grouped(high));
            let fits_int = i32::try_from(number).is_ok();
            let nearest = number.clamp(low, high).to_string();
            Some((why, Some(nearest), if fits_int { since } else { EVER }))
        }
        Some(_) => None,
    }
}

/// INT_MAX / HZ where HZ is 100, the least in use.
const MOST_SECS: i64 = i32::MAX as i64 / 100;

fn seconds(value: &str) -> Option<Judged> {
    match first(value) {
        None => {
            let word = value.split_whitespace().next().unwrap_or("");
            let meant = with_unit(word).map(|secs| secs.to_string());
            let meant = meant.or_else(|| after_zeros(word).map(str::to_string));
            Some((
                format!("{}: seconds without a unit", no_number(value)),
                meant,
                EVER,
            ))
        }
        Some(secs) if secs.unsigned_abs() > MOST_SECS.unsigned_abs() => {
            let why = format!("no more than {} s fit in", grouped(MOST_SECS));
            Some((why, None, EVER))
        }
        Some(_) => None,
    }
}

/// Since 4.11 no port below ip_unprivileged_port_start (commit 4548b683b781), which is 1024 by default.
const PRIVILEGED_BELOW: i64 = 1_024;

/// One number alone is taken for the lower end, and what follows two is not read.
fn ports(value: &str) -> Option<Judged> {
    let range = |low: i64, high: i64| {
        let (low, high) = (low.min(high).max(PRIVILEGED_BELOW), low.max(high).min(65_535));
        (low < high).then(|| format!("{low} {high}"))
    };
    let words: Vec<&str> = value.split_whitespace().take(2).collect();
    let Some(ends) = words.iter().map(|word| whole(word)).collect::<Option<Vec<i64>>>() else {
        let meant = value
            .split([',', '-', ':', ' '])
            .filter(|word| !word.is_empty())
            .map(whole);
        let meant = match meant.collect::<Option<Vec<i64>>>().as_deref() {
            Some([low, high]) => range(*low, *high),
            _ => None,
        };
        return Some((stays("it is not two numbers"), meant, EVER));
    };
    let judged = match ends[..] {
        [low] if !(1..=65_535).contains(&low) => (format!("there is no port {low}"), None, EVER),
        [low, high] => match [low, high].into_iter().find(|port| !(1..=65_535).contains(port)) {
            Some(port) => (format!("there is no port {port}"), range(low, high), EVER),
            None if high < low => (
                "its ends are the wrong way round".to_string(),
                range(low, high),
                EVER,
            ),
            None if low < PRIVILEGED_BELOW => {
                let why = "it begins below ip_unprivileged_port_start (1024 by default)".to_string();
                (why, range(low, high), (4, 11))
            }
            None => return None,
        },
        [] => ("there is no number".to_string(), None, EVER),
        _ => return None,
    };
    Some((stays(&judged.0), judged.1, judged.2))
}

fn stays(why: &str) -> String {
    format!("{why}: the range stays as it was")
}

/// Commas only: a blank ends the list, and what follows is an error.
fn port_set(value: &str) -> Option<Judged> {
    let port = |word: &str| whole(word).filter(|port| (0..=65_535).contains(port));
    let good = |part: &str| match part.split_once('-') {
        Some((low, high)) => port(low).is_some() && port(low) <= port(high),
        None => port(part).is_some(),
    };
    if value.is_empty() || value.split(',').all(good) {
        return None;
    }
    let meant: Vec<&str> = value.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    let joined = meant.iter().all(|part| good(part)).then(|| meant.join(","));
    let why = "it takes ports and ranges, separated by commas alone: the list stays as it was";
    Some((why.to_string(), joined, EVER))
}

fn sizes(value: &str, since: (u32, u32)) -> Option<Judged> {
    let first_three: Vec<&str> = value.split_whitespace().take(3).collect();
    let Some(numbers) = all(&first_three.join(" ")).filter(|numbers| !numbers.is_empty()) else {
        return Some(("it is not three numbers".to_string(), None, EVER));
    };
    let out = numbers.iter().find(|n| !(1..=i64::from(i32::MAX)).contains(n))?;
    let why = format!(
        "{} is no size between 1 and {}",
        grouped(*out),
        grouped(i64::from(i32::MAX))
    );
    Some((why, None, since))
}

fn rejected(context: &Context, out: &mut Vec<Said>) {
    for (index, setting) in context.all() {
        if let Some(refusal) = why(setting, context.around.kernel) {
            let said = Said::of(index, refusal.why).by(refusal.source);
            out.push(match refusal.instead {
                Some(line) => said.write(line),
                None => said.delete(),
            });
        }
    }
}

fn octal(context: &Context, out: &mut Vec<Said>) {
    for (index, setting) in context.asked() {
        let word = setting.value.split_whitespace().next().unwrap_or("");
        let one = known(&setting.name)
            .is_some_and(|known| matches!(known.takes, Takes::Whole(..) | Takes::Seconds));
        let (Some(meant), Some(read)) = (after_zeros(word), whole(word)) else {
            continue;
        };
        if one && meant.parse() != Ok(read) {
            let why = format!("a 0 in front makes it base 8: the kernel reads {read}");
            out.push(Said::of(index, why).write(format!("{} = {meant}", setting.name)));
        }
    }
}
