//! The whole look, from the first file to the verdict, over a recording with faults on demand: what is missing becomes a
//! gap, and nobody is accused on what was not seen.

use std::ops::ControlFlow;
use std::path::Path;

use ctlens::cli::look::{Ask, CannotLook, Tap, look};
use ctlens::collect::Wish;
use ctlens::diagnose::{Cause, FindingState, Report, Side, diagnose};
use ctlens::kernel::{Channel, Errno, Heard, Job, Kernel, Replay, Script, Source};
use ctlens::model::Moment;

fn recording(name: &str) -> Script {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recordings");
    let replay = Replay::open(&folder.join(format!("{name}.pcapng.zst"))).expect("a fixture opens");
    Script::new(Box::new(replay))
}

fn verdict(mut kernel: impl Kernel) -> Result<Report, CannotLook> {
    let ask = Ask {
        window_secs: 2.0,
        tap: Tap::Where(3.0),
        wish: Wish::default(),
    };
    look(&mut kernel, &ask, &mut |_| {}).map(|evidence| diagnose(&evidence))
}

fn state(report: &Report, cause: Cause) -> FindingState {
    let finding = report.findings.iter().find(|finding| finding.name == cause);
    finding.expect("every cause has a finding").state
}

fn has_gap(report: &Report, source: &str) -> bool {
    report.gaps.iter().any(|gap| gap.source == source)
}

#[test]
fn without_a_fault_the_script_changes_nothing() {
    let report = verdict(recording("syn-sent-hold")).expect("a verdict");
    assert_eq!(
        (report.verdict.bottleneck, report.verdict.cause),
        (Side::Firewall, Cause::SynSentHold)
    );
    assert!(report.gaps.is_empty(), "{:?}", report.gaps);
}

#[test]
fn a_refused_table_is_a_gap_and_no_row() {
    let report =
        verdict(recording("syn-sent-hold").refuse(Channel::Netfilter, Errno::EPERM)).expect("a report");
    assert!(has_gap(&report, "ctnetlink"), "{:?}", report.gaps);
    assert!(report.states.is_none() && report.table.as_ref().is_some_and(|t| t.dumped.is_none()));
    assert_eq!(report.verdict.bottleneck, Side::Undecided);
    assert_eq!(state(&report, Cause::SynSentHold), FindingState::Unknown);
}

#[test]
fn refused_sockets_accuse_no_firewall_for_certain() {
    let sure = verdict(recording("syn-sent-hold"))
        .expect("a verdict")
        .verdict
        .confidence;
    let report =
        verdict(recording("syn-sent-hold").refuse(Channel::SockDiag, Errno::EPERM)).expect("a report");
    assert!(has_gap(&report, "inet_diag"), "{:?}", report.gaps);
    assert!(
        report.verdict.bottleneck == Side::Undecided || report.verdict.confidence < sure,
        "{:?}",
        report.verdict
    );
    assert_eq!(
        state(&report, Cause::EphemeralPortsExhausted),
        FindingState::Unknown
    );
}

#[test]
fn a_dump_that_breaks_off_is_not_taken_for_the_table() {
    for errno in [Errno::ENOBUFS, Errno::ETIMEDOUT] {
        // Statistics come in datagrams of their own; the third is inside the dump.
        let report =
            verdict(recording("syn-flood").fail_after(Channel::Netfilter, 2, errno)).expect("a report");
        assert!(report.states.is_none(), "{:?}", report.states);
        assert!(has_gap(&report, "ctnetlink"), "{:?}", report.gaps);
        assert_ne!(state(&report, Cause::SynRecvHold), FindingState::Clear);
    }
}

#[test]
fn without_the_tap_a_forwarding_host_is_less_sure() {
    let name = "syn-sent-hold-forwarded";
    let sure = verdict(recording(name)).expect("a verdict").verdict;
    let report = verdict(recording(name).refuse_listen(Errno::EPERM)).expect("a report");
    assert!(has_gap(&report, "tap"), "{:?}", report.gaps);
    let doubtful =
        report.verdict.bottleneck == Side::Undecided || report.verdict.confidence < sure.confidence;
    assert!(doubtful, "{:?}", report.verdict);
}

#[test]
fn a_host_without_conntrack_is_asked_nothing_more() {
    let files = [
        "/proc/sys/net/netfilter/nf_conntrack_max",
        "/proc/net/stat/nf_conntrack",
    ];
    let kernel = files.into_iter().fold(recording("healthy"), |kernel, file| {
        kernel.refuse_file(file, Errno::ENOENT)
    });
    let got = verdict(kernel);
    assert!(matches!(got, Err(CannotLook::NoConntrack)), "{got:?}");
}

#[test]
fn every_single_refused_file_leaves_a_report_that_accuses_nobody_new() {
    let files = [
        "/proc/net/netstat",
        "/proc/net/snmp",
        "/proc/net/sockstat",
        "/proc/slabinfo",
        "/proc/self/status",
        "/proc/modules",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv4/ip_local_port_range",
        "/proc/sys/net/netfilter/nf_conntrack_buckets",
        "/proc/sys/net/netfilter/nf_conntrack_count",
        "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_syn_sent",
    ];
    for file in files {
        let report = verdict(recording("healthy").refuse_file(file, Errno::EACCES)).expect("a report");
        let accused = ![Side::None, Side::Undecided].contains(&report.verdict.bottleneck);
        assert!(!accused, "without {file}: {:?}", report.verdict);
        let report = verdict(recording("syn-sent-hold").refuse_file(file, Errno::EACCES)).expect("a report");
        let other = ![Side::Firewall, Side::Undecided].contains(&report.verdict.bottleneck);
        assert!(!other, "without {file}: {:?}", report.verdict);
    }
}

/// No sockets any more once the table was asked for.
struct DeafAfterDump {
    inner: Script,
    dumped: bool,
}

impl Kernel for DeafAfterDump {
    fn now(&mut self) -> Moment {
        self.inner.now()
    }
    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        self.inner.read_file(path)
    }
    fn read_dir(&mut self, path: &str, part: &str) -> Result<Vec<u8>, Errno> {
        self.inner.read_dir(path, part)
    }
    fn request(&mut self, jobs: &mut [Job<'_>]) {
        const CT_GET: [u8; 2] = [1, 1]; // IPCTNL_MSG_CT_GET of NFNL_SUBSYS_CTNETLINK
        let is_dump = |job: &Job<'_>| job.channel == Channel::Netfilter && job.request[4..6] == CT_GET;
        self.dumped |= jobs.iter().any(is_dump);
        if self.dumped && jobs.iter().any(|job| job.channel == Channel::SockDiag) {
            jobs.iter_mut().for_each(|job| job.result = Err(Errno::ENOBUFS));
        } else {
            self.inner.request(jobs);
        }
    }
    fn listen(
        &mut self,
        sources: &[Source],
        deadline: Moment,
        each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        self.inner.listen(sources, deadline, each)
    }
}

#[test]
fn sockets_that_cannot_be_read_again_are_a_gap() {
    let kernel = DeafAfterDump {
        inner: recording("syn-sent-hold"),
        dumped: false,
    };
    let report = verdict(kernel).expect("a report");
    let told = report
        .gaps
        .iter()
        .any(|gap| gap.source == "inet_diag" && gap.reason.contains("second reading"));
    assert!(told, "{:?}", report.gaps);
}
