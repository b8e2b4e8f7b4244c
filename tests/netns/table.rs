//! A small table of every kind that dump filters tell apart, in a namespace of a test's own.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ctlens::model::{Flow, Status, TcpState, Tuple};
use ctlens::wire::ctnetlink::{DumpFilter, decode_flow, encode_dump};

use super::loader::{self, ZoneOf};

/// NLM_F_DUMP_FILTERED: the kernel did filter.
const FILTERED: u16 = 0x20;

/// An entry's identity for these tests: no two share a source port.
pub type Ports = BTreeSet<u16>;

/// The entries of a dump, or the kernel's refusal; and whether it said that it filtered.
pub fn dump(request: Vec<u8>) -> Result<(Vec<Flow>, bool), i32> {
    let messages = super::ask(request)?;
    let filtered = messages.iter().any(|message| message.flags & FILTERED != 0);
    let flows = messages
        .iter()
        .map(|message| decode_flow(&message.payload).expect("an entry of this kernel"));
    Ok((flows.collect(), filtered))
}

pub fn ports<'a>(flows: impl IntoIterator<Item = &'a Flow>) -> Ports {
    flows.into_iter().map(|flow| flow.orig.sport).collect()
}

/// Every kind of entry that the fields tell apart, in this thread's namespace.
fn load() -> bool {
    let mut sport = 1000;
    let v4 = |last: u8| IpAddr::from([10, 0, 0, last]);
    let v6 = |last: u16| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]);
    let statuses = [0, Status::SEEN_REPLY, Status::SEEN_REPLY | Status::ASSURED];
    let ends = [
        (v4(1), v4(2)),
        (v4(1), v4(3)),
        (v4(9), v4(2)),
        (v6(1), v6(2)),
        (v6(9), v6(3)),
    ];
    let mut made = true;
    for (src, dst) in ends {
        for (proto, dport) in [(6, 80), (6, 443), (17, 53), (132, 80)] {
            for (turn, status) in statuses.iter().enumerate() {
                sport += 1;
                let orig = Tuple {
                    src,
                    dst,
                    sport,
                    dport,
                };
                let zoned = [None, Some(5), Some(5)][turn];
                let flow = Flow {
                    orig,
                    reply: orig.inverted(),
                    proto,
                    // SEEN_REPLY does not end SYN_SENT: a challenge ACK sets it.
                    tcp_state: (proto == 6)
                        .then_some([TcpState::SynSent, TcpState::SynSent, TcpState::Established][turn]),
                    status: Status(*status),
                    timeout_secs: Some(600),
                    mark: Some([0, 7, 0x17][turn]),
                    zone: zoned,
                    ..Flow::default()
                };
                let zone_of = [ZoneOf::Both, ZoneOf::Orig, ZoneOf::Reply][usize::from(sport) % 3];
                made &= loader::create(&flow, zone_of).is_ok();
            }
        }
    }
    made
}

/// Runs `test` with the whole table in a namespace of its own.
pub fn with_table(test: impl FnOnce(Vec<Flow>) + Send) {
    super::inside(|| {
        if !load() {
            println!("skipped: not all entries could be made");
            return;
        }
        let (all, _) = dump(encode_dump(&DumpFilter::default())).expect("a dump of an own namespace");
        assert_eq!(all.len(), 60);
        test(all);
    });
}
