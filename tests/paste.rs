//! Verdicts from pasted text: the founding incident, and what else people paste.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ctlens::collect::{PasteError, paste, pasted_entries};
use ctlens::diagnose::{Cause, Report, Side, diagnose};
use ctlens::evidence::{Direction, Evidence, from_paste};
use ctlens::kernel::Live;
use ctlens::model::TcpState;
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn evidence(path: &Path) -> Result<Evidence, PasteError> {
    let mut kernel = Live::open(None).expect("the live kernel reads files");
    let pasted = paste(&mut kernel, path.to_str().expect("a path of text"))?;
    Ok(from_paste(&pasted, &mut |each| {
        pasted_entries(&mut kernel, &pasted, each)
    }))
}

fn report(path: &Path) -> Report {
    diagnose(&evidence(path).expect("a paste"))
}

/// A directory with some of a fixture's files, and with others.
fn copy(name: &str, without: &[&str], with: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary directory");
    if !name.is_empty() {
        for entry in std::fs::read_dir(fixture(name)).expect("a fixture") {
            let entry = entry.expect("an entry of a fixture");
            let file = entry.file_name();
            if !without.contains(&file.to_str().expect("a name of text")) {
                std::fs::copy(entry.path(), folder.path().join(file)).expect("a copy");
            }
        }
    }
    for (file, text) in with {
        std::fs::write(folder.path().join(file), text).expect("a file");
    }
    folder
}

fn accuses_nobody(report: &Report) -> bool {
    matches!(report.verdict.bottleneck, Side::None | Side::Undecided)
}

fn gaps(report: &Report) -> Vec<&str> {
    report.gaps.iter().map(|gap| gap.source.as_str()).collect()
}

fn item<'a>(report: &'a Report, id: &str) -> &'a ctlens::diagnose::EvidenceItem {
    let found = report.verdict.evidence.iter().find(|item| item.id == id);
    found.unwrap_or_else(|| panic!("no evidence {id}: {:?}", report.verdict.evidence))
}

#[test]
fn the_founding_incident_with_the_reading_of_the_graph() {
    let report = report(&fixture("founding/varnish"));
    let verdict = &report.verdict;
    assert_eq!(
        (verdict.bottleneck, verdict.cause),
        (Side::Firewall, Cause::SynSentHold)
    );
    assert!(
        (0.6..0.97).contains(&verdict.confidence),
        "{}",
        verdict.confidence
    );
    assert_eq!(item(&report, "held-without-socket").value, Some(30_000.0));
    assert!(!item(&report, "direction-unknown").supports);
    assert_eq!(verdict.amplification, None, "nothing is live");

    let trigger = verdict.trigger.as_ref().expect("a trigger");
    assert_eq!((trigger.side, trigger.cause), (Side::Undecided, Cause::Undecided));
    let lean = trigger.leans_to.as_ref().expect("a lean");
    assert_eq!(lean.causes[..2], [Cause::ListenerOverflow, Cause::PawsDrop]);
    assert!(lean.because.contains("256"), "{}", lean.because);
    assert!(
        lean.settle
            .contains("ip addr; conntrack -L -p tcp --state SYN_SENT"),
        "{}",
        lean.settle
    );

    let dead: Vec<&str> = report
        .dead_settings
        .iter()
        .map(|dead| dead.name.as_str())
        .collect();
    assert_eq!(
        dead,
        [
            "net.ipv4.netfilter.ip_conntrack_max",
            "net.ipv4.netfilter.ip_conntrack_tcp_timeout_syn_recv",
            "net.ipv4.ip_local_port_range",
            "net.ipv4.tcp_tw_recycle"
        ]
    );
    assert!(
        report
            .dead_settings
            .iter()
            .all(|dead| dead.file == "sysctl.conf" && !dead.why.is_empty())
    );
    for source in [
        "conntrack",
        "sockets",
        "timeouts",
        "tap",
        "net.ipv4.ip_local_port_range",
    ] {
        assert!(gaps(&report).contains(&source), "{source} in {:?}", gaps(&report));
    }
    assert!(report.gaps.iter().all(|gap| !gap.remedy.is_empty()));
    let table = report.table.as_ref().expect("a table");
    assert_eq!(
        (table.max, table.count, table.source),
        (Some(262_144), None, Some("pasted"))
    );
    // One reading says nothing of the other states.
    let held = report
        .findings
        .iter()
        .find(|f| f.name == Cause::SynRecvHold)
        .expect("a finding");
    assert_eq!(
        held.state,
        ctlens::diagnose::FindingState::Unknown,
        "{}",
        held.because
    );
}

#[test]
fn the_founding_incident_without_it() {
    let folder = copy("founding/varnish", &["conntrack-states.txt"], &[]);
    let report = report(folder.path());
    assert_eq!(report.verdict.bottleneck, Side::Undecided);
    let lean = report.verdict.leans_to.as_ref().expect("a lean");
    assert_eq!(lean.causes, [Cause::ListenerOverflow, Cause::PawsDrop]);
    assert!(lean.settle.starts_with("conntrack -L"), "{}", lean.settle);
    assert_eq!(report.dead_settings.len(), 4);
    let table = report.table.as_ref().expect("a table");
    assert_eq!((table.source, report.states.is_some()), (None, false));
}

#[test]
fn the_other_side_of_it_accuses_nobody() {
    let report = report(&fixture("founding/apache"));
    assert!(accuses_nobody(&report), "{:?}", report.verdict);
    assert_eq!(
        report.verdict.leans_to.as_ref().map(|lean| lean.causes.len()),
        Some(0)
    );
    let dead: Vec<&str> = report
        .dead_settings
        .iter()
        .map(|dead| dead.name.as_str())
        .collect();
    assert_eq!(dead, ["net.ipv4.tcp_mem"]);
    let folder = fixture("founding");
    let error = evidence(&folder).expect_err("two hosts are no paste").to_string();
    assert!(error.contains("apache") && error.contains("varnish"), "{error}");
}

/// 50 entries as the lean's command prints them, towards one backend.
fn outbound() -> String {
    let line = |port: u32| {
        format!(
            "tcp      6 80 SYN_SENT src=10.9.1.1 dst=10.9.1.3 sport={port} dport=80 [UNREPLIED] src=10.9.1.3 dst=10.9.1.1 \
             sport=80 dport={port} mark=0 use=1\n"
        )
    };
    (40_000..40_050).map(line).collect()
}

/// What a quiet host shows beside its table.
const SIZES: &str = "net.netfilter.nf_conntrack_count = 52\nnet.netfilter.nf_conntrack_max = 262144\n";
const QUIET: &str = "State  Recv-Q Send-Q Local Address:Port  Peer Address:Port\n\
    ESTAB  0      0      10.9.1.1:40000      10.9.1.3:80\n\
    ESTAB  0      0      10.9.1.1:40001      10.9.1.3:80\n\
    ESTAB  0      0      10.9.1.1:40002      10.9.1.3:80\n";
const STATS: &str =
    "cpu=0 found=0 invalid=0 insert=0 insert_failed=0 drop=0 early_drop=0 error=0 search_restart=0\n";
const ADDRESS: &str =
    "2: eth0    inet 10.9.1.1/24 brd 10.9.1.255 scope global eth0\\       valid_lft forever\n";

#[test]
fn what_the_lean_asks_for_settles_the_trigger() {
    let outbound = outbound();
    let with = [("conntrack.txt", outbound.as_str()), ("addr.txt", ADDRESS)];
    let folder = copy("founding/varnish", &[], &with);
    let report = report(folder.path());
    assert_eq!(report.verdict.cause, Cause::SynSentHold);
    let trigger = report.verdict.trigger.as_ref().expect("a trigger");
    assert_eq!(
        (trigger.cause, trigger.place.as_slice()),
        (Cause::BackendUnresponsive, &["10.9.1.3:80".to_string()][..])
    );
    let held = item(&report, "held-without-socket");
    // Fifty listed ones are a sample of what the graph shows.
    assert_eq!((held.value, held.high), (Some(30_000.0), Some(30_000.0)));
    assert!(held.low.expect("a bound") < 29_000.0, "{held:?}");
}

#[test]
fn entries_joined_with_sockets() {
    let path = fixture("pasted/held-outbound");
    let report = report(&path);
    let verdict = &report.verdict;
    assert_eq!(
        (verdict.bottleneck, verdict.cause),
        (Side::Firewall, Cause::SynSentHold)
    );
    assert_eq!(item(&report, "held-without-socket").value, Some(239.0));
    assert!(verdict.amplification.expect("live attempts") > 40.0);
    let trigger = verdict.trigger.as_ref().expect("a trigger");
    assert_eq!(
        (trigger.cause, trigger.place[0].as_str()),
        (Cause::BackendUnresponsive, "10.9.1.3:80")
    );

    let evidence = evidence(&path).expect("a paste");
    let half_open = evidence.half_open.expect("half-open entries");
    assert_eq!(half_open.syn_sent[&Direction::Out].live.value, 5.0);
    assert!(half_open.owners.is_empty(), "a paste does not name users");
    assert_eq!(
        evidence.listeners.expect("listeners")[0].process.as_deref(),
        Some("python3")
    );
}

#[test]
fn the_same_entries_with_less_beside_them() {
    // Sockets by number: the entries' direction is not known any more, nor who triggers.
    let sockets = "      8 ESTAB\n      4 FIN-WAIT-2\n      1 LISTEN\n      5 SYN-SENT\n      1 State\n";
    let folder = copy("pasted/held-outbound", &["ss.txt"], &[("states.txt", sockets)]);
    let by_number = report(folder.path());
    assert_eq!(by_number.verdict.cause, Cause::SynSentHold);
    assert_eq!(item(&by_number, "held-without-socket").value, Some(239.0));
    assert_eq!(
        by_number.verdict.trigger.as_ref().map(|t| t.cause),
        Some(Cause::Undecided)
    );

    let folder = copy("pasted/held-outbound", &["ss.txt"], &[]);
    let alone = report(folder.path());
    assert_eq!(alone.verdict.bottleneck, Side::Undecided, "{:?}", alone.verdict);
    let lean = alone.verdict.leans_to.as_ref().expect("a lean");
    assert!(lean.causes.contains(&Cause::SynSentHold), "{lean:?}");
    assert!(lean.settle.starts_with("ss -tan"), "{}", lean.settle);

    // Sockets that wait, but for other entries: pasted too far apart to tell.
    let ss = std::fs::read_to_string(fixture("pasted/held-outbound/ss.txt")).expect("a fixture");
    let later: String = (0..220)
        .map(|n| {
            format!(
                "SYN-SENT   0      1           10.9.1.1:{}     10.9.1.3:80\n",
                20_000 + n
            )
        })
        .collect();
    let folder = copy(
        "pasted/held-outbound",
        &[],
        &[("ss.txt", &format!("{ss}{later}"))],
    );
    let apart = report(folder.path());
    assert_ne!(apart.verdict.cause, Cause::SynSentHold, "{:?}", apart.verdict);
}

#[test]
fn as_many_sockets_as_entries_hold_nothing() {
    let report = report(&fixture("pasted/backend-waits"));
    assert_eq!(
        (report.verdict.bottleneck, report.verdict.cause),
        (Side::Backend, Cause::BackendUnresponsive)
    );
    assert_eq!(item(&report, "no-answer").value, Some(1_500.0));
    assert!(
        report
            .verdict
            .evidence
            .iter()
            .all(|item| !item.text.contains("spread"))
    );
}

#[test]
fn a_host_that_only_forwards_proves_nothing_by_its_own_sockets() {
    let sockets = "     12 ESTABLISHED\n      6 LISTEN\n      4 TIME_WAIT\n";
    let folder = copy("founding/varnish", &["netstat.txt"], &[("netstat.txt", sockets)]);
    let report = report(folder.path());
    assert_eq!(report.verdict.bottleneck, Side::Undecided, "{:?}", report.verdict);
}

#[test]
fn a_full_table_is_not_known_to_drop_before_a_window_is_watched() {
    let report = report(&fixture("pasted/table-full"));
    // What fills it needs no window.
    assert_eq!(report.verdict.cause, Cause::TimeWaitHold);
    let full = report.findings.iter().find(|f| f.name == Cause::TableFull);
    assert!(full.expect("a rule").because.contains("no counter was watched"));
    let table = report.table.as_ref().expect("a table");
    assert!(table.fill.expect("a fill") > 0.999);
    let counters = report.counters.as_ref().expect("counters");
    assert_eq!((counters["drop"], report.window_s), (17_785, 0.0));
    let states = report.states.as_ref().expect("states");
    let time_wait = states
        .iter()
        .find(|row| row.state.as_deref() == Some("TIME_WAIT"))
        .expect("a row");
    assert_eq!(time_wait.entries.value, 58_120.0);
    assert!(gaps(&report).contains(&"window"));
}

#[test]
fn ports_used_up_towards_one_destination() {
    let report = report(&fixture("pasted/ports-exhausted"));
    assert_eq!(report.verdict.cause, Cause::EphemeralPortsExhausted);
    assert_eq!(item(&report, "ports-in-use").value, Some(1.0));
}

#[test]
fn part_of_a_table_clears_nobody() {
    let few = outbound();
    let cut = format!("conntrack v1.4.7 (conntrack-tools): 30000 flow entries have been shown.\n{few}");
    for (with, decided) in [
        (vec![("conntrack.txt", cut.as_str())], false),
        (
            vec![("conntrack.txt", few.as_str()), ("count.txt", "30000\n")],
            false,
        ),
        // The whole table, but nothing of the limit, the counters and the sockets.
        (
            vec![("conntrack.txt", few.as_str()), ("count.txt", "52\n")],
            false,
        ),
        (
            vec![
                ("conntrack.txt", few.as_str()),
                ("sizes.txt", SIZES),
                ("ss.txt", QUIET),
                ("stats.txt", STATS),
            ],
            true,
        ),
    ] {
        let folder = copy("", &[], &with);
        let report = report(folder.path());
        let expected = if decided { Side::None } else { Side::Undecided };
        assert_eq!(
            report.verdict.bottleneck, expected,
            "{with:?}: {:?}",
            report.verdict
        );
    }
}

#[test]
fn entries_stream_as_a_live_table_does() {
    let path = fixture("pasted/held-outbound");
    let mut kernel = Live::open(None).expect("the live kernel reads files");
    let pasted = paste(&mut kernel, path.to_str().expect("text")).expect("a paste");
    let mut waiting = 0;
    let look = pasted_entries(&mut kernel, &pasted, &mut |flow| {
        waiting += u64::from(flow.tcp_state == Some(TcpState::SynSent));
        ControlFlow::Continue(())
    });
    assert_eq!((look.expect("a look").dumped, waiting), (256, 244));
}

#[test]
fn text_that_is_none_of_these_is_named() {
    let folder = copy("", &[], &[("mail.txt", "Hello,\nthe site is slow.\n")]);
    for path in [folder.path().to_path_buf(), folder.path().join("mail.txt")] {
        let error = evidence(&path).expect_err("no paste").to_string();
        assert!(error.contains("mail.txt") && error.contains("line 1"), "{error}");
    }
    // Beside others it is a gap, and its rows do not count.
    let broken = "   3000 SYN_SENT\nand 20 more\n";
    let folder = copy("founding/apache", &[], &[("conntrack-states.txt", broken)]);
    let report = report(folder.path());
    assert!(accuses_nobody(&report));
    let gap = report
        .gaps
        .iter()
        .find(|gap| gap.source == "conntrack-states.txt")
        .expect("a gap");
    assert!(gap.reason.starts_with("line 2: "), "{}", gap.reason);
    assert!(evidence(&folder.path().join("nothing")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_paste_panics(
        table in prop::collection::btree_map("(SYN_SENT|SYN_RECV|ESTABLISHED|TIME_WAIT|CLOSE)", any::<u32>(), 0..5),
        sockets in prop::collection::btree_map("(SYN_SENT|SYN_RECV|ESTABLISHED|TIME_WAIT|LISTEN)", any::<u32>(), 0..5),
        max in any::<u64>(),
        entries in 0usize..60,
    ) {
        let rows = |all: &std::collections::BTreeMap<String, u32>| all.iter().map(|(s, n)| format!("{n} {s}\n")).collect::<String>();
        let sizes = format!("net.netfilter.nf_conntrack_max = {max}\nnet.netfilter.nf_conntrack_count = {max}\nnet.ipv4.ip_local_port_range = 1 {max}\n");
        let listed: String = outbound().split_inclusive('\n').take(entries).collect();
        let folder = copy("", &[], &[
            ("conntrack-states.txt", rows(&table).as_str()),
            ("netstat.txt", rows(&sockets).as_str()),
            ("sizes.txt", sizes.as_str()),
            ("conntrack.txt", listed.as_str()),
        ]);
        let report = report(folder.path());
        prop_assert!((0.0..=1.0).contains(&report.verdict.confidence));
    }
}

#[test]
fn logs_lean_no_further_than_they_say() {
    let told = |file: &str, text: &str| {
        let folder = copy("", &[], &[(file, text)]);
        let verdict = report(folder.path()).verdict;
        let causes = verdict.leans_to.map_or(Vec::new(), |lean| lean.causes);
        (verdict.bottleneck, causes, verdict.headline)
    };
    let full = "[  1.5] nf_conntrack: nf_conntrack: table full, dropping packet\n[  6.5] net_ratelimit: 9000 callbacks suppressed\n";
    let folder = copy("", &[], &[("dmesg.txt", full)]);
    let logged = report(folder.path());
    assert_eq!(logged.verdict.cause, Cause::TableFull);
    assert_eq!(
        item(&logged, "logged-table-full").value,
        Some(1.0),
        "the suppressed lines may be of any kind"
    );

    let refused = "2026/11/25 08:00:02 [error] 1#0: *6 connect() failed (111: Connection refused) while connecting to \
                   upstream, client: 10.0.0.9, upstream: \"http://10.0.0.5:80/a\"\n";
    let (side, causes, headline) = told("error.log", refused);
    assert_eq!((side, causes), (Side::Undecided, vec![Cause::BackendRefusing]));
    assert!(headline.contains("10.0.0.5:80"), "{headline}");

    let window =
        "nf_ct_proto_6: SEQ is over upper bound 7 (over the window of the receiver) IN= OUT= SRC=10.0.0.1\n";
    let (side, causes, _) = told("dmesg.txt", window);
    assert_eq!(
        (side, causes.first()),
        (Side::Undecided, Some(&Cause::WindowInvalid))
    );

    let (side, causes, headline) = told("ethtool.txt", "     conntrack_allowance_exceeded: 42\n");
    assert_eq!((side, causes), (Side::Undecided, Vec::new()));
    assert!(headline.contains("beyond this host"), "{headline}");
}
