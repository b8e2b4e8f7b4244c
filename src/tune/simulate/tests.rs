//! The simulator on lives of a few lines.

use super::*;
use crate::evidence::Observer;
use crate::model::{Event, EventKind, Flow, Profile, Status, TcpState, Timeouts};

struct Load(Lives);

impl Load {
    fn new() -> Load {
        let mut lives = Lives::default();
        lives.pass(0.0, true, &Timeouts::defaults());
        Load(lives)
    }

    fn tell(&mut self, kind: EventKind, number: u32, state: TcpState, at: f64) {
        let timer = Timer::of_state(state).expect("a state with a timer");
        let mut status = if state == TcpState::SynSent {
            0
        } else {
            Status::SEEN_REPLY
        };
        if !matches!(state, TcpState::SynSent | TcpState::SynRecv) {
            status |= Status::ASSURED;
        }
        let mut flow = Flow {
            proto: proto::TCP,
            tcp_state: Some(state),
            timeout_secs: Some(timer.default_secs()),
            status: Status(status),
            ..Flow::default()
        };
        (flow.orig.sport, flow.mark) = (number as u16, Some(number));
        flow.orig.dst = std::net::Ipv4Addr::from(number >> 16).into();
        let event = Event {
            kind,
            flow,
            port: 0,
            at_ns: None,
            stop_ns: None,
        };
        self.0.event(&event, at, true);
    }

    fn run(mut self, secs: f64, change: impl FnOnce(&mut Under)) -> Simulated {
        self.0.end(secs);
        let mut under = under();
        change(&mut under);
        simulate(&self.0, &under)
    }
}

fn under() -> Under {
    Under {
        profile: Profile::default(),
        max: None,
        buckets: 4096,
        rate: 1.0,
        step_ms: 1000,
        loose: true,
    }
}

fn profile(timer: Timer, secs: u32) -> Profile {
    Profile {
        timeouts: [(timer, secs)].into(),
        ..Profile::default()
    }
}

/// `per_second` SYNs that nobody answers, for `secs` seconds.
fn unanswered(per_second: u32, secs: u32) -> Load {
    let mut load = Load::new();
    for number in 0..per_second * secs {
        let at = f64::from(number) / f64::from(per_second);
        load.tell(EventKind::New, number, TcpState::SynSent, at);
    }
    load
}

#[test]
fn entries_are_arrivals_times_seconds() {
    let short = profile(Timer::SynSent, 20);
    let got = unanswered(50, 100).run(100.0, |under| under.profile = short);
    let peak = got.peaks[Timer::SynSent as usize].entries;
    assert!((999..=1001).contains(&peak), "{peak}");
    // Expired entries are counted until they are collected, up to a minute later.
    assert!(
        got.peak_count.entries > peak && got.peak_count.entries <= 4_000,
        "{:?}",
        got.peak_count
    );
    assert_eq!((got.points.len(), got.cut, got.drop), (101, 0, 0));
    let as_it_was = unanswered(50, 100).run(100.0, |_| {});
    assert_eq!(as_it_was.peak.entries, 5_000);
}

#[test]
fn another_rate_is_so_many_times_the_flows() {
    for (rate, low, high) in [(3.0, 2_940, 3_060), (0.5, 400, 600), (1.5, 1_400, 1_600)] {
        let short = profile(Timer::SynSent, 20);
        let got = unanswered(50, 60).run(60.0, |under| (under.rate, under.profile) = (rate, short));
        let peak = got.peak.entries;
        assert!((low..=high).contains(&peak), "{rate}: {peak}");
    }
}

#[test]
fn who_goes_on_after_the_end_is_cut() {
    let late = |secs: u32| {
        let mut load = Load::new();
        load.tell(EventKind::New, 1, TcpState::SynSent, 1.0);
        load.tell(EventKind::Update, 1, TcpState::SynRecv, 5.0);
        load.tell(EventKind::Update, 1, TcpState::Established, 5.1);
        load.tell(EventKind::New, 2, TcpState::SynSent, 1.0);
        let short = profile(Timer::SynSent, secs);
        load.run(20.0, |under| under.profile = short)
    };
    let (fine, cut) = (late(5), late(3));
    assert_eq!((fine.cut, fine.cut_to.len()), (0, 0));
    // A late SYN/ACK finds no entry; the connection is picked up in its middle.
    assert_eq!((cut.cut, cut.cut_to[0].1, cut.points[10].entries), (1, 1, 1));
    assert_eq!(cut.points[4].entries, 0);
}

#[test]
fn a_flow_ends_when_it_did_or_sooner() {
    let mut load = Load::new();
    load.tell(EventKind::New, 1, TcpState::SynSent, 1.0);
    load.tell(EventKind::Update, 1, TcpState::Established, 2.0);
    load.tell(EventKind::Update, 1, TcpState::TimeWait, 10.0);
    let long = profile(Timer::TimeWait, 30);
    let got = load.run(60.0, |under| under.profile = long);
    let entries: Vec<u64> = [0, 5, 39, 41].map(|at: usize| got.points[at].entries).to_vec();
    assert_eq!(entries, [0, 1, 1, 0]);
    assert_eq!(got.peaks[Timer::TimeWait as usize].entries, 1);
}

#[test]
fn a_full_table_of_half_open_entries_evicts_and_of_assured_ones_drops() {
    let full = |state: TcpState| {
        let mut load = Load::new();
        for number in 0..2_000 {
            let at = f64::from(number) / 100.0;
            load.tell(EventKind::New, number, state, at);
        }
        load.run(20.0, |under| (under.max, under.buckets) = (Some(1_000), 1_024))
    };
    let half_open = full(TcpState::SynSent);
    assert_eq!((half_open.drop, half_open.peak.entries), (0, 1_000));
    assert!(half_open.early_drop >= 1_000, "{}", half_open.early_drop);
    let assured = full(TcpState::Established);
    assert_eq!(
        (assured.drop, assured.early_drop, assured.peak.entries),
        (1_000, 0, 1_000)
    );
    // After a drop the collector makes room among those that are closing.
    let closing = full(TcpState::TimeWait);
    assert!(closing.drop > 0 && closing.early_drop == 0);
    assert!(
        closing.drop + closing.gc_evicted >= 1_000 || closing.gc_evicted == 0,
        "{closing:?}"
    );
}

#[test]
fn what_was_there_before_is_as_old_as_it_was() {
    let mut load = Load::new();
    let mut flow = Flow {
        proto: proto::TCP,
        tcp_state: Some(TcpState::SynSent),
        ..Flow::default()
    };
    for left in 1..=120 {
        (flow.orig.sport, flow.timeout_secs) = (left, Some(u32::from(left)));
        load.0.entry(&flow);
    }
    let short = profile(Timer::SynSent, 30);
    let got = load.run(10.0, |under| under.profile = short);
    // Those older than 30 s would have been gone.
    assert_eq!(got.peak.entries, 30);
    assert_eq!(got.blind_s, 0);
}

#[test]
fn the_same_comes_out_each_time() {
    let once = || {
        let got = unanswered(100, 40).run(40.0, |under| (under.rate, under.max) = (1.7, Some(2_000)));
        (got.early_drop, got.points, got.peak)
    };
    assert_eq!(once(), once());
}
