//! Entries born after what could have told of them was read.

use ctlens::evidence::Direction;

use crate::host::{Host, entry, spread, tuple};
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
    assert_eq!(
        short(&host.report()),
        "firewall / syn-sent-hold < backend-unresponsive"
    );
}
