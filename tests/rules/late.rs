//! Entries born after what could have told of them was read.

use ctlens::evidence::Direction;

use crate::host::{HOST, Host, entry, spread, tuple};
use crate::scene::short;

#[test]
fn a_tap_that_ended_early_says_nothing_of_clients_that_began_later() {
    // It heard a flood out after three seconds of ten; these forwarded clients began afterwards, and are alive.
    let mut host = Host {
        tap_ended_before: 7.0,
        ..Host::default()
    };
    for n in 0..2000u16 {
        let client = format!("10.50.{}.{}", n >> 8, n & 255);
        host.flows.push(entry(
            tuple(&client, 9000, "10.9.1.3:80"),
            spread(u32::from(n), 2000, 7.0),
        ));
    }
    let pile = host.evidence().half_open.unwrap().syn_sent[&Direction::Forward].clone();
    assert_eq!((pile.held.high, pile.unclear.value), (0.0, 2000.0), "{pile:?}");
    assert!(short(&host.report()).starts_with("undecided"));
    // Had it listened to the end, its silence would have told.
    host.tap_ended_before = 0.0;
    assert_eq!(short(&host.report()), "firewall / syn-sent-hold < syn-flood");
}

#[test]
fn entries_that_a_slow_pass_may_have_seen_born_are_not_held() {
    // A proxy whose sockets come and go within the pass: each entry's socket is in neither reading.
    let mut host = Host::default();
    for n in 0..2000u16 {
        let orig = tuple(HOST, 10_000 + n, "10.9.1.3:80");
        host.flows.push(entry(orig, spread(u32::from(n), 2000, 6.0)));
    }
    let pile = |host: &Host, direction| host.evidence().half_open.unwrap().syn_sent[&direction].clone();
    assert_eq!(pile(&host, Direction::Out).held.value, 2000.0);
    // A few milliseconds make no second.
    host.pass_secs = 0.004;
    assert!(pile(&host, Direction::Out).held.value >= 1990.0);
    host.pass_secs = 8.0;
    let out = pile(&host, Direction::Out);
    assert_eq!((out.held.high, out.unclear.value), (0.0, 2000.0), "{out:?}");
    assert!(
        short(&host.report()).starts_with("undecided"),
        "{}",
        short(&host.report())
    );
    // Older ones are.
    host.flows
        .iter_mut()
        .for_each(|flow| flow.timeout_secs = Some(100));
    assert_eq!(pile(&host, Direction::Out).held.value, 2000.0);

    // The same where the wire tells: what was born behind the tap's end is no silent client.
    for (n, flow) in (0..).zip(&mut host.flows) {
        *flow = entry(
            tuple("10.50.0.1", n, "10.9.1.3:80"),
            spread(u32::from(n), 2000, 6.0),
        );
    }
    let forwarded = pile(&host, Direction::Forward);
    assert_eq!(
        (forwarded.held.high, forwarded.unclear.value),
        (0.0, 2000.0),
        "{forwarded:?}"
    );
    host.pass_secs = 0.0;
    assert_eq!(pile(&host, Direction::Forward).held.value, 2000.0);
}
