//! Hosts that look guilty and are not, and the other way round.

use ctlens::diagnose::diagnose;
use ctlens::evidence::Direction;
use ctlens::model::{SegmentKind, SocketState};

use crate::host::{HOST, Host, NOW, TAP_SECS, entry, ip, segment, socket, spread, syn_recv, tuple};
use crate::scene::{finding, short};

#[test]
fn a_busy_proxy_has_handshakes_under_way() {
    // 4,000 connects a second to a backend 150 ms away: what was under way when the sockets were read is answered when
    // the entries are.
    let mut host = Host::default();
    for n in 0..600u16 {
        host.before.push(socket(
            SocketState::SynSent,
            tuple(HOST, 10_000 + n, "10.9.1.3:80"),
        ));
        host.flows
            .push(entry(tuple(HOST, 20_000 + n, "10.9.1.3:80"), 0.1));
        host.after.push(socket(
            SocketState::SynSent,
            tuple(HOST, 30_000 + n, "10.9.1.3:80"),
        ));
    }
    let report = host.report();
    assert_eq!(short(&report), "none / none");
    let because = &finding(&report, "backend-unresponsive").because;
    assert!(because.contains("600 of them handshakes under way"), "{because}");
    // The same, and nobody answers: it is a pile-up as soon as it is older than a handshake.
    host.flows
        .iter_mut()
        .for_each(|flow| flow.timeout_secs = Some(110));
    host.after.clear();
    assert_eq!(
        short(&host.report()),
        "firewall / syn-sent-hold < backend-unresponsive"
    );
}

#[test]
fn a_busy_server_has_handshakes_under_way() {
    let mut host = Host::default();
    for n in 0..900u16 {
        let client = format!("198.51.{}.{}", n >> 8, n & 255);
        host.flows
            .push(syn_recv(tuple(&client, 40_000, "10.0.0.1:443"), 0.05));
    }
    assert_eq!(short(&host.report()), "none / none");
    host.flows
        .iter_mut()
        .for_each(|flow| flow.timeout_secs = Some(40));
    assert_eq!(short(&host.report()), "firewall / syn-recv-hold < syn-flood");
}

#[test]
fn clients_that_vanish_from_a_busy_server_are_no_flood() {
    let mut host = Host::default();
    for n in 0..900u16 {
        let client = format!("198.51.{}.{}", n >> 8, n & 255);
        let orig = tuple(&client, 40_000, "10.0.0.1:443");
        host.before.push(socket(SocketState::SynRecv, orig.inverted()));
        host.flows.push(syn_recv(orig, spread(n.into(), 900, 60.0)));
    }
    let report = host.report();
    assert_eq!(
        short(&report),
        "client / syn-flood",
        "so few complete that it is one"
    );
    host.answered(20_000, "10.0.0.1:443");
    let report = host.report();
    assert_eq!(short(&report), "none / none");
    assert!(finding(&report, "syn-flood").because.contains("were completed"));
}

/// Containers behind masquerading: their sockets are in other namespaces, their addresses are not this host's.
fn containers(repeated: bool) -> Host {
    let mut host = Host::default();
    for n in 0..2000u16 {
        let orig = tuple("172.17.0.2", 10_000 + n, "10.9.1.3:80");
        let age = spread(n.into(), 2000, 60.0);
        let mut flow = entry(orig, age);
        flow.reply.dst = ip(HOST);
        host.flows.push(flow);
        // The port of the bridge and the bridge itself show each packet.
        let times = if repeated { 1 } else { u16::from(age < TAP_SECS) };
        for _ in 0..times {
            host.segments.push(segment(SegmentKind::Syn, orig, 7));
            host.segments.push(segment(SegmentKind::Syn, orig, 3));
        }
    }
    host
}

#[test]
fn containers_that_gave_up_are_held_and_seen_once_per_packet() {
    let report = containers(false).report();
    assert_eq!(short(&report), "firewall / syn-sent-hold < backend-unresponsive");
    let hold = finding(&report, "syn-sent-hold").entries_explained.unwrap();
    assert!(
        hold > 1950.0,
        "a packet on two interfaces is no repeat: {hold} held"
    );
}

#[test]
fn containers_that_still_try_are_not_held() {
    let host = containers(true);
    let evidence = host.evidence();
    let piles = &evidence.half_open.as_ref().unwrap().syn_sent;
    assert_eq!(piles.keys().collect::<Vec<_>>(), [&Direction::Forward]);
    assert_eq!(short(&diagnose(&evidence)), "backend / backend-unresponsive");
}

#[test]
fn a_tap_that_lost_packets_does_not_prove_silence() {
    let mut host = containers(false);
    host.lost = 100_000;
    assert_eq!(
        short(&host.report()),
        "undecided / undecided < backend-unresponsive"
    );
}

#[test]
fn a_transparent_proxy_owns_its_foreign_tuples() {
    let mut host = Host::default();
    for n in 0..800u16 {
        let orig = tuple("198.51.100.7", 10_000 + n, "10.9.1.3:80");
        host.flows.push(entry(orig, spread(n.into(), 800, 90.0)));
        host.waits(orig);
    }
    let evidence = host.evidence();
    let piles = &evidence.half_open.as_ref().unwrap().syn_sent;
    assert_eq!(piles.keys().collect::<Vec<_>>(), [&Direction::Out]);
    assert_eq!(short(&diagnose(&evidence)), "backend / backend-unresponsive");
}

#[test]
fn a_local_client_of_a_translated_service_is_joined_by_its_original_tuple() {
    let mut host = Host::default();
    for n in 0..800u16 {
        let orig = tuple(HOST, 10_000 + n, "10.96.0.10:80");
        let mut flow = entry(orig, spread(n.into(), 800, 90.0));
        flow.reply.src = ip("10.244.1.5");
        flow.reply.sport = 8080;
        host.flows.push(flow);
        host.waits(orig);
    }
    let report = host.report();
    assert_eq!(short(&report), "backend / backend-unresponsive");
    assert_eq!(
        finding(&report, "backend-unresponsive").entries_explained,
        Some(800.0)
    );
}

#[test]
fn sockets_without_entries_are_those_that_wait_all_along() {
    let mut host = Host::default();
    for n in 0..700u16 {
        host.waits(tuple(HOST, 10_000 + n, "10.9.1.3:80"));
    }
    let report = host.report();
    assert_eq!(report.verdict.leans_to.unwrap().causes[0].name(), "ruleset-drop");
    // Here they have been answered meanwhile.
    host.after.clear();
    assert_eq!(short(&host.report()), "none / none");
}

#[test]
fn an_old_kernel_renews_what_is_still_tried() {
    // The time left tells the last SYN, not the first: silence in the tap is then no proof.
    let forwarded = |kernel| {
        let mut host = Host {
            kernel,
            ..Host::default()
        };
        for n in 0..2000u16 {
            host.flows.push(entry(
                tuple("10.20.0.2", 10_000 + n, "10.9.1.3:80"),
                spread(n.into(), 2000, 32.0),
            ));
        }
        host
    };
    assert_eq!(
        short(&forwarded("6.18.0").report()),
        "firewall / syn-sent-hold < backend-unresponsive"
    );
    let report = forwarded("4.18.0-553.el8_10.x86_64").report();
    assert_eq!(short(&report), "undecided / undecided < backend-unresponsive");
    assert!(
        report
            .verdict
            .leans_to
            .unwrap()
            .settle
            .contains("nf_conntrack_timestamp=1")
    );
    // Entries that say when they began settle it.
    let mut stamped = forwarded("4.18.0-553.el8_10.x86_64");
    for flow in &mut stamped.flows {
        flow.start_ns = Some(((NOW - 50.0) * 1e9) as u64 - u64::from(flow.orig.sport) * 1_000_000);
    }
    let timed = stamped.evidence().half_open.unwrap().syn_sent[&Direction::Forward].median_age_s;
    assert!(timed.is_some_and(|age| (50..=90).contains(&age)), "{timed:?}");
    // And sockets settle it anyway.
    let mut local = forwarded("4.18.0-553.el8_10.x86_64");
    local.flows.iter_mut().for_each(|flow| flow.orig.src = ip(HOST));
    assert_eq!(
        short(&local.report()),
        "firewall / syn-sent-hold < backend-unresponsive"
    );
}

#[test]
fn a_lowered_timeout_hides_ages() {
    let lowered = |src: &str| {
        let mut host = Host {
            syn_sent_secs: 35,
            ..Host::default()
        };
        for n in 0..2000u16 {
            host.flows.push(entry(
                tuple(src, 10_000 + n, "10.9.1.3:80"),
                spread(n.into(), 2000, 80.0),
            ));
        }
        host
    };
    let report = lowered("10.20.0.2").report();
    assert_eq!(short(&report), "undecided / undecided < backend-unresponsive");
    assert!(
        report
            .verdict
            .leans_to
            .unwrap()
            .settle
            .contains("nf_conntrack_timestamp=1")
    );
    let report = lowered(HOST).report();
    assert_eq!(short(&report), "firewall / syn-sent-hold < backend-unresponsive");
}

#[test]
fn a_scan_outward_names_no_backend() {
    // A raw socket sends them, so that no socket is in SYN_SENT.
    let mut host = Host::default();
    for n in 0..5000u16 {
        let dst = format!("203.0.{}.{}:22", n >> 8, n & 255);
        host.flows
            .push(entry(tuple(HOST, 50_000, &dst), spread(n.into(), 5000, 119.0)));
    }
    let report = host.report();
    assert_eq!(short(&report), "firewall / syn-sent-hold < undecided");
    assert!(report.verdict.trigger.as_ref().unwrap().place.is_empty());
    // A scanner that connects holds nothing, and accuses nobody either.
    for flow in host.flows.clone() {
        host.waits(flow.orig);
    }
    let report = host.report();
    assert_eq!(short(&report), "undecided / undecided");
    assert_eq!(
        report.verdict.leans_to.unwrap().causes[0].name(),
        "asymmetric-routing"
    );
}

#[test]
fn a_gateway_has_some_dead_destinations() {
    let mut host = Host {
        max: 262_144,
        ..Host::default()
    };
    for n in 0..1500u16 {
        let dst = format!("203.0.{}.{}:443", n >> 8, n & 255);
        host.flows.push(entry(
            tuple("10.20.0.2", 10_000 + n, &dst),
            spread(n.into(), 1500, 119.0),
        ));
    }
    assert_eq!(
        short(&host.report()),
        "firewall / syn-sent-hold < undecided",
        "nothing else works: a path is down"
    );
    host.answered(40_000, "203.0.113.9:443");
    let report = host.report();
    assert_eq!(short(&report), "none / none");
    assert!(
        finding(&report, "syn-sent-hold")
            .because
            .contains("beside 40,000 connections")
    );
    // One destination's share stands out, or the limit is near: no noise any more.
    host.max = 100_000;
    assert_eq!(short(&host.report()), "firewall / syn-sent-hold < undecided");
    host.max = 262_144;
    host.flows
        .iter_mut()
        .take(1500)
        .for_each(|flow| flow.reply.src = ip("203.0.113.80"));
    assert_eq!(
        short(&host.report()),
        "firewall / syn-sent-hold < backend-unresponsive"
    );
}

#[test]
fn a_burst_that_began_a_second_ago_is_no_pile_up_yet() {
    let mut host = Host::default();
    for n in 0..5000u16 {
        host.flows
            .push(entry(tuple(HOST, 10_000 + n, "10.9.1.3:80"), 0.5));
    }
    let report = host.report();
    assert_eq!(short(&report), "none / none");
    assert!(
        finding(&report, "syn-sent-hold")
            .because
            .contains("5,000 of them handshakes under way")
    );
}

#[test]
fn both_families_are_one_pile_and_both_are_deleted() {
    let mut host = Host::default();
    for n in 0..500u16 {
        for (src, dst) in [
            (HOST, format!("10.9.1.{}:80", n % 9)),
            ("fd00::1", format!("[fd00:9::{:x}]:80", n % 9)),
        ] {
            host.flows
                .push(entry(tuple(src, 10_000 + n, &dst), spread(n.into(), 500, 100.0)));
        }
    }
    let report = host.report();
    assert_eq!(report.verdict.cause.name(), "syn-sent-hold");
    assert_eq!(
        [0, 1].map(|index| report.verdict.fix_first[index].command.as_deref()),
        [
            Some("conntrack -D -p tcp --state SYN_SENT >/dev/null"),
            Some("conntrack -D -f ipv6 -p tcp --state SYN_SENT >/dev/null"),
        ]
    );
}

#[test]
fn a_connection_to_the_own_address_goes_to_this_host() {
    let mut host = Host::default();
    for n in 0..800u16 {
        let dst = if n % 2 == 0 {
            "127.0.0.1:8080"
        } else {
            "172.17.0.1:8080"
        };
        host.flows
            .push(entry(tuple(HOST, 10_000 + n, dst), spread(n.into(), 800, 90.0)));
    }
    // Translated to a local address, it does too; translated from one, it does not.
    host.flows[1].orig.dst = ip("203.0.113.1");
    let pile = &host.evidence().half_open.unwrap().syn_sent[&Direction::Out];
    assert_eq!(pile.to_self, 1.0);
    host.flows
        .iter_mut()
        .for_each(|flow| flow.reply.src = ip("10.9.1.3"));
    let pile = &host.evidence().half_open.unwrap().syn_sent[&Direction::Out];
    assert_eq!(pile.to_self, 0.0);
}

#[test]
fn an_incident_of_seven_seconds_is_judged_by_what_is_older_than_a_handshake() {
    // One in four entries is so young that nothing tells of it: no doubt about the others.
    let mut host = Host::default();
    for n in 0..2400u32 {
        let age = f64::from(n) / 2400.0 * 7.0;
        host.flows
            .push(entry(tuple("10.20.0.2", 10_000 + n as u16, "10.9.1.3:80"), age));
    }
    let evidence = host.evidence();
    let pile = &evidence.half_open.as_ref().unwrap().syn_sent[&Direction::Forward];
    assert!(
        pile.unclear.value > 300.0 && pile.of_settled().unclear.value == 0.0,
        "{pile:?}"
    );
    assert_eq!(
        short(&diagnose(&evidence)),
        "firewall / syn-sent-hold < backend-unresponsive"
    );
}

#[test]
fn ages_alone_hold_nothing_where_flows_have_timeouts_of_their_own() {
    let mut host = Host {
        tapped: false,
        ..Host::default()
    };
    for n in 0..1_500u16 {
        let orig = tuple("10.1.0.9", 1_000 + n, "10.9.1.3:80");
        host.flows.push(entry(orig, spread(n.into(), 1_500, 110.0)));
    }
    assert_eq!(host.report().verdict.cause.name(), "syn-sent-hold");
    host.flow_policies = true;
    assert_eq!(host.report().verdict.bottleneck.name(), "undecided");
}
