//! A short look at the wire: SYN, SYN/ACK, FIN, RST and ICMP unreachable coming in, headers only.

use std::ops::ControlFlow;

use super::presence::Presence;
use super::sockets::sockets;
use super::ways::strict;
use crate::kernel::{Errno, Kernel, Source};
use crate::model::{
    Action, BpfInstruction, Chain, Gap, Hook, Moment, NetCounters, Ruleset, Segment, SocketState,
};
use crate::wire::packet;

/// Enough of a packet for IPv6 with extensions, TCP, and an ICMP error's quote.
const SNAP_BYTES: u32 = 128;
/// The tap ends early after so many segments: on a flooded host it has seen enough.
const MAX_SEGMENTS: u64 = 200_000;
const BUFFER_BYTES: u32 = 4 << 20;
/// No shorter tap is advised: a client's SYN comes again after a second at the soonest.
const MIN_TAP_SECS: u64 = 1;

/// How the look went.
#[derive(Clone, Debug, PartialEq)]
pub struct TapLook {
    pub secs: f64,
    /// Of what began later it says nothing.
    pub ended: Moment,
    pub lost: u64,
    /// What its silence does not tell.
    pub gaps: Vec<Gap>,
}

/// Whether a tap can tell something: where SYNs come in, on a host that forwards or that listens, or where a rule, or
/// the reverse path filter, may eat answers, or where this host's own attempts fail.
pub fn worth_tapping(
    kernel: &mut dyn Kernel,
    presence: &Presence,
    ruleset: Option<&Ruleset>,
    net: Option<&NetCounters>,
) -> bool {
    ruleset.is_some_and(eats_early)
        || net.is_some_and(fails)
        || forwards(kernel)
        || strict(kernel)
        || listens(kernel, presence)
}

/// So many failed attempts since boot, …
const LEAST_FAILED: i64 = 20;
/// … one of so many at least.
const FAILED_OF: i64 = 50;
/// Routers and hosts send one ICMP error a second to each address (icmp_ratelimit): few stand for many.
const LEAST_UNREACHABLE: i64 = 5;

/// Some of this host's attempts are refused, or time out. An ICMP error ends an attempt without counting it as failed.
fn fails(net: &NetCounters) -> bool {
    let (failed, all) = (net.get("Tcp.AttemptFails"), net.get("Tcp.ActiveOpens"));
    let reset = failed
        .zip(all)
        .is_some_and(|(failed, all)| failed >= LEAST_FAILED && failed >= all / FAILED_OF);
    let unreachable = net
        .get("Icmp.InDestUnreachs")
        .is_some_and(|n| n >= LEAST_UNREACHABLE);
    reset || unreachable
}

fn eats_early(ruleset: &Ruleset) -> bool {
    let early = |chain: &&Chain| {
        chain
            .at
            .is_some_and(|at| at.hook != Hook::Output && at.before_conntrack())
    };
    let rules = |chain: &Chain| {
        ruleset
            .rules
            .iter()
            .filter(|rule| {
                (&rule.table, rule.family, rule.engine) == (&chain.table, chain.family, chain.engine)
            })
            .any(|rule| rule.then == Action::Drop)
    };
    ruleset
        .chains
        .iter()
        .filter(early)
        .any(|chain| chain.drops || rules(chain))
}

fn forwards(kernel: &mut dyn Kernel) -> bool {
    [
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv6/conf/all/forwarding",
    ]
    .iter()
    .any(|path| kernel.read_file(path).is_ok_and(|text| text.trim_ascii() == b"1"))
}

fn listens(kernel: &mut dyn Kernel, presence: &Presence) -> bool {
    let mut any = false;
    let _ = sockets(kernel, presence, &[SocketState::Listen], &mut |socket| {
        any |= !socket.tuple.src.is_loopback();
    });
    any
}

/// Listens for `secs`, fewer where it has seen enough. Nothing limits the rate: until then each SYN that comes in costs
/// the host one small copy, and what finds no room in the buffer is dropped and counted.
pub fn tap(kernel: &mut dyn Kernel, secs: f64, each: &mut dyn FnMut(&Segment)) -> Result<TapLook, Gap> {
    let began = kernel.now();
    let mut segments = 0;
    let source = Source::Tap {
        filter: filter(),
        buffer_bytes: BUFFER_BYTES,
    };
    let heard = kernel.listen(&[source], began.plus_secs(secs), &mut |_, bytes| {
        if let Ok(Some(segment)) = packet::decode_segment(bytes) {
            each(&segment);
            segments += 1;
        }
        if segments >= MAX_SEGMENTS {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let ended = kernel.now();
    let took = ended.secs_since(began);
    let heard = heard.map_err(|errno| Gap::new("tap", reason(errno), remedy(errno)))?;
    let lost = heard.lost;
    let mut gaps = Vec::new();
    if lost > 0 {
        gaps.push(Gap::new(
            "tap",
            format!("{lost} packets were lost for want of buffer"),
            "its silence is less certain: run it again with a shorter --tap",
        ));
    }
    if segments >= MAX_SEGMENTS {
        gaps.push(seen_enough(took));
    }
    Ok(TapLook {
        secs: took,
        ended,
        lost,
        gaps,
    })
}

/// A shorter tap ends with the window again, as it should.
fn seen_enough(took: f64) -> Gap {
    let shorter = ((took / 2.0) as u64).max(MIN_TAP_SECS);
    Gap::new(
        "tap",
        format!(
            "it had seen enough after {took:.1} s ({MAX_SEGMENTS} packets): whether clients that began later still \
             try cannot be told"
        ),
        format!("ctlens diagnose --tap {shorter}s"),
    )
}

fn reason(errno: Errno) -> String {
    match errno {
        Errno::EPERM => "not permitted: needs CAP_NET_RAW".to_string(),
        Errno::EOPNOTSUPP => "af_packet is not loaded, and looking loads no module".to_string(),
        other => other.to_string(),
    }
}

fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::EOPNOTSUPP => "modprobe af_packet, then again",
        Errno::NOT_RECORDED => "record with --tap",
        _ => {
            "run as root: without it live clients that this host only forwards cannot be told from gone ones"
        }
    }
}

// include/uapi/linux/filter.h: class, size, mode of each instruction used.
const LD_H_ABS: u16 = 0x28;
const LD_B_ABS: u16 = 0x30;
const LD_B_IND: u16 = 0x50;
const LDX_MSH: u16 = 0xb1;
const JEQ: u16 = 0x15;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;
/// SKF_AD_OFF + SKF_AD_PROTOCOL, + SKF_AD_PKTTYPE.
const PROTOCOL: u32 = 0xffff_f000;
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const OUTGOING: u32 = 4;
/// FIN, SYN or RST: a few packets of each connection, however much it carries.
const ENDS: u32 = 0x07;

/// On a SOCK_DGRAM socket offset 0 is the network header.
fn filter() -> Vec<BpfInstruction> {
    let op = |code, k, jt, jf| BpfInstruction { code, jt, jf, k };
    vec![
        /*  0 */ op(LD_H_ABS, PACKET_TYPE, 0, 0),
        /*  1 */ op(JEQ, OUTGOING, 21, 0), // what this host sends is no news
        /*  2 */ op(LD_H_ABS, PROTOCOL, 0, 0),
        /*  3 */ op(JEQ, 0x0800, 0, 10),
        // IPv4: the first fragment only, TCP flags behind a header of any length.
        /*  4 */
        op(LD_H_ABS, 6, 0, 0),
        /*  5 */ op(JSET, 0x1fff, 17, 0),
        /*  6 */ op(LD_B_ABS, 9, 0, 0),
        /*  7 */ op(LDX_MSH, 0, 0, 0),
        /*  8 */ op(JEQ, 6, 0, 2),
        /*  9 */ op(LD_B_IND, 13, 0, 0),
        /* 10 */ op(JSET, ENDS, 11, 12),
        /* 11 */ op(JEQ, 1, 0, 11), // ICMP
        /* 12 */ op(LD_B_IND, 0, 0, 0),
        /* 13 */ op(JEQ, 3, 8, 9), // destination unreachable
        // IPv6 without extension headers.
        /* 14 */ op(JEQ, 0x86dd, 0, 8),
        /* 15 */ op(LD_B_ABS, 6, 0, 0),
        /* 16 */ op(JEQ, 6, 0, 2),
        /* 17 */ op(LD_B_ABS, 53, 0, 0),
        /* 18 */ op(JSET, ENDS, 3, 4),
        /* 19 */ op(JEQ, 58, 0, 3), // ICMPv6
        /* 20 */ op(LD_B_ABS, 40, 0, 0),
        /* 21 */ op(JEQ, 1, 0, 1), // destination unreachable
        /* 22 */ op(RET, SNAP_BYTES, 0, 0),
        /* 23 */ op(RET, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do with the program, as far as the filter uses it.
    fn run(packet: &[u8], protocol: u32, packet_type: u32) -> u32 {
        let program = filter();
        let (mut a, mut x, mut at) = (0u32, 0usize, 0usize);
        loop {
            let op = program[at];
            at += 1;
            let byte = |index: usize| packet.get(index).copied().map(u32::from);
            match op.code {
                RET => return op.k,
                LD_H_ABS if op.k == PROTOCOL => a = protocol,
                LD_H_ABS if op.k == PACKET_TYPE => a = packet_type,
                LD_H_ABS => match (byte(op.k as usize), byte(op.k as usize + 1)) {
                    (Some(high), Some(low)) => a = high << 8 | low,
                    _ => return 0,
                },
                LDX_MSH => x = (packet[op.k as usize] & 0xf) as usize * 4,
                LD_B_ABS | LD_B_IND => {
                    let from = op.k as usize + if op.code == LD_B_IND { x } else { 0 };
                    match byte(from) {
                        Some(value) => a = value,
                        None => return 0,
                    }
                }
                JEQ => at += usize::from(if a == op.k { op.jt } else { op.jf }),
                JSET => at += usize::from(if a & op.k != 0 { op.jt } else { op.jf }),
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn ipv4(proto: u8, words: u8, flags: u8, fragment: u8) -> Vec<u8> {
        let mut packet = vec![0u8; usize::from(words) * 4 + 20];
        packet[0] = 0x40 | words;
        packet[7] = fragment;
        packet[9] = proto;
        let body = usize::from(words) * 4;
        packet[body] = flags;
        packet[body + 13] = flags;
        packet
    }

    #[test]
    fn only_incoming_handshakes_and_refusals_pass() {
        assert_eq!(run(&ipv4(6, 5, 0x02, 0), 0x0800, 0), SNAP_BYTES);
        assert_eq!(run(&ipv4(6, 8, 0x12, 0), 0x0800, 0), SNAP_BYTES);
        assert_eq!(run(&ipv4(6, 5, 0x14, 0), 0x0800, 0), SNAP_BYTES);
        assert_eq!(run(&ipv4(6, 5, 0x10, 0), 0x0800, 0), 0);
        assert_eq!(run(&ipv4(6, 5, 0x02, 9), 0x0800, 0), 0);
        assert_eq!(run(&ipv4(6, 5, 0x02, 0), 0x0800, OUTGOING), 0);
        assert_eq!(run(&ipv4(17, 5, 0x02, 0), 0x0800, 0), 0);
        assert_eq!(run(&ipv4(1, 5, 3, 0), 0x0800, 0), SNAP_BYTES);
        assert_eq!(run(&ipv4(1, 5, 8, 0), 0x0800, 0), 0);
        assert_eq!(run(&[0; 40], 0x0806, 0), 0);
        let mut six = vec![0u8; 60];
        six[0] = 0x60;
        six[6] = 6;
        six[53] = 0x02;
        assert_eq!(run(&six, 0x86dd, 0), SNAP_BYTES);
        six[53] = 0x18;
        assert_eq!(run(&six, 0x86dd, 0), 0);
        six[6] = 58;
        six[40] = 1;
        assert_eq!(run(&six, 0x86dd, 0), SNAP_BYTES);
        six[40] = 128;
        assert_eq!(run(&six, 0x86dd, 0), 0);
    }
}
