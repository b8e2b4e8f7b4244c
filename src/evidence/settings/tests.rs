//! Each lint meets what it is for, and nothing else.

use super::*;
use crate::model::{Action, Engine, Family, FilterRule, Mapping, Ruleset};

const CT: &str = "net.netfilter.nf_conntrack_";

fn settings(lines: &str, in_force: bool) -> Vec<Setting> {
    let setting = |(index, line): (usize, &str)| {
        let (name, value) = line.split_once('=').unwrap_or(("", line));
        Setting {
            file: "sysctl.conf".into(),
            line: index + 1,
            name: name.trim().replace("CT.", CT),
            value: value.trim().into(),
            in_force,
        }
    };
    lines.split('|').enumerate().map(setting).collect()
}

fn judged(lines: &str, around: &Around) -> Vec<(&'static str, usize)> {
    let settings = settings(lines, false);
    lint(&settings, around)
        .into_iter()
        .map(|(lint, said)| (lint.code, said.index + 1))
        .collect()
}

fn codes(lines: &str) -> Vec<(&'static str, usize)> {
    judged(lines, &Around::default())
}

/// What to write instead, of the first that the lint says.
fn instead(code: &str, lines: &str) -> Option<String> {
    let settings = settings(lines, false);
    let all = lint(&settings, &Around::default());
    let (_, said) = all.into_iter().find(|(lint, _)| lint.code == code)?;
    said.instead
}

#[test]
fn a_good_file_says_nothing() {
    let good = "CT.max = 1048576|CT.buckets = 1048576|CT.tcp_timeout_established = 86400|\
                net.ipv4.ip_local_port_range = 10240 65000|net.core.somaxconn = 4096|\
                net.ipv4.tcp_max_syn_backlog = 4096|CT.udp_timeout_stream = 180|net.ipv4.tcp_syncookies = 1|\
                kernel.panic = 10|net.ipv4.tcp_rmem = 4096 87380 16777216|net.ipv4.tcp_mem = 287901 383868 575802";
    assert_eq!(codes(good), []);
}

/// Code, the line that it is said of, and the lines.
const CASES: &[(&str, usize, &str)] = &[
    ("AU001", 1, "net.ipv4.ip_local_port_range = 1024 65536"),
    ("AU001", 1, "net.ipv4.ip_local_port_range = 512 65535"),
    ("AU001", 1, "CT.udp_timeout = 60s"),
    ("AU001", 1, "net.ipv4.netfilter.ip_conntrack_udp_timeout = 1m"),
    ("AU001", 1, "net.ipv4.ip_local_reserved_ports = 8080 9090"),
    ("AU002", 1, "net.ipv4.tcp_tw_recycle = 1"),
    ("AU003", 1, "net.ipv4.netfilter.ip_conntrack_max = 262144"),
    ("AU003", 1, "net.ipv4.ip_conntrack_tcp_loose = 0"),
    ("AU004", 1, "CT.tcp_timeout_syn_sent = 120"),
    ("AU005", 1, "net.ipv4.tcp_mem = 4096 87380 16777216"),
    ("AU006", 1, "net.core.somaxconn = 512|net.core.somaxconn = 1024"),
    ("AU006", 1, "net.nf_conntrack_max = 1|CT.max = 2"),
    ("AU007", 2, "CT.max = 1048576|CT.buckets = 16384"),
    ("AU007", 1, "CT.max = 4194304"),
    ("AU007", 1, "options nf_conntrack hashsize=1024|CT.max = 65536"),
    ("AU008", 1, "CT.max = 4194304"),
    (
        "AU009",
        1,
        "net.core.somaxconn = 128|net.ipv4.tcp_max_syn_backlog = 65536",
    ),
    ("AU009", 1, "net.ipv4.tcp_max_syn_backlog = 65536"),
    ("AU010", 1, "net.ipv4.tcp_syncookies = 0"),
    ("AU011", 1, "net.ipv4.tcp_abort_on_overflow = 1"),
    (
        "AU012",
        2,
        "net.ipv4.tcp_tw_reuse = 1|net.ipv4.tcp_timestamps = 0",
    ),
    ("AU013", 1, "net.ipv4.ip_local_port_range = 1024 65535"),
    ("AU014", 1, "net.core.rmem_max = 212992"),
    ("AU015", 1, "CT.tcp_timeout_established = 600"),
    (
        "AU015",
        1,
        "CT.tcp_timeout_established = 7500|net.ipv4.tcp_keepalive_time = 7200",
    ),
    ("AU015", 1, "CT.tcp_timeout_syn_sent = 20"),
    ("AU015", 1, "CT.tcp_timeout_time_wait = 30"),
    ("AU015", 1, "CT.udp_timeout_stream = 60"),
    ("AU016", 1, "CT.udp_timeout = 0"),
    ("AU016", 1, "CT.udp_timeout = -1"),
    ("AU017", 1, "CT.tcp_timeout_fin_wait = 120000"),
    ("AU018", 1, "CT.helper = 1"),
    ("AU019", 1, "CT.checksum = 0"),
    ("AU020", 1, "CT.log_invalid = 6"),
    ("AU021", 1, "CT.max = 0"),
    ("AU022", 1, "net.ipv4.tcp_rfc1337 = 1"),
    ("AU024", 1, "CT.tcp_no_window_check = 1"),
    ("AU024", 1, "net.ipv4.tcp_frto_response = 2"),
    ("AU025", 1, "net.ipv4.tcp_low_latency = 1"),
    ("AU026", 1, "CT.udp_timeout = 0170"),
    ("AU001", 1, "CT.udp_timeout = 0180"),
    ("AU027", 1, "CT.tcp_be_liberal = 1"),
    ("AU028", 1, "CT.tcp_loose = 0"),
    ("AU029", 1, "CT.events = 0"),
    ("AU030", 1, "CT.tcp_timeout_close_wait = 3600"),
    ("AU031", 1, "options ip_conntrack hashsize=65536"),
    ("AU032", 1, "net.ipv4.tcp_syncookies = 2"),
    ("AU033", 1, "net.ipv4.tcp_max_tw_buckets = 5000"),
    ("AU034", 1, "net.ipv4.tcp_window_scaling = 0"),
    ("AU037", 1, "net.ipv4.tcp_sack = 1"),
    ("AU038", 1, "net.core.somaxconn 128"),
    ("AU039", 1, "CT.tcp_timeout_established = 120"),
    (
        "AU040",
        1,
        "options nf_conntrack hashsize=65536|CT.buckets = 131072",
    ),
];

#[test]
fn each_lint_meets_what_it_is_for() {
    for (code, line, lines) in CASES {
        let got = codes(lines);
        assert!(got.contains(&(code, *line)), "{code} not in {got:?} of {lines}");
    }
    // These need more than the settings, and have tests of their own below.
    let others = ["AU023", "AU035", "AU036", "AU041"];
    let untried =
        |lint: &&Lint| !others.contains(&lint.code) && CASES.iter().all(|(code, ..)| *code != lint.code);
    assert_eq!(lints().into_iter().filter(untried).count(), 0);
}

#[test]
fn values_that_the_kernel_takes_are_not_refused() {
    for good in [
        "net.ipv4.ip_local_port_range = 1024 65535",
        "net.ipv4.ip_local_port_range = 32768\t60999",
        // One number alone is the lower end, and what follows two is not read.
        "net.ipv4.ip_local_port_range = 1024",
        "net.ipv4.ip_local_port_range = 1024 65535 # ports",
        "net.ipv4.ip_local_reserved_ports =",
        "net.ipv4.ip_local_reserved_ports = 8080,9000-9100",
        "net.ipv4.tcp_tw_reuse = 2",
        "CT.events = 2",
        "CT.log_invalid = 255",
        "CT.tcp_timeout_established = 8589934",
        "CT.acct = 1 # for conntrack -L",
        "net.ipv4.tcp_rmem = 4096 87380",
    ] {
        assert!(!codes(good).iter().any(|(code, _)| *code == "AU001"), "{good}");
    }
    for bad in ["0 1024", "60000 1024", "words", "1024-65535", "1024,65535", ""] {
        let all = settings(&format!("net.ipv4.ip_local_port_range = {bad}"), false);
        assert!(dead(&all)[0].1, "{bad}");
    }
}

#[test]
fn what_is_written_instead() {
    for (code, lines, line) in [
        (
            "AU001",
            "net.ipv4.ip_local_port_range = 1024 65536",
            Some("net.ipv4.ip_local_port_range = 1024 65535"),
        ),
        (
            "AU001",
            "net.ipv4.ip_local_port_range = 1024-65000",
            Some("net.ipv4.ip_local_port_range = 1024 65000"),
        ),
        (
            "AU001",
            "CT.generic_timeout = 10m",
            Some("net.netfilter.nf_conntrack_generic_timeout = 600"),
        ),
        (
            "AU001",
            "net.ipv4.tcp_syncookies = true",
            Some("net.ipv4.tcp_syncookies = 1"),
        ),
        (
            "AU001",
            "net.ipv4.ip_local_reserved_ports = 80 443",
            Some("net.ipv4.ip_local_reserved_ports = 80,443"),
        ),
        (
            "AU003",
            "net.ipv4.ip_conntrack_max = 9",
            Some("net.netfilter.nf_conntrack_max = 9"),
        ),
        // The new name would be at its default.
        (
            "AU003",
            "net.ipv4.netfilter.ip_conntrack_tcp_timeout_syn_recv = 60",
            None,
        ),
        (
            "AU017",
            "CT.tcp_timeout_fin_wait = 120000",
            Some("net.netfilter.nf_conntrack_tcp_timeout_fin_wait = 120"),
        ),
        (
            "AU026",
            "CT.udp_timeout = 0170",
            Some("net.netfilter.nf_conntrack_udp_timeout = 170"),
        ),
        (
            "AU001",
            "CT.udp_timeout = 0180",
            Some("net.netfilter.nf_conntrack_udp_timeout = 180"),
        ),
        (
            "AU039",
            "CT.tcp_timeout_established = 180",
            Some("net.netfilter.nf_conntrack_tcp_timeout_established = 10800"),
        ),
    ] {
        assert_eq!(instead(code, lines).as_deref(), line, "{lines}");
    }
}

#[test]
fn what_a_kernel_prints_it_has() {
    for line in [
        "net.ipv4.netfilter.ip_conntrack_max = 65536",
        "CT.tcp_timeout_syn_sent = 120",
        "net.ipv4.tcp_low_latency = 0",
        "CT.dccp_loose = 1",
    ] {
        let printed = settings(line, true);
        assert_eq!(lint(&printed, &Around::default()).len(), 0, "{line}");
    }
    let recycle = settings("net.ipv4.tcp_tw_recycle = 1", true);
    assert_eq!(dead(&recycle).len(), 1);
}

#[test]
fn the_kernel_decides_which_names_there_are() {
    let on = |kernel, lines: &str| {
        let around = Around {
            kernel: Some(kernel),
            ..Around::default()
        };
        judged(lines, &around)
    };
    assert_eq!(on((4, 4), "net.ipv4.netfilter.ip_conntrack_max = 262144"), []);
    assert_eq!(
        on((4, 9), "net.ipv4.netfilter.ip_conntrack_max = 262144"),
        [("AU003", 1)]
    );
    assert_eq!(on((5, 10), "CT.helper = 0"), []);
    assert_eq!(on((6, 1), "CT.helper = 0"), [("AU024", 1)]);
    assert_eq!(on((5, 15), "CT.events = 2"), [("AU036", 1)]);
    assert_eq!(on((6, 1), "CT.events = 2"), []);
    // When the kernel began to refuse it is not known: only what was tried is said.
    assert_eq!(on((5, 10), "CT.tcp_loose = 2"), []);
    assert_eq!(on((6, 18), "CT.tcp_loose = 2"), [("AU001", 1)]);
    assert_eq!(
        on((4, 9), "net.ipv4.ip_local_port_range = 512 65535"),
        [("AU013", 1)]
    );
}

#[test]
fn a_value_that_is_refused_is_not_in_force() {
    let lines = "net.core.somaxconn = 4096|net.core.somaxconn = 64k|net.ipv4.tcp_max_syn_backlog = 4096";
    assert_eq!(codes(lines), [("AU001", 2)]);
}

#[test]
fn reasons_of_one_line_stand_together() {
    let all = settings("net.ipv4.netfilter.ip_conntrack_tcp_timeout_syn_recv = 60", false);
    let got = &dead(&all)[0].0;
    assert_eq!(
        got.why,
        "no kernel since Linux 4.9 has this name: it is net.netfilter.nf_conntrack_tcp_timeout_syn_recv now; 60 s is the \
         kernel's own default: it changes nothing"
    );
}

#[test]
fn pages_set_as_if_they_were_bytes() {
    let copied = settings(
        "net.ipv4.tcp_rmem = 8192 262144 524288|net.ipv4.tcp_mem = 8192 262144 524288",
        false,
    );
    let got = dead(&copied);
    assert_eq!((got.len(), got[0].0.name.as_str()), (1, "net.ipv4.tcp_mem"));
    assert!(got[0].0.why.contains("2 GiB"), "{}", got[0].0.why);
    assert_eq!(
        codes("net.ipv4.tcp_mem = 16777216 16777216 16777216"),
        [("AU005", 1)]
    );
    assert_eq!(codes("net.ipv4.tcp_mem = 8192 262144 524288"), []);
}

#[test]
fn codes_are_given_once_and_have_a_source() {
    let all = lints();
    let mut codes: Vec<&str> = all.iter().map(|lint| lint.code).collect();
    codes.dedup();
    assert_eq!(codes.len(), all.len());
    assert!(
        all.iter()
            .all(|lint| lint.code.len() == 5 && !lint.source.is_empty() && !lint.title.is_empty())
    );
}

fn masquerade(ports: Option<(u16, u16)>) -> Ruleset {
    let rule = FilterRule {
        engine: Engine::NfTables,
        family: Family::Ip,
        table: "nat".into(),
        chain: "post".into(),
        handle: Some(4),
        number: 1,
        when: Vec::new(),
        then: Action::Masquerade(Mapping {
            ports,
            ..Mapping::default()
        }),
        counter: None,
        text: "masquerade to :40000-49999".into(),
    };
    Ruleset {
        rules: vec![rule],
        ..Ruleset::default()
    }
}

#[test]
fn local_ports_and_translated_ones_must_not_meet() {
    let rules = masquerade(Some((40_000, 49_999)));
    let around = Around {
        rules: Some(&rules),
        ..Around::default()
    };
    assert_eq!(
        judged("net.ipv4.ip_local_port_range = 32768 60999", &around),
        [("AU023", 1)]
    );
    assert_eq!(judged("net.ipv4.ip_local_port_range = 10240 39999", &around), []);
    assert_eq!(codes("net.ipv4.ip_local_port_range = 32768 60999"), []);
}

#[test]
fn five_days_are_long_only_where_addresses_are_translated() {
    let rules = masquerade(None);
    let around = Around {
        rules: Some(&rules),
        ..Around::default()
    };
    let lines = "CT.tcp_timeout_established = 432000";
    assert!(judged(lines, &around).contains(&("AU041", 1)));
    assert!(!codes(lines).contains(&("AU041", 1)));
}

#[test]
fn listeners_among_the_local_ports() {
    let around = Around {
        listening: Some(&[22, 33_000, 40_000]),
        ..Around::default()
    };
    assert_eq!(
        judged("net.ipv4.ip_local_port_range = 32768 60999", &around),
        [("AU035", 1)]
    );
    let reserved =
        "net.ipv4.ip_local_port_range = 32768 60999|net.ipv4.ip_local_reserved_ports = 33000,39000-41000";
    assert_eq!(judged(reserved, &around), []);
}

#[test]
fn a_table_that_does_not_fit() {
    let of = |gib: u64| {
        let around = Around {
            memory_bytes: Some(gib << 30),
            ..Around::default()
        };
        let settings = settings("CT.max = 8388608|CT.buckets = 8388608", false);
        let said = lint(&settings, &around);
        said.first().map(|(lint, said)| (lint.code, said.severity))
    };
    assert_eq!(of(64), None);
    assert_eq!(of(8), Some(("AU008", Some(Severity::Warning))));
    assert_eq!(of(2), Some(("AU008", Some(Severity::Error))));
}
