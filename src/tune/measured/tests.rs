//! An observation told in a few events and readings.

use super::*;
use crate::model::{Status, proto};

fn flow(number: u16, state: TcpState, left: u32) -> Flow {
    let mut flow = Flow {
        proto: proto::TCP,
        tcp_state: Some(state),
        timeout_secs: Some(left),
        status: Status(if state == TcpState::SynSent {
            0
        } else {
            Status::SEEN_REPLY
        }),
        ..Flow::default()
    };
    (flow.orig.sport, flow.orig.dport) = (number, 80);
    flow
}

fn event(kind: EventKind, flow: Flow) -> Event {
    Event {
        kind,
        flow,
        port: 0,
        at_ns: None,
        stop_ns: None,
    }
}

#[test]
fn handshakes_are_timed_and_the_unanswered_wait() {
    let mut got = Measured::default();
    for number in 0..10 {
        let at = f64::from(number);
        got.event(
            &event(EventKind::New, flow(number, TcpState::SynSent, 120)),
            at,
            true,
        );
        if number % 2 == 0 {
            let answered = flow(number, TcpState::SynRecv, 60);
            got.event(&event(EventKind::Update, answered), at + 0.2, true);
        }
    }
    let gone = Flow {
        timeout_secs: None,
        ..flow(1, TcpState::SynSent, 0)
    };
    got.event(&event(EventKind::Destroy, gone), 20.0, true);
    got.end(20.0);
    let of = got.of(Timer::SynSent);
    assert_eq!((of.came, of.moved_ms.len(), of.expired), (10, 5, [1, 0]));
    let moved = Quantiles::of(&of.moved_ms).expect("five have moved on");
    assert!((0.199..0.202).contains(&moved.p50), "{moved:?}");
    // One has expired, four have waited for longer than anybody who was answered.
    assert_eq!(of.by_timeout(), Some(0.5));
    assert_eq!(got.of(Timer::SynRecv).came, 5);
    assert_eq!((got.heard_secs(), got.secs), (20.0, 20.0));
}

#[test]
fn a_deadline_that_moved_tells_of_a_silence() {
    let mut got = Measured::default();
    let established = |number, left| flow(number, TcpState::Established, left);
    let read = |got: &mut Measured, at: f64, entries: &[Flow]| {
        got.pass(at, true, &Timeouts::defaults());
        entries.iter().for_each(|flow| got.entry(flow));
        got.passed(at, true);
    };
    // One is silent, one comes back after an hour, one has unacknowledged data, which tells no age.
    let first = [
        established(1, 400_000),
        established(2, 428_400),
        established(3, 290),
    ];
    read(&mut got, 0.0, &first);
    let second = [
        established(1, 399_990),
        established(2, 431_995),
        established(3, 432_000),
    ];
    read(&mut got, 10.0, &second);
    got.end(10.0);
    let of = got.of(Timer::Established);
    assert_eq!((of.silences_ms.len(), of.entries), (1, 3));
    assert!(
        (3_600.0..3_612.0).contains(&of.longest_silence_secs()),
        "{}",
        of.longest_silence_secs()
    );
    assert_eq!((of.longer_than(3_000), of.longer_than(7_440)), (1, 0));
    assert_eq!(of.cut.longer_than(3_000).len(), 1);
    // Of the two whose idle time is known, one was touched within an hour.
    assert_eq!(of.touched_within(3_600), Some(2.0 / 3.0));
}

#[test]
fn what_is_gone_without_a_word_has_expired_if_its_time_was_over() {
    let mut got = Measured::default();
    got.pass(0.0, true, &Timeouts::defaults());
    for (number, left) in [(1, 3), (2, 100)] {
        got.entry(&flow(number, TcpState::TimeWait, left));
    }
    got.passed(0.0, true);
    got.pass(5.0, true, &Timeouts::defaults());
    got.passed(5.0, true);
    got.end(5.0);
    let of = got.of(Timer::TimeWait);
    assert_eq!((of.expired, of.ended_otherwise, of.peak), ([0, 1], 1, 2));
}

#[test]
fn one_that_goes_on_after_its_end_was_cut() {
    let mut got = Measured::default();
    let half_closed = flow(7, TcpState::CloseWait, 60);
    got.event(&event(EventKind::New, half_closed), 0.0, true);
    let gone = Flow {
        timeout_secs: None,
        ..half_closed
    };
    got.event(&event(EventKind::Destroy, gone), 60.0, true);
    got.event(
        &event(EventKind::New, flow(7, TcpState::Established, 300)),
        61.0,
        true,
    );
    got.end(70.0);
    assert_eq!(got.of(Timer::CloseWait).cut_already, 1);
}

#[test]
fn an_answer_to_a_datagram_is_no_stream_yet() {
    let mut got = Measured::default();
    let datagram = |status: u32| Flow {
        proto: proto::UDP,
        tcp_state: None,
        timeout_secs: Some(30),
        status: Status(status),
        ..Flow::default()
    };
    let assured = Status::SEEN_REPLY | Status::ASSURED;
    for (kind, status, at) in [
        (EventKind::New, 0, 0.0),
        (EventKind::Update, Status::SEEN_REPLY, 0.05),
        (EventKind::Update, assured, 4.0),
    ] {
        got.event(&event(kind, datagram(status)), at, true);
    }
    got.end(5.0);
    let of = got.of(Timer::Udp);
    assert_eq!((of.moved_ms.len(), of.moved_ms.max()), (1, 50));
    assert_eq!(got.of(Timer::UdpStream).came, 1);
}
