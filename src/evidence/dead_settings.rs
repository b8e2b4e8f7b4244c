//! Settings that do nothing, or harm, taken one by one: what is known of them, in one table.

use serde::Serialize;

use super::DeadSetting;
use crate::model::{Setting, current_name};

/// How bad a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Harmless, or a matter of choice.
    Note,
    /// Likely not what was meant.
    Warning,
    /// It does not do what it says, or it breaks connections.
    Error,
}

/// What is known of a setting.
struct Known {
    code: &'static str,
    severity: Severity,
    /// Where that can be read.
    source: &'static str,
    /// What to write instead; `None`: delete the line.
    instead: fn(&Setting) -> Option<String>,
    /// A name, or the beginning of one where it ends in `*`.
    name: &'static str,
    /// Where a kernel prints it, the kernel has it and took it.
    only_in_files: bool,
    /// The kernel refuses the value: what was in force stays.
    rejected: bool,
    why: fn(&Setting, &[Setting]) -> Option<String>,
}

const KNOWN: [Known; 6] = [
    Known {
        code: "AU001",
        severity: Severity::Error,
        source: "net/ipv4/sysctl_net_ipv4.c, ipv4_local_port_range()",
        instead: port_range_instead,
        name: "net.ipv4.ip_local_port_range",
        only_in_files: false,
        rejected: true,
        why: port_range,
    },
    Known {
        code: "AU002",
        severity: Severity::Error,
        source: "commit 4396e46187ca (Linux 4.12)",
        instead: nothing,
        name: "net.ipv4.tcp_tw_recycle",
        only_in_files: false,
        rejected: false,
        why: recycle,
    },
    Known {
        code: "AU003",
        severity: Severity::Error,
        source: "commit adf0516845bc (Linux 4.9)",
        instead: renamed,
        name: "net.ipv4.netfilter.ip_conntrack_*",
        only_in_files: true,
        rejected: false,
        why: legacy_name,
    },
    Known {
        code: "AU003",
        severity: Severity::Error,
        source: "commit adf0516845bc (Linux 4.9)",
        instead: renamed,
        name: "net.ipv4.ip_conntrack_*",
        only_in_files: true,
        rejected: false,
        why: legacy_name,
    },
    Known {
        code: "AU004",
        severity: Severity::Note,
        source: "net/netfilter/nf_conntrack_proto_tcp.c, _udp.c, _icmp.c, _generic.c",
        instead: nothing,
        name: "net.*",
        only_in_files: true,
        rejected: false,
        why: at_default,
    },
    Known {
        code: "AU005",
        severity: Severity::Error,
        source: "Documentation/networking/ip-sysctl.rst, tcp_mem",
        instead: nothing,
        name: "net.ipv4.tcp_mem",
        only_in_files: false,
        rejected: false,
        why: bytes_for_pages,
    },
];

/// Seconds, by the sysctls' names without `net.netfilter.nf_conntrack_` (nf_conntrack_proto_*.c).
const DEFAULT_SECS: [(&str, u32); 15] = [
    ("tcp_timeout_syn_sent", 120),
    ("tcp_timeout_syn_recv", 60),
    ("tcp_timeout_established", 432_000),
    ("tcp_timeout_fin_wait", 120),
    ("tcp_timeout_close_wait", 60),
    ("tcp_timeout_last_ack", 30),
    ("tcp_timeout_time_wait", 120),
    ("tcp_timeout_close", 10),
    ("tcp_timeout_max_retrans", 300),
    ("tcp_timeout_unacknowledged", 300),
    ("udp_timeout", 30),
    ("udp_timeout_stream", 120),
    ("icmp_timeout", 30),
    ("icmpv6_timeout", 30),
    ("generic_timeout", 600),
];

/// A dead setting, and what else is known of it.
pub struct Judged {
    pub dead: DeadSetting,
    pub line: usize,
    /// Its value never came into force.
    pub rejected: bool,
    pub code: &'static str,
    pub severity: Severity,
    pub source: &'static str,
    pub instead: Option<String>,
}

/// In the order in which they were pasted.
pub fn judge(settings: &[Setting]) -> Vec<Judged> {
    settings
        .iter()
        .filter_map(|setting| judge_one(setting, settings))
        .collect()
}

fn judge_one(setting: &Setting, all: &[Setting]) -> Option<Judged> {
    let mut reasons = Vec::new();
    let mut rejected = false;
    let mut gravest: Option<&Known> = None;
    let known = KNOWN
        .iter()
        .filter(|known| matches(known.name, &setting.name) && !(known.only_in_files && setting.in_force));
    for known in known {
        if let Some(reason) = (known.why)(setting, all) {
            reasons.push(reason);
            rejected |= known.rejected;
            gravest = gravest
                .filter(|other| other.severity >= known.severity)
                .or(Some(known));
        }
    }
    let known = gravest?;
    Some(Judged {
        dead: DeadSetting {
            file: setting.file.clone(),
            name: setting.name.clone(),
            value: setting.value.clone(),
            why: reasons.join("; "),
        },
        line: setting.line,
        rejected,
        code: known.code,
        severity: known.severity,
        source: known.source,
        instead: (known.instead)(setting),
    })
}

fn nothing(_: &Setting) -> Option<String> {
    None
}

fn renamed(setting: &Setting) -> Option<String> {
    Some(format!("{} = {}", current_name(&setting.name), setting.value))
}

/// Its ends brought between 1024 and 65535.
fn port_range_instead(setting: &Setting) -> Option<String> {
    let ends = numbers(setting).filter(|ends| ends.len() == 2)?;
    let (low, high) = (ends[0].min(ends[1]).max(1024), ends[0].max(ends[1]).min(65_535));
    (low < high).then(|| format!("{} = {low} {high}", setting.name))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

fn numbers(setting: &Setting) -> Option<Vec<u64>> {
    setting
        .value
        .split_whitespace()
        .map(|word| word.parse().ok())
        .collect()
}

/// ipv4_local_port_range() in net/ipv4/sysctl_net_ipv4.c: 1 to 65535, the lower one first.
fn port_range(setting: &Setting, _: &[Setting]) -> Option<String> {
    let what = match numbers(setting).as_deref() {
        Some([low, high]) => match [low, high].into_iter().find(|port| !(1..=65_535).contains(*port)) {
            Some(port) => format!("there is no port {port}"),
            None if high < low => "its ends are the wrong way round".to_string(),
            None => return None,
        },
        _ => "it is not two numbers".to_string(),
    };
    Some(format!(
        "the kernel rejects it, {what}: the range stays as it was"
    ))
}

fn recycle(setting: &Setting, _: &[Setting]) -> Option<String> {
    let why =
        "it drops the SYNs of clients that share one address, behind NAT for example; gone since Linux 4.12";
    (setting.value.trim() != "0").then(|| why.to_string())
}

fn legacy_name(setting: &Setting, _: &[Setting]) -> Option<String> {
    let heir = current_name(&setting.name);
    Some(format!(
        "no kernel since Linux 4.9 has this name: it is {heir} now"
    ))
}

fn at_default(setting: &Setting, _: &[Setting]) -> Option<String> {
    let name = current_name(&setting.name);
    let name = name.strip_prefix("net.netfilter.nf_conntrack_")?;
    let (_, default) = DEFAULT_SECS.iter().find(|(known, _)| *known == name)?;
    let same = setting.value.parse() == Ok(*default);
    same.then(|| format!("{default} s is the kernel's own default: it changes nothing"))
}

/// Above this an upper limit in pages is none.
const ABSURD_PAGES: u64 = 16_777_216;

/// tcp_mem counts pages, and tcp_rmem and tcp_wmem beside it bytes.
fn bytes_for_pages(setting: &Setting, all: &[Setting]) -> Option<String> {
    let values = numbers(setting)?;
    let [low, _, high] = values[..] else { return None };
    let buffers = ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"];
    let copied = all
        .iter()
        .any(|other| buffers.contains(&other.name.as_str()) && other.value == setting.value);
    // 4096 is what tcp_rmem and tcp_wmem begin with by default.
    (copied || low == 4096 || high >= ABSURD_PAGES).then(|| {
        format!(
            "it counts pages, and this looks like bytes: at 4 KiB a page TCP may take {:.0} GiB",
            high as f64 * 4096.0 / f64::from(1u32 << 30)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str, in_force: bool) -> Setting {
        Setting {
            file: "sysctl.conf".into(),
            line: 1,
            name: name.into(),
            value: value.into(),
            in_force,
        }
    }

    fn why(name: &str, value: &str) -> Option<String> {
        judge(&[set(name, value, false)])
            .pop()
            .map(|judged| judged.dead.why)
    }

    #[test]
    fn what_the_kernel_rejects_is_not_in_force() {
        for bad in [
            "1024 65536",
            "0 1024",
            "60000 1024",
            "1024",
            "1 99999999999 7",
            "words",
        ] {
            let judged = judge(&[set("net.ipv4.ip_local_port_range", bad, false)]);
            assert!(judged[0].rejected, "{bad}");
        }
        for good in ["1024 65535", "32768\t60999"] {
            assert_eq!(why("net.ipv4.ip_local_port_range", good), None, "{good}");
        }
    }

    #[test]
    fn names_and_values_that_do_nothing() {
        let got = why("net.ipv4.netfilter.ip_conntrack_tcp_timeout_syn_recv", "60").unwrap();
        assert!(
            got.contains("net.netfilter.nf_conntrack_tcp_timeout_syn_recv"),
            "{got}"
        );
        assert!(got.contains("own default"), "{got}");
        let got = why("net.ipv4.netfilter.ip_conntrack_max", "262144").unwrap();
        assert!(
            got.contains("net.netfilter.nf_conntrack_max") && !got.contains("default"),
            "{got}"
        );
        assert!(why("net.netfilter.nf_conntrack_tcp_timeout_established", "432000").is_some());
        for (name, value) in [
            ("net.netfilter.nf_conntrack_tcp_timeout_established", "7440"),
            ("net.netfilter.nf_conntrack_max", "262144"),
            ("net.ipv4.tcp_tw_recycle", "0"),
            ("net.ipv4.tcp_tw_reuse", "0"),
            ("net.ipv4.tcp_mem", "287901 383868 575802"),
            ("net.ipv4.tcp_rmem", "4096 87380 16777216"),
        ] {
            assert_eq!(why(name, value), None, "{name} = {value}");
        }
    }

    #[test]
    fn pages_set_as_if_they_were_bytes() {
        let triple = "8192 262144 524288";
        let copied = [
            set("net.ipv4.tcp_rmem", triple, false),
            set("net.ipv4.tcp_mem", triple, false),
        ];
        let got = judge(&copied);
        assert_eq!((got.len(), got[0].dead.name.as_str()), (1, "net.ipv4.tcp_mem"));
        assert!(got[0].dead.why.contains("2 GiB"), "{}", got[0].dead.why);
        assert!(why("net.ipv4.tcp_mem", "16777216 16777216 16777216").is_some());
        assert_eq!(why("net.ipv4.tcp_mem", triple), None);
    }

    #[test]
    fn what_a_kernel_prints_it_has() {
        for (name, value) in [
            ("net.ipv4.netfilter.ip_conntrack_max", "65536"),
            ("net.netfilter.nf_conntrack_tcp_timeout_syn_sent", "120"),
        ] {
            assert!(judge(&[set(name, value, true)]).is_empty(), "{name}");
        }
        assert_eq!(judge(&[set("net.ipv4.tcp_tw_recycle", "1", true)]).len(), 1);
    }
}
