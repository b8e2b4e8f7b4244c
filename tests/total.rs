//! Any input gives a value or an error: random bytes, real captures bent, and a kernel that talks nonsense.

mod fake;
#[cfg(target_endian = "little")]
mod hex;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use ctlens::collect::{self, FlowFilter, How, Needs, Plan, Presence};
use ctlens::evidence::{AUDITED, Around, lint};
use ctlens::kernel::{Channel, Errno};
use ctlens::model::{Limits, Setting, SocketState, Timeouts};
use ctlens::wire::{
    ct_events, ctnetlink, ctnetlink_stats, cttimeout, inet_diag, iptables_save, netlink, nf_tables, packet,
    paste, proc_tcp, procfs, route,
};

use fake::{Fake, MULTI, done, message};

/// Every decoder of bytes, whatever the bytes were meant for.
fn decode_all(bytes: &[u8]) {
    let _ = ctnetlink::decode_flow(bytes);
    let _ = ctnetlink_stats::decode_stats(bytes);
    let _ = ctnetlink_stats::decode_stats_cpu(bytes);
    let _ = cttimeout::decode_defaults(bytes, &mut Timeouts::default());
    let _ = inet_diag::decode_socket(bytes);
    let _ = nf_tables::rule_tracks(bytes);
    let _ = nf_tables::object_tracks(bytes);
    if let Ok(raw) = nf_tables::decode_rule(bytes) {
        let _ = nf_tables::rule_words(&raw.rule);
    }
    let _ = nf_tables::decode_chain(bytes);
    let _ = nf_tables::decode_object(bytes);
    let _ = nf_tables::decode_flowtable(bytes);
    let _ = nf_tables::decode_elements(bytes);
    let _ = packet::decode_segment(bytes);
    let _ = route::decode_address(bytes);
    // More messages or attributes than bytes would be a walk that never ends.
    assert!(netlink::attributes(bytes).count() <= bytes.len() / 4 + 1);
    let walked = netlink::messages(bytes);
    let mut count = 0;
    for message in walked {
        count += 1;
        if let Ok(message) = message {
            let _ = netlink::ending(&message);
            let _ = ct_events::decode_event(&message).map(|event| event.map(|event| event.gone()));
        }
    }
    assert!(count <= bytes.len() / 16 + 1);
}

/// Every lint, as a file asks for the settings and as a kernel printed them.
fn lint_all(mut settings: Vec<Setting>) {
    for in_force in [false, true] {
        settings
            .iter_mut()
            .for_each(|setting| setting.in_force = in_force);
        for kernel in [None, Some((4, 4)), Some((6, 18))] {
            let around = Around {
                kernel,
                memory_bytes: Some(8 << 30),
                rules: None,
                listening: Some(&[22, 40_000]),
            };
            for (_, said) in lint(&settings, &around) {
                assert!(said.index < settings.len() && !said.why.is_empty());
            }
        }
    }
}

/// Every parser of text.
fn parse_all(text: &str) {
    let _ = procfs::nf_conntrack_stat(text);
    let _ = procfs::conntrack_s(text);
    let _ = procfs::group_counters(text);
    let _ = procfs::sockstat(text);
    let _ = procfs::slab_objects(text, "nf_conntrack");
    let _ = iptables_save::parse(text, ctlens::model::Family::Ip);
    if let Ok(settings) = collect::file_settings(text, "x") {
        lint_all(settings);
    }
    for name in ["conntrack-states.txt", "x"] {
        let _ = paste::parse(text, name);
    }
    let _ = paste::walk(text, &mut |_| std::ops::ControlFlow::Continue(()));
    for line in text.lines().chain([text]) {
        let _ = procfs::flow_line(line);
        let _ = proc_tcp::socket_line(line);
    }
}

/// Lines as the kernel and conntrack print them.
const LINES: [&str; 9] = [
    "ipv4     2 tcp      6 118 SYN_SENT src=10.0.0.1 dst=10.9.1.3 sport=4242 dport=80 [UNREPLIED] src=10.9.1.3 dst=10.0.0.1 sport=80 dport=4242 mark=0 zone=7 use=2",
    "tcp      6 431999 ESTABLISHED src=fd00::1 dst=fd00::2 sport=1 dport=2 packets=3 bytes=4 src=fd00::2 dst=fd00::1 sport=2 dport=1 packets=5 bytes=6 [ASSURED] mark=3 use=1 id=99",
    "icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=77 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=77 mark=0 use=1",
    "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart\n00000010  00000001 00000002 00000000 0000000f 00000000 00000000 00000003 00000000 00000000 00000005 00000006 00000002  00000000 00000000 00000000 00000000",
    "cpu=0   \tfound=1 invalid=2 insert=0 insert_failed=0 drop=0 early_drop=0 error=0 search_restart=3 clash_resolve=0 chaintoolong=0",
    "TcpExt: ListenOverflows ListenDrops\nTcpExt: 7 9\nIpExt: InOctets\nIpExt: 5",
    "TCP: inuse 1 orphan 0 tw 2 alloc 5 mem 0",
    "nf_conntrack  17 32 256 16 1 : tunables 0 0 0 : slabdata 2 2 0",
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000005 00:00000000 00000000  1000        0 12345 1 0000 100 0 0 10 0",
];

/// A line with one of its words replaced, doubled or left out.
fn bent_line() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just(String::new()),
        "[0-9]{1,25}",
        "[a-zA-Z_-]{1,12}",
        "(src|dst|sport|dport|type|code|id|packets|bytes|mark|zone|use)=[0-9a-f.:-]{0,22}",
        "[0-9A-F]{0,40}:[0-9A-F]{0,8}",
        "\\PC{0,8}",
    ];
    (select(&LINES[..]), any::<prop::sample::Index>(), word).prop_map(|(line, at, word)| {
        let mut words: Vec<&str> = line.split(' ').collect();
        let at = at.index(words.len());
        words[at] = &word;
        words.join(" ")
    })
}

#[cfg(target_endian = "little")]
fn capture() -> impl Strategy<Value = Vec<u8>> {
    select(hex::names("")).prop_map(|name| {
        let bytes = hex::bytes(&name);
        // The decoders take payloads; packets have no netlink header.
        if name.starts_with("packet_") {
            bytes
        } else {
            bytes[16..].to_vec()
        }
    })
}

#[cfg(target_endian = "big")]
fn capture() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..400)
}

/// A real message with some bits turned, a length changed, or its end cut off.
fn bent() -> impl Strategy<Value = Vec<u8>> {
    let index = any::<prop::sample::Index>;
    (
        capture(),
        vec((index(), any::<u8>()), 0..4),
        vec((index(), any::<u16>()), 0..3),
        proptest::option::of(index()),
    )
        .prop_map(|(mut bytes, flips, lengths, cut)| {
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= byte;
            }
            // Attribute lengths stand at multiples of four; small ones lie best.
            for (at, length) in lengths {
                let at = at.index(bytes.len() / 4) * 4;
                let length = if length % 2 == 0 { length } else { length % 64 };
                bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        })
}

/// What a mad kernel may send at once: noise, or messages of any kind with noise or bent payloads.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let kinds = select(&[0x100u16, 0x104, 0x105, 0x803, 20, 0xa06, 0xa12, 2, 3, 1, 4][..]);
    let payload = prop_oneof![bent(), vec(any::<u8>(), 0..80)];
    let flags = select(&[0u16, MULTI, 0x10][..]);
    let messages = vec((kinds, flags, payload), 0..5).prop_map(|all| {
        all.iter()
            .flat_map(|(kind, flags, payload)| message(*kind, *flags, payload))
            .collect()
    });
    prop_oneof![4 => messages, 1 => vec(any::<u8>(), 0..200)]
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(bent_line(), 0..4).prop_map(|lines| lines.join("\n").into_bytes()),
        vec(any::<u8>(), 0..60),
        "[0-9]{1,20}\n".prop_map(String::into_bytes),
    ]
}

const PATHS: [&str; 14] = [
    "/proc/modules",
    "/proc/net/ip_tables_names",
    "/proc/net/netstat",
    "/proc/net/nf_conntrack",
    "/proc/net/snmp",
    "/proc/net/sockstat",
    "/proc/net/stat/nf_conntrack",
    "/proc/net/tcp",
    "/proc/net/tcp6",
    "/proc/self/ns",
    "/proc/slabinfo",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/net/netfilter/nf_conntrack_count",
    "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_syn_sent",
];

#[cfg(target_endian = "little")]
#[test]
fn every_capture_cut_at_every_byte() {
    for name in hex::names("") {
        let bytes = hex::bytes(&name);
        let payload = if name.starts_with("packet_") {
            &bytes[..]
        } else {
            &bytes[16..]
        };
        for end in 0..=payload.len() {
            decode_all(&payload[..end]);
        }
        decode_all(&bytes);
        for end in 0..bytes.len() {
            let _ = netlink::messages(&bytes[..end]).count();
        }
    }
}

#[cfg(target_endian = "little")]
#[test]
fn an_entry_cut_short_is_an_error_or_the_same_entry() {
    for name in hex::names("ct_") {
        let payload = hex::message(&name).payload;
        let whole = ctnetlink::decode_flow(&payload).expect("a real entry");
        for end in 0..payload.len() {
            if let Ok(flow) = ctnetlink::decode_flow(&payload[..end]) {
                let same = (flow.orig, flow.reply, flow.proto) == (whole.orig, whole.reply, whole.proto);
                assert!(same, "{name} cut at {end}");
            }
        }
    }
}

#[test]
fn every_line_cut_at_every_byte() {
    for line in LINES {
        for end in 0..=line.len() {
            parse_all(&line[..end]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_value_of_any_setting_is_judged(
        lines in vec((select(&AUDITED[..]), "(-?[0-9]{1,20}|[0-9 ]{0,12}|0x[0-9a-f]{1,20}|[0-9]{1,5}-[0-9]{1,5}|.{0,8})"), 1..12)
    ) {
        let text: String = lines.iter().map(|(name, value)| format!("{name} = {}\n", value.replace('\n', " "))).collect();
        parse_all(&text);
    }

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..300)) {
        decode_all(&bytes);
    }

    #[test]
    fn bent_captures(bytes in bent()) {
        decode_all(&bytes);
    }

    #[test]
    fn random_text(text in "\\PC{0,200}") {
        parse_all(&text);
    }

    #[test]
    fn bent_lines(lines in vec(bent_line(), 1..4)) {
        parse_all(&lines.join("\n"));
        for line in &lines {
            // What a line says is what was in it.
            if let Ok(flow) = procfs::flow_line(line) {
                prop_assert!(line.contains(&flow.orig.sport.to_string()) || flow.orig.sport == 0);
                let _ = FlowFilter::default().matches(&flow, &Timeouts::default());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_pass_over_nonsense(
        mut datagrams in vec(datagram(), 0..6),
        ends in any::<bool>(),
        sample in proptest::option::of(0u64..10),
        count in proptest::option::of(0u64..20),
        proc in content(),
    ) {
        if ends {
            datagrams.push(done());
        }
        let messages: usize = datagrams.iter().map(|d| netlink::messages(d).count()).sum();
        let mut kernel = Fake::new(move |_, _: &[u8]| datagrams.iter().cloned().map(Ok).collect());
        kernel.files.insert("/proc/net/nf_conntrack".into(), Ok(proc));
        let limits = Limits { count, ..Limits::default() };
        for how in [sample.map_or(How::Full, How::Sample), How::Procfs] {
            let plan = Plan { how: how.clone(), why: String::new(), worst_fill_ms: 0.0, expected: None, expected_secs: 0.0, closed: None };
            let mut handed_on = 0;
            let passed = collect::pass(&mut kernel, &plan, &limits, &mut |_| {
                handed_on += 1;
                std::ops::ControlFlow::Continue(())
            });
            if let Ok((look, gap)) = passed {
                prop_assert_eq!(look.dumped, handed_on);
                prop_assert_eq!(gap.is_some(), gap.is_some() || look.malformed > 0);
                prop_assert!(look.sampled_of.is_none_or(|of| of >= look.dumped));
                if how != How::Procfs {
                    prop_assert!(look.dumped + look.duplicates + look.malformed <= messages as u64);
                }
            }
        }
    }

    #[test]
    fn a_snapshot_of_nonsense(
        datagrams in vec(datagram(), 0..6),
        contents in vec(proptest::option::of(content()), PATHS.len()),
        root in any::<bool>(),
        breaks in any::<bool>(),
        tapped in vec(prop_oneof![bent(), vec(any::<u8>(), 0..100)], 0..4),
    ) {
        let mut kernel = Fake::new(move |_: Channel, _: &[u8]| {
            let mut all: Vec<_> = datagrams.iter().cloned().map(Ok).collect();
            all.push(if breaks { Err(Errno::ENOBUFS) } else { Ok(done()) });
            all
        });
        for (path, content) in PATHS.iter().zip(contents) {
            kernel.files.insert(path.to_string(), content.ok_or(Errno::EACCES));
        }
        if root {
            kernel = kernel.file("/proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n");
        }
        kernel.tapped = tapped.into_iter().map(Ok).collect();
        let presence = Presence::read(&mut kernel);
        let needs = Needs { sockets: true, addresses: true };
        let snapshot = collect::snapshot(&mut kernel, &presence, needs);
        // What is not there has a gap.
        prop_assert!(snapshot.addresses.is_some() || snapshot.gaps.iter().any(|gap| gap.source == "addresses"));
        prop_assert_eq!(snapshot.half_open.is_some(), snapshot.listeners.is_some());
        prop_assert!(snapshot.half_open.is_some() || !snapshot.gaps.is_empty());
        let _ = collect::tracking(&mut kernel, &presence);
        let _ = collect::sockets(&mut kernel, &presence, &SocketState::ALL, &mut |_| {});
        let _ = collect::tap(&mut kernel, 1.0, &mut |_| {});
        let _ = collect::owners(&mut kernel, &[1].into());
        let _ = collect::plan(&snapshot.limits, &Default::default(), presence.doors());
    }
}
