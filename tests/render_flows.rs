//! Rows of `list`: the line of `conntrack -L` and the JSON object, as the kernel's words have it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ctlens::model::{Flow, Status, TcpState, Tuple, proto};
use ctlens::render::{flow_json, flow_text};
use ctlens::wire::procfs::flow_line;
use proptest::prelude::*;

/// What conntrack v1.4.7 printed on Linux 6.18, with nf_conntrack_acct off and on.
const REAL: &str = "\
tcp      6 117 SYN_SENT src=10.0.0.1 dst=10.9.1.3 sport=4242 dport=80 [UNREPLIED] src=10.9.1.3 dst=10.0.0.1 sport=80 dport=4242 mark=0 use=1
tcp      6 431998 ESTABLISHED src=10.0.0.1 dst=10.9.1.3 sport=4243 dport=80 src=10.9.1.3 dst=10.0.0.1 sport=80 dport=4243 [ASSURED] mark=66 use=1
unknown  89 299 src=10.0.0.1 dst=10.9.1.3 [UNREPLIED] src=10.9.1.3 dst=10.0.0.1 mark=0 use=1
udp      17 119 src=10.0.0.1 dst=10.9.1.3 sport=4244 dport=53 src=10.9.1.3 dst=10.0.0.1 sport=53 dport=4244 [ASSURED] mark=0 zone=7 use=1
icmpv6   58 29 src=fd00::1 dst=fd00::2 type=128 code=0 id=77 [UNREPLIED] src=fd00::2 dst=fd00::1 type=129 code=0 id=77 mark=0 use=1
tcp      6 299 TIME_WAIT src=fd00::1 dst=fd00::2 sport=4243 dport=80 src=fd00::2 dst=fd00::1 sport=80 dport=4243 [ASSURED] mark=0 use=1
icmp     1 29 src=10.0.0.1 dst=10.9.1.3 type=8 code=0 id=77 [UNREPLIED] src=10.9.1.3 dst=10.0.0.1 type=0 code=0 id=77 mark=0 use=1
udp      17 29 src=10.0.0.1 dst=10.9.1.3 sport=4243 dport=53 [UNREPLIED] src=10.9.1.3 dst=10.0.0.1 sport=53 dport=4243 mark=0 use=1
udplite  136 117 src=10.0.0.1 dst=10.9.1.3 sport=5002 dport=80 packets=0 bytes=0 [UNREPLIED] src=10.9.1.3 dst=10.0.0.1 sport=80 dport=5002 packets=0 bytes=0 mark=0 use=1
tcp      6 117 SYN_SENT src=fe80:0:0:1::1 dst=2001:db8:0:1:1:1:1:1 sport=5003 dport=80 packets=0 bytes=0 [UNREPLIED] src=2001:db8:0:1:1:1:1:1 dst=fe80:0:0:1::1 sport=80 dport=5003 packets=0 bytes=0 mark=0 use=1
tcp      6 117 NONE src=10.0.0.1 dst=10.9.1.3 sport=5003 dport=80 packets=0 bytes=0 [UNREPLIED] src=10.9.1.3 dst=10.0.0.1 sport=80 dport=5003 packets=0 bytes=0 mark=0 use=1
";

fn text(flow: &Flow) -> String {
    let mut out = Vec::new();
    flow_text(flow, &mut out);
    String::from_utf8(out).unwrap()
}

fn json(flow: &Flow) -> serde_json::Value {
    let mut out = Vec::new();
    flow_json(flow, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn lines_are_those_of_conntrack() {
    for line in REAL.lines() {
        let want = line.strip_suffix(" use=1").unwrap();
        assert_eq!(text(&flow_line(line).unwrap()), format!("{want}\n"));
    }
}

#[test]
fn keys_of_gre_and_offloaded_entries() {
    let orig = Tuple {
        src: Ipv4Addr::new(10, 0, 0, 1).into(),
        dst: Ipv4Addr::new(10, 9, 1, 3).into(),
        sport: 1,
        dport: 5,
    };
    let mut flow = Flow {
        orig,
        reply: orig.inverted(),
        proto: proto::GRE,
        timeout_secs: Some(29),
        mark: Some(0),
        ..Flow::default()
    };
    let want = "gre      47 29 src=10.0.0.1 dst=10.9.1.3 srckey=0x1 dstkey=0x5 [UNREPLIED] src=10.9.1.3 dst=10.0.0.1 srckey=0x5 dstkey=0x1 mark=0\n";
    assert_eq!(text(&flow), want);
    flow.proto = proto::TCP;
    flow.timeout_secs = None;
    flow.mark = None;
    flow.status = Status(Status::SEEN_REPLY | Status::ASSURED | Status::OFFLOAD);
    let want = "tcp      6 src=10.0.0.1 dst=10.9.1.3 sport=1 dport=5 src=10.9.1.3 dst=10.0.0.1 sport=5 dport=1 [OFFLOAD]\n";
    assert_eq!(text(&flow), want);
    flow.status.0 |= Status::HW_OFFLOAD;
    assert!(text(&flow).ends_with(" [HW_OFFLOAD]\n"));
}

#[test]
fn objects_have_the_kernels_words_and_leave_out_what_is_absent() {
    let mut flow = flow_line(REAL.lines().next().unwrap()).unwrap();
    flow.id = Some(2_574_918_367);
    flow.start_ns = Some(1_795_408_091_071_835_927);
    let want = serde_json::json!({
        "schema": "ctlens.flow/1", "proto": "tcp", "protonum": 6, "state": "SYN_SENT", "timeout_s": 117,
        "orig": {"src": "10.0.0.1", "dst": "10.9.1.3", "sport": 4242, "dport": 80},
        "reply": {"src": "10.9.1.3", "dst": "10.0.0.1", "sport": 80, "dport": 4242},
        "status": ["confirmed"], "mark": 0, "id": 2_574_918_367u32,
    });
    let mut got = json(&flow);
    let start = got.as_object_mut().unwrap().remove("start_s").unwrap();
    assert_eq!(got, want);
    assert!(
        (start.as_f64().unwrap() - 1_795_408_091.071_836).abs() < 1e-5,
        "{start}"
    );
    let bare = json(&Flow::default());
    let keys: Vec<&String> = bare.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["orig", "proto", "protonum", "reply", "schema", "status"]);
    let counted = json(&flow_line(REAL.lines().nth(8).unwrap()).unwrap());
    assert_eq!(counted["orig"]["packets"], 0);
    let icmp = json(&flow_line(REAL.lines().nth(6).unwrap()).unwrap());
    assert_eq!(
        (&icmp["orig"]["type"], &icmp["orig"]["id"]),
        (&8.into(), &77.into())
    );
}

#[test]
fn proc_and_ctnetlink_give_the_same_row() {
    let line = REAL.lines().nth(5).unwrap();
    let proc = "ipv6     10 tcp      6 299 TIME_WAIT src=fd00:0000:0000:0000:0000:0000:0000:0001 dst=fd00:0000:0000:0000:0000:0000:0000:0002 sport=4243 dport=80 src=fd00:0000:0000:0000:0000:0000:0000:0002 dst=fd00:0000:0000:0000:0000:0000:0000:0001 sport=80 dport=4243 [ASSURED] mark=0 zone=0 use=2";
    let (a, b) = (flow_line(line).unwrap(), flow_line(proc).unwrap());
    assert_eq!((text(&a), json(&a)), (text(&b), json(&b)));
}

#[test]
fn a_used_buffer_is_appended_to() {
    let flow = flow_line(REAL.lines().next().unwrap()).unwrap();
    let mut out = Vec::new();
    flow_text(&flow, &mut out);
    flow_text(&flow, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), text(&flow).repeat(2));
}

fn address(six: bool) -> BoxedStrategy<IpAddr> {
    if six {
        prop_oneof![any::<u128>(), 0..=u128::from(u64::MAX)]
            .prop_map(|bits| Ipv6Addr::from(bits).into())
            .boxed()
    } else {
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()).boxed()
    }
}

fn tuple(number: u8, six: bool) -> impl Strategy<Value = Tuple> {
    // GRE's keys have their own test; what is no port of its protocol is 0.
    let ported = matches!(number, 1 | 6 | 17 | 33 | 58 | 132 | 136);
    let port = || {
        if ported {
            any::<u16>().boxed()
        } else {
            Just(0).boxed()
        }
    };
    (address(six), address(six), port(), port()).prop_map(|(src, dst, sport, dport)| Tuple {
        src,
        dst,
        sport,
        dport,
    })
}

fn flow() -> impl Strategy<Value = Flow> {
    let number = prop_oneof![4 => Just(proto::TCP), 2 => Just(proto::UDP), 4 => any::<u8>()];
    (number, any::<bool>())
        .prop_flat_map(|(number, six)| {
            let rest = (
                0..TcpState::ALL.len(),
                any::<u16>(),
                proptest::option::of(any::<u32>()),
                proptest::option::of(any::<u32>()),
                proptest::option::of(any::<u16>()),
                proptest::option::of(any::<[u64; 4]>()),
            );
            (Just(number), tuple(number, six), tuple(number, six), rest)
        })
        .prop_map(
            |(number, orig, reply, (state, status, timeout_secs, mark, zone, counts))| {
                let status = Status(u32::from(status));
                Flow {
                    orig,
                    reply,
                    proto: number,
                    tcp_state: (number == proto::TCP).then(|| TcpState::ALL[state]),
                    status,
                    timeout_secs,
                    mark,
                    zone,
                    packets: counts.map(|c| [c[0], c[1]]),
                    bytes: counts.map(|c| [c[2], c[3]]),
                    ..Flow::default()
                }
            },
        )
}

/// The bits that the text carries.
fn told(status: Status) -> Status {
    let flags = if status.has(Status::HW_OFFLOAD) {
        Status::OFFLOAD | Status::HW_OFFLOAD
    } else if status.has(Status::OFFLOAD) {
        Status::OFFLOAD
    } else {
        status.0 & Status::ASSURED
    };
    Status(Status::CONFIRMED | status.0 & Status::SEEN_REPLY | flags)
}

proptest! {
    #[test]
    fn any_line_reads_back(flow in flow()) {
        let line = text(&flow);
        let back = flow_line(line.trim_end()).map_err(|e| TestCaseError::fail(format!("{e}: {line}")))?;
        let zone = flow.zone.filter(|zone| *zone != 0);
        prop_assert_eq!(back, Flow { status: told(flow.status), zone, ..flow }, "{}", line);
        prop_assert_eq!(text(&back), line);
    }

    #[test]
    fn any_object_is_json(flow in flow()) {
        let got = json(&flow);
        prop_assert_eq!(&got["protonum"], flow.proto);
        prop_assert_eq!(got["mark"].as_u64(), flow.mark.map(u64::from));
        prop_assert_eq!(&got["orig"]["src"], &flow.orig.src.to_string());
        let names = got["status"].as_array().map_or(0, Vec::len) as u32;
        prop_assert_eq!(names, flow.status.0.count_ones());
    }
}
