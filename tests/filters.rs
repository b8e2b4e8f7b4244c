//! What the kernel leaves out of a dump when asked, on this kernel: each filter field, and that a pushed filter never
//! changes what a command gives.

mod netns;

use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NLM_F_DUMP, NLM_F_REQUEST, Nla};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, Tuple as NlTuple};

use ctlens::collect::{FlowFilter, Prefix};
use ctlens::model::{Flow, Status, TcpState, Timeouts};
use ctlens::wire::ctnetlink::{DumpFilter, encode_dump};

use netns::loader;
use netns::table::{dump, ports, with_table};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_FILTER: u16 = 25;

type Case = (&'static str, DumpFilter, fn(&Flow) -> bool);

fn cases() -> Vec<Case> {
    let v4 = |last: u8| Some([10, 0, 0, last].into());
    let none = DumpFilter::default;
    let of = |family| DumpFilter { family, ..none() };
    vec![
        ("family 2", of(AF_INET), |f| f.orig.src.is_ipv4()),
        ("family 10", of(AF_INET6), |f| f.orig.src.is_ipv6()),
        (
            "unreplied",
            DumpFilter {
                status: Some((0, Status::SEEN_REPLY)),
                ..none()
            },
            |f| !f.status.seen_reply(),
        ),
        (
            "assured",
            DumpFilter {
                status: Some((Status::ASSURED, Status::ASSURED)),
                ..none()
            },
            |f| f.status.assured(),
        ),
        (
            "a status without a mask asks for nothing",
            DumpFilter {
                status: Some((Status::ASSURED, 0)),
                ..none()
            },
            |_| true,
        ),
        (
            "mark",
            DumpFilter {
                mark: Some((7, u32::MAX)),
                ..none()
            },
            |f| f.mark == Some(7),
        ),
        (
            "bits of a mark outside its mask do not count",
            DumpFilter {
                mark: Some((0x17, 0x0f)),
                ..none()
            },
            |f| f.mark.unwrap_or(0) & 0x0f == 7,
        ),
        (
            "zone 0",
            DumpFilter {
                zone: Some(0),
                ..none()
            },
            |f| f.zone.unwrap_or(0) == 0,
        ),
        (
            "zone 5, of one direction or of both",
            DumpFilter {
                zone: Some(5),
                ..none()
            },
            |f| f.zone == Some(5),
        ),
        (
            "src",
            DumpFilter {
                src: v4(1),
                ..of(AF_INET)
            },
            |f| f.orig.src == IpAddr::from([10, 0, 0, 1]),
        ),
        (
            "dst",
            DumpFilter {
                dst: v4(2),
                ..of(AF_INET)
            },
            |f| f.orig.dst == IpAddr::from([10, 0, 0, 2]),
        ),
        (
            "src and dst",
            DumpFilter {
                src: v4(1),
                dst: v4(2),
                ..of(AF_INET)
            },
            |f| (f.orig.src, f.orig.dst) == ([10, 0, 0, 1].into(), [10, 0, 0, 2].into()),
        ),
        (
            "proto",
            DumpFilter {
                proto: Some(17),
                ..of(AF_INET)
            },
            |f| f.orig.src.is_ipv4() && f.proto == 17,
        ),
        (
            "dport",
            DumpFilter {
                proto: Some(6),
                dport: Some(443),
                ..of(AF_INET)
            },
            |f| f.orig.src.is_ipv4() && f.proto == 6 && f.orig.dport == 443,
        ),
        (
            "sport",
            DumpFilter {
                proto: Some(6),
                sport: Some(1001),
                ..of(AF_INET)
            },
            |f| f.orig.src.is_ipv4() && f.proto == 6 && f.orig.sport == 1001,
        ),
        // Only the comparison of IPv6 addresses is inverted.
        (
            "dport of IPv6",
            DumpFilter {
                proto: Some(6),
                dport: Some(443),
                ..of(AF_INET6)
            },
            |f| f.orig.src.is_ipv6() && f.proto == 6 && f.orig.dport == 443,
        ),
        (
            "all at once",
            DumpFilter {
                status: Some((0, Status::ASSURED)),
                mark: Some((7, 0xff)),
                zone: Some(5),
                dst: v4(2),
                proto: Some(6),
                dport: Some(80),
                ..of(AF_INET)
            },
            |f| {
                !f.status.assured()
                    && f.mark == Some(7)
                    && f.zone == Some(5)
                    && f.orig.dst == IpAddr::from([10, 0, 0, 2])
                    && f.proto == 6
                    && f.orig.dport == 80
            },
        ),
    ]
}

#[test]
fn each_field_filters_as_expected() {
    with_table(|all| {
        for (name, filter, wanted) in cases() {
            let want = ports(all.iter().filter(|flow| wanted(flow)));
            assert!(
                !want.is_empty(),
                "{name}: a filter that matches nothing proves nothing"
            );
            let (got, filtered) =
                dump(encode_dump(&filter)).unwrap_or_else(|errno| panic!("{name}: error {errno}"));
            let got = ports(&got);
            if got.len() == all.len() && want.len() < all.len() && !filtered {
                println!("skipped: this kernel does not know {name}");
                continue;
            }
            assert_eq!(got, want, "{name}");
        }
    });
}

#[test]
fn a_pushed_filter_never_changes_the_result() {
    let prefix = |text: &str| Prefix::parse(text);
    let none = FlowFilter::default;
    let filters = [
        FlowFilter {
            state: Some(TcpState::SynSent),
            ..none()
        },
        FlowFilter {
            state: Some(TcpState::Established),
            ..none()
        },
        FlowFilter {
            unreplied: true,
            ..none()
        },
        FlowFilter {
            unreplied: true,
            state: Some(TcpState::SynSent),
            ..none()
        },
        FlowFilter {
            src: prefix("10.0.0.1"),
            ..none()
        },
        FlowFilter {
            src: prefix("10.0.0.0/30"),
            dst: prefix("10.0.0.2"),
            ..none()
        },
        FlowFilter {
            src: prefix("10.0.0.1"),
            dst: prefix("fd00::2"),
            ..none()
        },
        FlowFilter {
            dst: prefix("fd00::2"),
            ..none()
        },
        FlowFilter {
            dst: prefix("fd00::2"),
            dport: Some(80),
            proto: Some(6),
            ..none()
        },
        FlowFilter {
            dst: prefix("fd00::/64"),
            sport: Some(1037),
            ..none()
        },
        FlowFilter {
            dst: prefix("0.0.0.0/0"),
            dport: Some(443),
            state: Some(TcpState::SynSent),
            ..none()
        },
        FlowFilter {
            dst: prefix("10.0.0.2"),
            dport: Some(80),
            proto: Some(132),
            ..none()
        },
        FlowFilter {
            dst: prefix("10.0.0.2"),
            dport: Some(80),
            ..none()
        },
        FlowFilter {
            dport: Some(53),
            ..none()
        },
        FlowFilter {
            proto: Some(17),
            ..none()
        },
        FlowFilter {
            zone: Some(5),
            ..none()
        },
        FlowFilter {
            zone: Some(0),
            ..none()
        },
        FlowFilter {
            mark: Some((0x17, 0x0f)),
            ..none()
        },
        FlowFilter {
            mark: Some((0x17, 0xff)),
            ..none()
        },
        FlowFilter {
            mark: Some((0, 0)),
            ..none()
        },
        FlowFilter {
            mark: Some((7, 0)),
            ..none()
        },
    ];
    with_table(|all| {
        let timeouts = Timeouts::default();
        for filter in filters {
            let wanted = |flows: &[Flow]| ports(flows.iter().filter(|flow| filter.matches(flow, &timeouts)));
            let (pushed, _) =
                dump(encode_dump(&filter.pushable())).unwrap_or_else(|errno| panic!("{filter:?}: {errno}"));
            assert_eq!(wanted(&pushed), wanted(&all), "{filter:?}");
        }
    });
}

#[test]
fn no_combination_of_fields_is_refused_or_loses_an_entry() {
    with_table(|all| {
        let src = [10, 0, 0, 1].into();
        for bits in 0u32..3 << 6 {
            let on = |bit: u32| bits >> bit & 1 == 1;
            let filter = DumpFilter {
                family: [0, AF_INET, AF_INET6][(bits >> 6) as usize],
                src: on(0).then_some(src),
                proto: on(1).then_some(6),
                dport: on(2).then_some(80),
                status: on(3).then_some((0, Status::ASSURED)),
                mark: on(4).then_some((7, 0xff)),
                zone: on(5).then_some(5),
                ..DumpFilter::default()
            };
            let wanted = |flow: &&Flow| {
                let six = flow.orig.src.is_ipv6();
                (filter.family == 0 || six == (filter.family == AF_INET6))
                    && (!on(0) || flow.orig.src == IpAddr::from(src))
                    && (!on(1) || flow.proto == 6)
                    && (!on(2) || flow.orig.dport == 80)
                    && (!on(3) || !flow.status.assured())
                    && (!on(4) || flow.mark == Some(7))
                    && (!on(5) || flow.zone == Some(5))
            };
            let (got, _) =
                dump(encode_dump(&filter)).unwrap_or_else(|errno| panic!("{filter:?}: error {errno}"));
            let lost: Vec<_> = ports(all.iter().filter(wanted))
                .difference(&ports(&got))
                .copied()
                .collect();
            assert!(lost.is_empty(), "{filter:?} loses {lost:?}");
        }
    });
}

/// Why no filter of ours names an IPv6 address: the kernel's comparison of them is the wrong way round (5.8 to 6.19).
#[test]
fn the_kernel_compares_ipv6_addresses_the_wrong_way_round_or_right_but_not_otherwise() {
    with_table(|all| {
        let wanted: Ipv6Addr = "fd00::1".parse().expect("an address");
        let tuple =
            ConntrackAttribute::CtaTupleOrig(vec![NlTuple::Ip(vec![IPTuple::SourceAddress(wanted.into())])]);
        let mut value = vec![0; tuple.value_len()];
        tuple.emit_value(&mut value);
        // CTA_FILTER_ORIG_FLAGS: CTA_IP_SRC.
        let flags = [
            [8u16, 1].map(u16::to_ne_bytes).concat(),
            1u32.to_ne_bytes().to_vec(),
        ]
        .concat();
        let get = ConntrackMessage::Other {
            message_type: 1,
            attributes: vec![
                DefaultNla::new(CTA_TUPLE_ORIG | NLA_F_NESTED, value),
                DefaultNla::new(CTA_FILTER | NLA_F_NESTED, flags),
            ],
        };
        let request = loader::encode(get, AF_INET6, NLM_F_REQUEST | NLM_F_DUMP);
        let Ok((got, true)) = dump(request) else {
            println!("skipped: this kernel does not know CTA_FILTER");
            return;
        };
        let of = |same: bool| {
            let six = all.iter().filter(|flow| flow.orig.src.is_ipv6());
            ports(six.filter(|flow| (flow.orig.src == IpAddr::from(wanted)) == same))
        };
        let got = ports(&got);
        println!(
            "this kernel's comparison is {}",
            if got == of(true) { "right" } else { "inverted" }
        );
        assert!(got == of(false) || got == of(true), "{got:?}");
    });
}
