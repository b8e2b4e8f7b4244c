//! Timeouts below what live connections need, in the wrong unit, or zero.

use super::lints::CT;
use super::{Context, Said};

/// The least that a live connection needs, in seconds, and what needs it.
const FLOORS: [(&str, u64, &str); 9] = [
    (
        "tcp_timeout_syn_sent",
        33,
        "a live client is silent for up to 32 s between two SYNs",
    ),
    (
        "tcp_timeout_syn_recv",
        32,
        "a server repeats its SYN/ACK after up to 31 s",
    ),
    (
        "tcp_timeout_established",
        7_440,
        "RFC 5382 asks for 2 h 4 min; keepalives come after 2 h",
    ),
    (
        "tcp_timeout_fin_wait",
        60,
        "a half-closed connection lives as long as its other end likes",
    ),
    (
        "tcp_timeout_close_wait",
        60,
        "a half-closed connection lives as long as its other end likes",
    ),
    (
        "tcp_timeout_time_wait",
        60,
        "the peers' own TIME_WAIT is 60 s: a translated port comes back too early",
    ),
    (
        "udp_timeout_stream",
        120,
        "RFC 4787 asks for two minutes at least",
    ),
    ("icmp_timeout", 10, "RFC 5508 asks for 60 s behind NAT"),
    (
        "tcp_timeout_unacknowledged",
        120,
        "a live connection may repeat a segment after 120 s",
    ),
];

pub fn below_floor(context: &Context) -> Vec<Said> {
    let keepalive = keepalive_secs(context);
    let mut out = Vec::new();
    for (rest, floor, why) in FLOORS {
        let name = format!("{CT}{rest}");
        let Some(secs) = context.number(&name).filter(|secs| *secs > 0) else {
            continue;
        };
        let (floor, why) = match keepalive {
            Some(keepalive) if rest == "tcp_timeout_established" && keepalive > floor && secs >= floor => {
                (keepalive, "this host's own keepalives end only then")
            }
            _ => (floor, why),
        };
        if secs < floor {
            out.push(Said {
                why: format!("{why}: {secs} s cut it off"),
                instead: Some(format!("{name} = {floor}")),
                name,
                severity: None,
            });
        }
    }
    out
}

/// Until keepalives have given a silent peer up; only where the time itself was set.
fn keepalive_secs(context: &Context) -> Option<u64> {
    let of = |rest: &str| context.number(&format!("net.ipv4.tcp_keepalive_{rest}"));
    Some(of("time")? + of("intvl").unwrap_or(75) * of("probes").unwrap_or(9))
}

fn timeouts<'a>(context: &'a Context) -> impl Iterator<Item = (String, u64)> + 'a {
    let all = context.beginning(CT).filter(|(rest, _)| rest.contains("timeout"));
    all.filter_map(|(rest, setting)| Some((format!("{CT}{rest}"), setting.value.parse().ok()?)))
}

pub fn zero(context: &Context) -> Vec<Said> {
    let zero = timeouts(context).filter(|(_, secs)| *secs == 0);
    zero.map(|(name, _)| Said {
        name,
        why: "entries expire as they are made: no answer finds its connection".to_string(),
        instead: None,
        severity: None,
    })
    .collect()
}

/// No timeout but that of ESTABLISHED is longer than this for a reason.
const LONGEST_SECS: u64 = 20_000;

pub fn milliseconds(context: &Context) -> Vec<Said> {
    let long = timeouts(context).filter(|(name, secs)| {
        *secs > LONGEST_SECS && secs % 1000 == 0 && !(name.ends_with("established") && *secs <= 864_000)
    });
    long.map(|(name, secs)| Said {
        why: format!(
            "{secs} s are {:.1} h; were milliseconds meant?",
            secs as f64 / 3600.0
        ),
        instead: Some(format!("{name} = {}", secs / 1000)),
        name,
        severity: None,
    })
    .collect()
}
