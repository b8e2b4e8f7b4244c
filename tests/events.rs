//! Conntrack events: real ones decoded, the kernel's filter run by hand, and what is told of those that were lost.

mod fake;
#[cfg(target_endian = "little")]
mod hex;

use std::net::IpAddr;
use std::ops::ControlFlow;

use ctlens::collect::{self, FlowFilter, Listening, Prefix, Presence};
use ctlens::kernel::Errno;
use ctlens::model::{BpfInstruction, Event, EventKind, Flow, Moment};
use ctlens::render;
use ctlens::wire::ct_events::{EventFilter, encode_filter};
use fake::{Fake, message};
use proptest::prelude::*;

const NEW: u16 = 0x100;
const DELETE: u16 = 0x102;
const CREATED: u16 = 0x600;

/// nfgenmsg and attributes of an entry from `src` to `dst`.
fn entry(src: IpAddr, dst: IpAddr, sport: u16, dport: u16, proto: u8) -> Vec<u8> {
    let attribute = |kind: u16, value: &[u8]| {
        let mut out = (4 + value.len() as u16).to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    };
    let (family, kinds) = match src {
        IpAddr::V4(_) => (2, [1u16, 2]),
        IpAddr::V6(_) => (10, [3, 4]),
    };
    let octets = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    };
    let tuple = |src: IpAddr, dst: IpAddr, sport: u16, dport: u16| {
        let ip = [
            attribute(kinds[0], &octets(src)),
            attribute(kinds[1], &octets(dst)),
        ]
        .concat();
        let ends = [
            attribute(1, &[proto]),
            attribute(2, &sport.to_be_bytes()),
            attribute(3, &dport.to_be_bytes()),
        ]
        .concat();
        [attribute(1 | 0x8000, &ip), attribute(2 | 0x8000, &ends)].concat()
    };
    let mut out = vec![family, 0, 0, 0];
    out.extend(attribute(1 | 0x8000, &tuple(src, dst, sport, dport)));
    out.extend(attribute(2 | 0x8000, &tuple(dst, src, dport, sport)));
    out
}

/// What bpf_prog_run() makes of the instructions that are used; `None`: it fell off its end.
fn run(program: &[BpfInstruction], datagram: &[u8]) -> Option<bool> {
    let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
    loop {
        let op = program.get(at)?;
        at += 1;
        let load = |place: u32, size: usize| {
            let bytes = datagram.get(place as usize..place as usize + size)?;
            Some(bytes.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)))
        };
        match (op.code, op.k) {
            (0x00, k) => a = k,
            (0x01, k) => x = k,
            // NLATTR and NLATTR_NEST
            (0x20, 0xffff_f00c) => a = find(datagram, a as usize, datagram.len(), x),
            (0x20, 0xffff_f010) => {
                let length = usize::from(u16::from_ne_bytes([
                    datagram[a as usize],
                    datagram[a as usize + 1],
                ]));
                a = find(datagram, a as usize + 4, a as usize + length, x);
            }
            // Beyond the end of a packet is a rejection.
            (0x40, k) => {
                a = match load(x + k, 4) {
                    Some(value) => value,
                    None => return Some(false),
                }
            }
            (0x48, k) => {
                a = match load(x + k, 2) {
                    Some(value) => value,
                    None => return Some(false),
                }
            }
            (0x50, k) => {
                a = match load(x + k, 1) {
                    Some(value) => value,
                    None => return Some(false),
                }
            }
            (0x54, k) => a &= k,
            (0x07, _) => x = a,
            (0x15, k) => at += usize::from(if a == k { op.jt } else { op.jf }),
            (0x06, k) => return Some(k != 0),
            other => panic!("an instruction that was not expected: {other:?}"),
        }
    }
}

/// nla_find(): the place of an attribute, or 0.
fn find(datagram: &[u8], mut at: usize, end: usize, wanted: u32) -> u32 {
    while at + 4 <= end.min(datagram.len()) {
        let length = usize::from(u16::from_ne_bytes([datagram[at], datagram[at + 1]]));
        let kind = u16::from_ne_bytes([datagram[at + 2], datagram[at + 3]]) & 0x3fff;
        if u32::from(kind) == wanted {
            return at as u32;
        }
        if length < 4 {
            return 0;
        }
        at += length.next_multiple_of(4);
    }
    0
}

fn addr(v6: bool, last: u8, middle: u8) -> IpAddr {
    match v6 {
        false => IpAddr::from([10, middle, 0, last]),
        true => IpAddr::from([0xfd00, u16::from(middle), 0, 0, 0, 0, 0, u16::from(last)]),
    }
}

proptest! {
    /// The kernel lets through exactly what the filter wants.
    #[test]
    fn the_kernel_filters_as_we_do(
        v6: bool, asked_v6: bool, ends in (0u8..3, 0u8..3, 0u8..3, 0u8..3), ports in (0u16..3, 0u16..3),
        proto in 6u8..8, want in (any::<Option<bool>>(), any::<Option<bool>>(), any::<Option<bool>>(),
        any::<Option<bool>>(), any::<Option<bool>>()), bits in (0u8..129, 0u8..129),
    ) {
        let (src, dst) = (addr(v6, ends.0, ends.1), addr(v6, ends.2, ends.3));
        let datagram = message(NEW, CREATED, &entry(src, dst, ports.0, ports.1, proto));
        let widest = if asked_v6 { 128 } else { 32 };
        let prefix = |bits: u8, asked: IpAddr| {
            let text = format!("{asked}/{}", bits.min(widest));
            Prefix::parse(&text).expect("an address and its bits")
        };
        let filter = FlowFilter {
            src: want.0.map(|_| prefix(bits.0, addr(asked_v6, 1, 1))),
            dst: want.1.map(|_| prefix(bits.1, addr(asked_v6, 2, 0))),
            sport: want.2.map(|_| 1),
            dport: want.3.map(|_| 2),
            proto: want.4.map(|_| 6),
            ..FlowFilter::default()
        };
        let asked = EventFilter {
            proto: filter.proto,
            src: filter.src.map(|prefix| prefix.parts()),
            dst: filter.dst.map(|prefix| prefix.parts()),
            sport: filter.sport,
            dport: filter.dport,
        };
        let program = encode_filter(&asked);
        let mut flow = Flow::default();
        ctlens::wire::ctnetlink::fill_flow(&datagram[16..], &mut flow).expect("a whole entry");
        // Ports of a protocol that is not asked for are looked at here, after.
        let wanted = FlowFilter { sport: None, dport: None, ..filter.clone() }.wants(&flow)
            && filter.sport.is_none_or(|port| flow.orig.sport == port)
            && filter.dport.is_none_or(|port| flow.orig.dport == port);
        if program.is_empty() {
            prop_assert!(wanted);
        } else {
            prop_assert_eq!(run(&program, &datagram), Some(wanted));
        }
    }
}

fn heard(kernel: &mut Fake<impl FnMut(ctlens::kernel::Channel, &[u8]) -> Vec<fake::Datagram>>) -> Vec<Event> {
    let presence = Presence::read(kernel);
    let listening = Listening {
        kinds: EventKind::ALL.to_vec(),
        updates_apart: false,
        filter: FlowFilter::default(),
        buffer_bytes: 4096,
    };
    let mut got = Vec::new();
    let turn = collect::events(kernel, &presence, &listening, Moment::default(), &mut |event| {
        got.push(*event);
        ControlFlow::Continue(())
    });
    assert!(turn.is_ok(), "{turn:?}");
    got
}

fn loaded() -> Fake<impl FnMut(ctlens::kernel::Channel, &[u8]) -> Vec<fake::Datagram>> {
    Fake::new(|_, _| Vec::new())
        .file("/proc/sys/net/netfilter/nf_conntrack_max", "100\n")
        .file(
            "/proc/modules",
            "nfnetlink 1 1 - Live 0x0\nnf_conntrack_netlink 1 0 - Live 0x0\n",
        )
}

#[test]
fn events_are_told_from_other_messages() {
    let from = entry(addr(false, 1, 0), addr(false, 2, 0), 40_000, 80, 6);
    let mut kernel = loaded();
    kernel.tapped = vec![
        Ok(message(NEW, CREATED, &from)),
        Ok(message(NEW, 0, &from)),
        Ok(message(DELETE, 0, &from)),
        Ok(message(0x105, 0, &from)),
        Ok(message(NEW, CREATED, &from[..20])),
    ];
    let kinds: Vec<EventKind> = heard(&mut kernel).iter().map(|event| event.kind).collect();
    assert_eq!(kinds, EventKind::ALL);
}

#[test]
fn without_the_module_nothing_is_asked() {
    let mut kernel = Fake::new(|_, _| Vec::new())
        .file("/proc/sys/net/netfilter/nf_conntrack_max", "100\n")
        .file("/proc/modules", "nf_conntrack 1 0 - Live 0x0\n");
    let presence = Presence::read(&mut kernel);
    let listening = Listening {
        kinds: vec![EventKind::New],
        updates_apart: false,
        filter: FlowFilter::default(),
        buffer_bytes: 4096,
    };
    let turn = collect::events(&mut kernel, &presence, &listening, Moment::default(), &mut |_| {
        ControlFlow::Continue(())
    });
    assert!(turn.is_err_and(|gap| gap.reason.contains("looking loads no module")));
    let mut deaf = loaded();
    deaf.tapped = vec![Err(Errno::EPERM)];
    let presence = Presence::read(&mut deaf);
    let turn = collect::events(&mut deaf, &presence, &listening, Moment::default(), &mut |_| {
        ControlFlow::Continue(())
    });
    assert!(turn.is_err_and(|gap| gap.reason.contains("CAP_NET_ADMIN")));
}

#[test]
#[cfg(target_endian = "little")]
fn rows_are_those_of_conntrack_with_the_cause_of_an_end() {
    let row = |name: &str| {
        let captured = hex::message(name);
        let message = ctlens::wire::netlink::Message {
            kind: captured.kind,
            flags: captured.flags,
            seq: 0,
            port: captured.port,
            payload: &captured.payload,
        };
        let event = ctlens::wire::ct_events::decode_event(&message)
            .expect("a real one")
            .expect("an event");
        let (mut text, mut json) = (Vec::new(), Vec::new());
        render::event_text(&event, &mut text);
        render::event_json(&event, &mut json);
        let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        (String::from_utf8(text).expect("text"), json)
    };
    let (text, json) = row("ct_event_new");
    let new =
        "    [NEW] tcp      6 120 SYN_SENT src=10.66.1.2 dst=10.66.2.2 sport=41601 dport=80 [UNREPLIED] ";
    assert!(text.contains(new), "{text}");
    assert_eq!(
        (&json["event"], &json["gone"]),
        (&"new".into(), &serde_json::Value::Null)
    );
    assert!(
        row("ct_event_update")
            .0
            .contains(" [UPDATE] tcp      6 60 SYN_RECV ")
    );
    let (text, json) = row("ct_event_destroy");
    assert!(
        text.contains("[DESTROY] tcp      6 120 CLOSE ") && text.ends_with(" gone=refused\n"),
        "{text}"
    );
    assert_eq!(json["schema"], "ctlens.event/1");
    assert_eq!(
        (&json["gone"], &json["state"]),
        (&"refused".into(), &"CLOSE".into())
    );
    let (started, stopped) = (json["start_s"].as_f64(), json["stop_s"].as_f64());
    assert!(
        started
            .zip(stopped)
            .is_some_and(|(started, stopped)| stopped >= started),
        "{json}"
    );
}
