//! Recommendations for hosts told in a few figures: each timeout lowered, kept, raised, or left open.

use super::*;
use crate::evidence::{Observer, StateRow, Table};
use crate::model::{
    Estimate, Event, EventKind, Flow, Gone, Host, Settings, Status, TcpState, Timeouts, proto,
};

/// A host that is observed.
struct Seen {
    measured: Measured,
    evidence: Evidence,
    number: u32,
}

impl Seen {
    fn new() -> Seen {
        let timeouts = Timeouts::defaults();
        let mut measured = Measured::default();
        measured.pass(0.0, true, &timeouts);
        measured.passed(0.0, true);
        Seen {
            measured,
            evidence: Evidence {
                host: Host {
                    kernel: Some("6.18.0".to_string()),
                    netns: None,
                },
                table: Some(Table {
                    count: Some(1_000),
                    max: Some(20_000),
                    buckets: Some(20_000),
                    ..Table::default()
                }),
                states: Some(Vec::new()),
                timeouts,
                settings: Settings::default(),
                ..Evidence::default()
            },
            number: 0,
        }
    }

    fn tell(&mut self, kind: EventKind, number: u32, state: TcpState, at: f64) {
        let timer = Timer::of_state(state).expect("a state with a timer");
        let gone = kind == EventKind::Destroy;
        let mut flow = Flow {
            proto: proto::TCP,
            tcp_state: Some(state),
            timeout_secs: (!gone).then(|| self.evidence.timeouts.get(timer)).flatten(),
            status: Status(if state == TcpState::SynSent {
                0
            } else {
                Status::SEEN_REPLY
            }),
            ..Flow::default()
        };
        flow.orig.src = std::net::Ipv4Addr::from(number).into();
        let event = Event {
            kind,
            flow,
            port: 0,
            at_ns: None,
            stop_ns: None,
        };
        if gone {
            assert_eq!(event.gone(), Some(Gone::Expired));
        }
        self.measured.event(&event, at, true);
    }

    /// Connections that go from one state to another after `secs`, ten a second for as long as it is observed.
    fn moving(mut self, from: TcpState, to: TcpState, secs: f64, lasting: f64) -> Seen {
        let first = self.number;
        let count = (lasting * 10.0) as u32;
        let mut told: Vec<(f64, u32, bool)> = Vec::new();
        for number in 0..count {
            let at = f64::from(number) / 10.0;
            told.push((at, first + number, false));
            if at + secs < lasting {
                told.push((at + secs, first + number, true));
            }
        }
        told.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (at, number, moved) in told {
            match moved {
                false => self.tell(EventKind::New, number, from, at),
                true => self.tell(EventKind::Update, number, to, at),
            }
        }
        self.number += count;
        self
    }

    /// The same of those that nobody answers.
    fn waiting(mut self, state: TcpState, lasting: f64) -> Seen {
        let count = (lasting * 30.0) as u32;
        for number in 0..count {
            let id = self.number + number;
            self.tell(EventKind::New, id, state, f64::from(number) / 30.0);
        }
        self.number += count;
        self
    }

    fn row(mut self, timer: Timer, secs: f64) -> Row {
        self.measured.end(secs);
        let got = recommend(&self.evidence, &self.measured, 3.0, Asks::default());
        let row = got.states.into_iter().find(|row| row.timer == timer);
        row.unwrap_or_else(|| panic!("no row of {timer:?}"))
    }
}

use TcpState::{CloseWait, Established, LastAck, SynRecv, SynSent};

#[test]
fn syn_sent_goes_down_to_what_handshakes_need() {
    let fast = Seen::new()
        .moving(SynSent, SynRecv, 0.02, 120.0)
        .waiting(SynSent, 120.0)
        .row(Timer::SynSent, 120.0);
    assert_eq!(
        (fast.change, fast.recommended_s, fast.floor_s),
        (Change::Lower, Some(10), 10)
    );
    assert_eq!(
        (fast.price.cut, fast.moved_s.map(|of| of.count)),
        (0, Some(1_200))
    );
    assert!(
        (0.7..0.8).contains(&fast.by_timeout.expect("it is told")),
        "{fast:?}"
    );
    // 30 a second for 120 s.
    assert!((3_400.0..3_700.0).contains(&fast.fill.now), "{:?}", fast.fill);
    // Slow answers: twice the 99.9 % quantile.
    let slow = Seen::new()
        .moving(SynSent, SynRecv, 8.0, 150.0)
        .waiting(SynSent, 150.0)
        .row(Timer::SynSent, 150.0);
    assert!(matches!(slow.recommended_s, Some(16..=18)), "{slow:?}");
}

#[test]
fn where_handshakes_are_few_or_renewed_syns_decide() {
    let few = Seen::new()
        .moving(SynSent, SynRecv, 0.02, 60.0)
        .waiting(SynSent, 60.0)
        .row(Timer::SynSent, 60.0);
    assert_eq!((few.recommended_s, few.floor_s), (Some(33), 33));
    assert!(few.because.contains("only 600 handshakes"), "{}", few.because);
    let mut old = Seen::new()
        .moving(SynSent, SynRecv, 0.02, 120.0)
        .waiting(SynSent, 120.0);
    old.evidence.host.kernel = Some("5.4.0".to_string());
    let old = old.row(Timer::SynSent, 120.0);
    assert_eq!(old.recommended_s, Some(33));
    assert!(old.because.contains("may renew"), "{}", old.because);
}

#[test]
fn what_frees_nothing_is_kept() {
    let got = Seen::new()
        .moving(SynSent, SynRecv, 0.02, 120.0)
        .row(Timer::SynSent, 120.0);
    assert_eq!((got.change, got.recommended_s), (Change::Keep, Some(120)));
    assert!(got.because.contains("would do, but free only"), "{}", got.because);
}

#[test]
fn a_stay_is_measured_only_by_who_listens_for_longer() {
    let closing = |lasting: f64| {
        let mut seen = Seen::new();
        seen.evidence.timeouts.set(Timer::CloseWait, Some(3_600));
        seen.moving(CloseWait, LastAck, 1.0, lasting)
            .waiting(CloseWait, lasting)
            .row(Timer::CloseWait, lasting)
    };
    let short = closing(110.0);
    assert_eq!((short.change, short.observe_s), (Change::Keep, Some(180.0)));
    let long = closing(200.0);
    assert_eq!((long.change, long.recommended_s), (Change::Lower, Some(60)));
}

#[test]
fn too_short_is_raised() {
    let mut seen = Seen::new().waiting(SynRecv, 20.0);
    seen.evidence.timeouts.set(Timer::SynRecv, Some(5));
    let row = seen.row(Timer::SynRecv, 20.0);
    assert_eq!((row.change, row.recommended_s), (Change::Raise, Some(32)));
    // Whoever goes on after the end was cut by today's value.
    let mut seen = Seen::new();
    seen.tell(EventKind::New, 1, CloseWait, 1.0);
    seen.tell(EventKind::Destroy, 1, CloseWait, 61.0);
    seen.tell(EventKind::New, 1, Established, 62.0);
    let row = seen.row(Timer::CloseWait, 70.0);
    assert_eq!((row.change, row.recommended_s), (Change::Raise, Some(120)));
}

/// Ten thousand idle entries; some come back after `silent_secs`.
fn idle(silent_secs: u32, back: u32, secs: f64) -> Seen {
    let mut seen = Seen::new();
    let timeouts = seen.evidence.timeouts;
    let flow = |number: u32, left| {
        let mut flow = Flow {
            proto: proto::TCP,
            tcp_state: Some(Established),
            timeout_secs: Some(left),
            status: Status(Status::SEEN_REPLY | Status::ASSURED),
            ..Flow::default()
        };
        flow.orig.src = std::net::Ipv4Addr::from(number).into();
        flow
    };
    for at in [1.0, secs] {
        seen.measured.pass(at, true, &timeouts);
        for number in 0..10_000 {
            let left = match number < back {
                true if at > 1.0 => 432_000,
                true => 432_000 - silent_secs,
                false => 100_000 - at as u32,
            };
            seen.measured.entry(&flow(number, left));
        }
        seen.measured.passed(at, true);
    }
    seen.evidence.states = Some(vec![StateRow {
        proto: "tcp".to_string(),
        state: Some("ESTABLISHED".to_string()),
        entries: Estimate::exact(10_000.0),
        ..StateRow::default()
    }]);
    seen
}

#[test]
fn established_is_never_shorter_than_a_silence_that_was_come_back_from() {
    let minute = idle(9_000, 50, 60.0).row(Timer::Established, 60.0);
    assert_eq!((minute.change, minute.observe_s), (Change::Keep, Some(7_200.0)));
    let hours = idle(9_000, 2_000, 7_300.0).row(Timer::Established, 7_300.0);
    assert_eq!(hours.change, Change::Lower);
    let secs = hours.recommended_s.expect("a value");
    // A silence ended some time between two readings.
    assert!(f64::from(secs) >= 9_000.0 * 1.25 && secs <= 21_000, "{hours:?}");
    assert_eq!(hours.price.cut, 0);
}

#[test]
fn a_table_that_is_too_small_gets_room() {
    let mut seen = Seen::new().waiting(SynSent, 200.0);
    seen.evidence.table = Some(Table {
        max: Some(1_000),
        buckets: Some(1_000),
        ..Table::default()
    });
    seen.measured.end(200.0);
    let got = recommend(&seen.evidence, &seen.measured, 3.0, Asks::default());
    let size = &got.size;
    assert_eq!(
        (size.recommended_max, size.recommended_buckets),
        (Some(65_536), Some(65_536))
    );
    assert_eq!(
        (got.profile.max, got.adaptive.spike.max),
        (Some(65_536), Some(65_536))
    );
    assert!(size.recommended_for < size.heading_for);
}

#[test]
fn nobody_who_listens_is_said() {
    let mut measured = Measured::default();
    measured.end(0.0);
    let got = recommend(&Seen::new().evidence, &measured, 3.0, Asks::default());
    assert!(got.notes[0].starts_with("no event was heard"), "{:?}", got.notes);
    assert!(got.states.is_empty() && got.profile.is_empty());
}
