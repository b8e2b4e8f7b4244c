//! What a sample may and may not say.

use ctlens::diagnose::{Report, diagnose};
use ctlens::evidence::Direction;
use ctlens::model::{Estimate, Flow, SocketState, Status, TcpState};

use crate::host::{HOST, Host, entry, socket, spread, syn_recv, tuple};
use crate::scene::{Scene, finding, short, state};

/// A connection that a gateway passes on.
fn passing(n: u16) -> Flow {
    let dst = format!("203.0.{}.{}:443", n >> 8, n & 255);
    Flow {
        tcp_state: Some(TcpState::Established),
        status: Status(Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED),
        timeout_secs: Some(431_000),
        ..entry(tuple("10.1.0.9", 1_000 + n, &dst), 0.0)
    }
}

/// So many SYNs to as many dead addresses, beside connections; 17,800 in all.
fn gateway(dead: u16, connections: u16, sampled: bool) -> Host {
    let mut host = Host {
        sampled_of: sampled.then_some(17_800),
        ..Host::default()
    };
    for n in 0..dead {
        let dst = format!("198.18.{}.{}:443", n >> 8, n & 255);
        host.flows.push(entry(
            tuple("10.1.0.9", 20_000 + n, &dst),
            spread(n.into(), dead.into(), 100.0),
        ));
    }
    host.flows.extend((0..connections).map(passing));
    host
}

fn accuses_nobody(report: &Report) {
    let verdict = &report.verdict;
    assert!(
        ["none", "undecided"].contains(&verdict.cause.name()),
        "{}",
        verdict.headline
    );
    for cause in ["syn-sent-hold", "backend-unresponsive", "syn-flood"] {
        assert_ne!(state(report, cause), "found", "{cause}");
    }
}

#[test]
fn dead_addresses_met_once_are_no_silent_backend() {
    accuses_nobody(&gateway(800, 17_000, false).report());
    for tapped in [true, false] {
        let mut host = gateway(20, 440, true);
        host.tapped = tapped;
        accuses_nobody(&host.report());
    }
    // Ten times as many read: enough to say that they are everywhere.
    let report = gateway(160, 4_400, true).report();
    assert_eq!(short(&report), "none / none");
}

#[test]
fn dead_addresses_of_the_own_clients_are_undecided_in_a_small_sample() {
    let mut host = gateway(30, 430, true);
    for flow in &mut host.flows[..30] {
        flow.orig.src = HOST.parse().unwrap();
        flow.reply.dst = flow.orig.src;
    }
    host.before
        .push(socket(SocketState::SynSent, tuple(HOST, 1, "10.9.9.9:9")));
    accuses_nobody(&host.report());
}

#[test]
fn a_silent_backend_is_found_in_a_sample() {
    let mut host = gateway(0, 400, true);
    for n in 0..200u16 {
        let orig = tuple(HOST, 30_000 + n, "10.9.1.3:80");
        host.flows.push(entry(orig, spread(n.into(), 200, 90.0)));
    }
    assert_eq!(
        short(&host.report()),
        "firewall / syn-sent-hold < backend-unresponsive"
    );
}

/// SYN_RECV entries met, of clients with so many entries each.
fn handshakes(met: u32, sources: u32, of: u64) -> Host {
    let mut host = Host {
        sampled_of: Some(of),
        ..Host::default()
    };
    for n in 0..met {
        // Scattered, as entries met at random are.
        let mixed = (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 34) as u32 % sources;
        let client = std::net::Ipv4Addr::from(0x3000_0000 + at).to_string();
        let orig = tuple(&client, 1_000 + (n % 60_000) as u16, "10.9.1.3:443");
        host.flows.push(syn_recv(orig, spread(n, met, 58.0)));
    }
    host
}

#[test]
fn clients_with_five_entries_each_are_no_flood_in_a_sample() {
    let mut host = handshakes(228, 1_000, 20_000);
    host.flows.extend((0..672).map(passing));
    let report = host.report();
    assert_eq!(state(&report, "syn-flood"), "unknown");
    let lean = report.verdict.trigger.as_ref();
    assert!(
        lean.is_none_or(|trigger| trigger.cause.name() != "syn-flood"),
        "{lean:?}"
    );
}

#[test]
fn a_flood_is_found_in_a_sample_with_bounds() {
    let mut host = handshakes(4_000, 1_000_003, 100_000);
    host.flows.extend((0..1_000).map(passing));
    let report = host.report();
    assert_eq!(state(&report, "syn-flood"), "found");
    let because = &finding(&report, "syn-flood").because;
    assert!(because.starts_with("at least 3,992 sources"), "{because}");
    let items = report.verdict.evidence.iter();
    let sources = items.clone().find(|item| item.id == "one-shot-sources").unwrap();
    assert!(sources.low < sources.high, "{sources:?}");
}

#[test]
fn no_figure_of_a_sample_passes_for_exact() {
    let mut host = gateway(0, 400, true);
    for n in 0..200u16 {
        let orig = tuple(HOST, 30_000 + n, "10.9.1.3:80");
        host.flows.push(entry(orig, spread(n.into(), 200, 90.0)));
        if n % 10 == 0 {
            host.waits(orig);
        }
    }
    host.answered(300, "10.9.1.3:80");
    let report = host.report();
    let ids = [
        "amplification",
        "rate-times-timeout",
        "answers-others",
        "held-without-socket",
    ];
    for id in ids {
        let item = report.verdict.evidence.iter().find(|item| item.id == id);
        let item = item.unwrap_or_else(|| panic!("no {id}: {}", report.verdict.headline));
        assert!(item.low.is_none() || item.low < item.high, "{item:?}");
    }
}

#[test]
fn the_order_of_the_entries_does_not_matter() {
    let mut host = Host::default();
    for n in 0..900u16 {
        let client = format!("198.51.{}.{}", n >> 8, n & 255);
        let orig = tuple(&client, 40_000, "10.0.0.1:443");
        host.before.push(socket(SocketState::SynRecv, orig.inverted()));
        host.flows.push(syn_recv(orig, spread(n.into(), 900, 60.0)));
    }
    host.answered(20_000, "10.0.0.1:443");
    let evidence = |host: &Host| format!("{:?}", host.evidence());
    let forwards = evidence(&host);
    host.flows.reverse();
    assert_eq!(evidence(&host), forwards);
    let pile = &host.evidence().half_open.unwrap().syn_recv[&Direction::In];
    assert_eq!(pile.destinations[0].answered, 20_000);
}

#[test]
fn a_table_full_of_expired_entries_is_not_full() {
    let mut evidence = Scene {
        count: Some(100_000),
        max: Some(100_000),
        dumped: Some(5_000),
        sampled_of: Some(100_000),
        ..Scene::default()
    }
    .evidence();
    let cause = |evidence: &_| diagnose(evidence).verdict.cause.name();
    assert_eq!(cause(&evidence), "table-full");
    let expired = |low: f64| {
        Some(Estimate {
            value: 50_000.0,
            low,
            high: 60_000.0,
        })
    };
    evidence.table.as_mut().unwrap().expired = expired(5_000.0);
    assert_eq!(cause(&evidence), "table-full");
    evidence.table.as_mut().unwrap().expired = expired(40_000.0);
    assert_eq!(cause(&evidence), "none");
    // The largest limit there is cannot be doubled.
    let table = evidence.table.as_mut().unwrap();
    (table.max, table.expired) = (Some(u64::MAX), None);
    let report = diagnose(&evidence);
    let fix = report.verdict.fix_first[0].command.as_ref().unwrap();
    assert!(fix.ends_with("nf_conntrack_max=2147483647"), "{fix}");
}

#[test]
fn overflows_are_a_fault_by_their_rate() {
    for (window_s, rise, cause) in [
        (2.0, 3, "listener-overflow"),
        (600.0, 3, "none"),
        (600.0, 299, "none"),
        (600.0, 300, "listener-overflow"),
    ] {
        let report = Scene {
            window_s,
            ..Scene::default()
        }
        .net("TcpExt.ListenOverflows", rise)
        .report();
        assert_eq!(report.verdict.cause.name(), cause, "{rise} in {window_s} s");
    }
}

#[test]
fn a_sample_that_met_no_half_open_entry_is_no_clean_bill_unless_it_is_large() {
    // 1 in 30 of 17,800 may be half-open and never be met by a sample of 50.
    let small = gateway(0, 50, true).report();
    assert_eq!(short(&small), "undecided / undecided");
    let large = gateway(0, 4_400, true).report();
    assert_eq!(short(&large), "none / none");
    let seen = large.verdict.evidence.iter().find(|item| item.id == "half-open");
    let (value, high) = seen.map(|item| (item.value, item.high)).expect("it is told");
    assert!(
        value == Some(0.0) && high.is_some_and(|high| high > 0.0),
        "{high:?}"
    );
}
