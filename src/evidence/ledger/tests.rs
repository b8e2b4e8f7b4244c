//! The ledger against what was told to it.

use std::net::IpAddr;

use super::*;
use crate::model::{Status, Tuple, proto};

fn flow(number: u32, state: TcpState, status: u32) -> Flow {
    let orig = Tuple {
        src: IpAddr::from((number + 0x0a00_0000).to_be_bytes()),
        dst: IpAddr::from([10, 9, 1, (number % 3) as u8]),
        sport: 40_000,
        dport: 80,
    };
    Flow {
        orig,
        reply: orig.inverted(),
        proto: proto::TCP,
        tcp_state: Some(state),
        status: Status(status),
        ..Flow::default()
    }
}

fn event(kind: EventKind, number: u32, state: TcpState) -> Event {
    Event {
        kind,
        flow: flow(number, state, Status::CONFIRMED),
        port: 0,
        at_ns: None,
        stop_ns: None,
    }
}

fn come(ledger: &mut Ledger, numbers: std::ops::Range<u32>, at_secs: f64) {
    for number in numbers {
        ledger.apply(&event(EventKind::New, number, TcpState::SynSent), at_secs, true);
    }
}

fn go(ledger: &mut Ledger, numbers: std::ops::Range<u32>, at_secs: f64) {
    for number in numbers {
        ledger.apply(
            &event(EventKind::Destroy, number, TcpState::SynSent),
            at_secs,
            true,
        );
    }
}

#[test]
fn what_came_and_went_is_counted_with_its_cause_and_time() {
    let mut ledger = Ledger::new(1000);
    come(&mut ledger, 0..90, 1.0);
    ledger.apply(&event(EventKind::Update, 0, TcpState::SynRecv), 1.1, true);
    ledger.apply(&event(EventKind::Update, 0, TcpState::Established), 1.25, true);
    go(&mut ledger, 30..60, 121.0);
    assert_eq!(ledger.held(), Estimate::exact(60.0));
    assert_eq!(ledger.handshakes_ms().max(), 250);
    let (top, elsewhere) = ledger.top(2);
    assert_eq!(elsewhere, Traffic::default());
    assert_eq!(
        top[0].1,
        Traffic {
            held: 20,
            came: 30,
            went: 10
        }
    );
    let turnover = ledger.turnover();
    assert_eq!(
        (turnover.came, turnover.went.expired, turnover.unanswered),
        (90, 30, 30)
    );
    assert_eq!(turnover.went_by_state, BTreeMap::from([("SYN_SENT", 30)]));
    assert!((turnover.spent_secs - 30.0 * 120.0).abs() < 1.0);
    assert_eq!(ledger.turnover(), Turnover::default());
    assert_eq!(ledger.lifetimes_ms()["expired"].len(), 30);
}

#[test]
fn a_dump_corrects_what_was_lost() {
    let mut ledger = Ledger::new(1000);
    come(&mut ledger, 0..50, 0.0);
    ledger.lose(30);
    assert_eq!((ledger.held().low, ledger.held().high), (20.0, 80.0));
    // Ten went and twenty came unheard; five come while the dump goes on.
    ledger.correct();
    for number in 10..70 {
        ledger.seed(&flow(number, TcpState::SynSent, Status::CONFIRMED), 5.0);
    }
    come(&mut ledger, 100..105, 6.0);
    assert_eq!(
        ledger.corrected(5.0),
        Drift {
            missed: 20,
            stale: 10
        }
    );
    assert_eq!(ledger.held(), Estimate::exact(65.0));
    assert_eq!(ledger.top(9).0.iter().map(|(_, t)| t.held).sum::<u64>(), 65);
    // What the dump brought is not measured from there on.
    go(&mut ledger, 50..70, 9.0);
    assert!(ledger.lifetimes_ms().is_empty());
}

#[test]
fn a_ledger_that_is_full_keeps_a_random_part_and_says_so() {
    const TRUTH: u32 = 8000;
    let mut right = 0;
    for _ in 0..100 {
        let mut ledger = Ledger::new(1000);
        come(&mut ledger, 0..TRUTH, 0.0);
        assert!(ledger.scale() >= 8.0, "{}", ledger.scale());
        let held = ledger.held();
        right += u32::from((held.low..=held.high).contains(&f64::from(TRUTH)));
        go(&mut ledger, 0..TRUTH, 1.0);
        assert_eq!(ledger.held().value, 0.0);
    }
    // Intervals of 95 %: fewer than 80 of 100 happen to a right one once in ten million runs.
    assert!(right >= 80, "{right} of 100 intervals hold the truth");
}

#[test]
fn an_entry_takes_less_than_100_bytes() {
    // Key, value and control byte of a hash table that has just doubled: seven eighths of half are in use.
    let slot = std::mem::size_of::<(Identity, Kept)>() + 1;
    assert!(slot as f64 / (7.0 / 16.0) <= 100.0, "{slot}");
}

#[test]
fn places_that_nothing_goes_to_make_room() {
    let mut ledger = Ledger::new(1_000_000);
    let to = |number: u32| {
        let mut flow = flow(number, TcpState::SynSent, 0);
        flow.orig.dst = IpAddr::from((number + 0x0b00_0000).to_be_bytes());
        flow
    };
    let heard = |kind, flow| Event {
        kind,
        flow,
        port: 0,
        at_ns: None,
        stop_ns: None,
    };
    let most = MAX_PLACES as u32;
    for number in 0..most {
        ledger.apply(&heard(EventKind::New, to(number)), 0.0, true);
    }
    ledger.apply(&heard(EventKind::New, to(most)), 0.0, true);
    assert_eq!(ledger.top(1).1.held, 1, "it is counted with others");
    for number in 0..most {
        ledger.apply(&heard(EventKind::Destroy, to(number)), 1.0, true);
    }
    ledger.turnover();
    ledger.apply(&heard(EventKind::New, to(most + 1)), 2.0, true);
    let (top, elsewhere) = ledger.top(10);
    assert_eq!((top.len(), top[0].1.held, elsewhere.held), (1, 1, 1));
    // The one that had no place of its own comes again, and has one now.
    ledger.apply(&heard(EventKind::New, to(most)), 3.0, true);
    assert_eq!((ledger.top(10).0.len(), ledger.top(10).1.held), (2, 0));
    ledger.apply(&heard(EventKind::Destroy, to(most)), 4.0, true);
    assert_eq!(ledger.held().value, 1.0);
}
