//! Files that exist only here.

use std::collections::BTreeMap;

use super::*;
use crate::kernel::{Heard, Job, Source};
use crate::model::{Process, SocketState, TcpState, Timer};

/// A directory `in`.
struct Files(BTreeMap<&'static str, &'static str>);

impl Kernel for Files {
    fn now(&mut self) -> Moment {
        panic!("a paste has no clock")
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        let name = path.strip_prefix("in/").ok_or(Errno::ENOENT)?;
        match self.0.get(name) {
            Some(&"a directory") => Err(Errno::EISDIR),
            Some(text) => Ok(text.as_bytes().to_vec()),
            None => Err(Errno::ENOENT),
        }
    }

    fn read_dir(&mut self, path: &str, _: &str) -> Result<Vec<u8>, Errno> {
        match path.trim_end_matches('/') {
            "in" => Ok(self
                .0
                .keys()
                .map(|name| format!("{name}\n"))
                .collect::<String>()
                .into_bytes()),
            path if path.starts_with("in/") && self.read_file(path).is_ok() => Err(Errno::ENOTDIR),
            _ => Err(Errno::ENOENT),
        }
    }

    fn request(&mut self, _: &mut [Job<'_>]) {
        panic!("a paste has no kernel to ask")
    }

    fn listen(
        &mut self,
        _: &[Source],
        _: Moment,
        _: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        panic!("a paste has no packets")
    }
}

fn files<const N: usize>(all: [(&'static str, &'static str); N]) -> Files {
    Files(all.into())
}

fn sources(pasted: &Pasted) -> Vec<&str> {
    pasted
        .snapshot
        .gaps
        .iter()
        .map(|gap| gap.source.as_str())
        .collect()
}

const SYN: &str = "tcp 6 117 SYN_SENT src=10.9.1.1 dst=10.9.1.3 sport=60234 dport=81 [UNREPLIED] src=10.9.1.3 dst=10.9.1.1 sport=81 dport=60234 mark=0 use=1\n";
const UDP: &str = "udp 17 28 src=10.9.1.1 dst=10.9.1.3 sport=42809 dport=53 [UNREPLIED] src=10.9.1.3 dst=10.9.1.1 sport=53 dport=42809 mark=0 use=1\n";
const SS: &str = "State  Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess
LISTEN 0 128 0.0.0.0:80 0.0.0.0:* users:((\"nginx\",pid=7,fd=3))
SYN-SENT 0 1 10.9.1.1:60230 10.9.1.3:81
ESTAB 0 0 10.9.1.2:80 192.0.2.7:4000
";

#[test]
fn sizes_and_timeouts_under_new_and_old_names() {
    let conf = "net.ipv4.netfilter.ip_conntrack_max = 65536
net.ipv4.netfilter.ip_conntrack_tcp_timeout_syn_sent = 20
net.netfilter.nf_conntrack_udp_timeout = 31
";
    let pasted = paste(&mut files([("sysctl.conf", conf)]), "in").unwrap();
    assert_eq!(pasted.snapshot.limits.max, Some(65536));
    assert_eq!(pasted.snapshot.timeouts.of_tcp(TcpState::SynSent), Some(20));
    assert_eq!(pasted.snapshot.timeouts.get(Timer::Udp), Some(31));
    assert_eq!(
        (pasted.settings[1].line, pasted.settings[1].file.as_str()),
        (2, "sysctl.conf")
    );
    // What the kernel printed goes before what a file asked for.
    let printed = "net.netfilter.nf_conntrack_count = 9\nnet.netfilter.nf_conntrack_max = 262144\n";
    let pasted = paste(&mut files([("a.txt", printed), ("sysctl.conf", conf)]), "in/").unwrap();
    let limits = pasted.snapshot.limits;
    assert_eq!((limits.max, limits.count), (Some(262_144), Some(9)));
    assert!(!sources(&pasted).contains(&"sizes"));
}

#[test]
fn sockets_tell_addresses_listeners_and_who_waits() {
    let pasted = paste(&mut files([("ss.txt", SS)]), "in/ss.txt").unwrap();
    let snapshot = &pasted.snapshot;
    assert_eq!(snapshot.half_open.as_ref().unwrap().len(), 1);
    assert_eq!(snapshot.listeners.as_ref().unwrap()[0].tuple.sport, 80);
    let own: Vec<String> = snapshot
        .addresses
        .iter()
        .flatten()
        .map(|a| a.to_string())
        .collect();
    assert_eq!(own, ["10.9.1.1", "10.9.1.2"]);
    assert!(!pasted.addresses_whole);
    let nginx = Process {
        pid: 7,
        name: "nginx".into(),
    };
    assert_eq!(pasted.processes.values().collect::<Vec<_>>(), [&nginx]);
    // The same sockets once more, by another tool, are the same sockets.
    let again = paste(&mut files([("a.txt", SS), ("b.txt", SS)]), "in").unwrap();
    assert_eq!(
        (&again.socket_states, &again.sockets),
        (&pasted.socket_states, &pasted.sockets)
    );
}

#[test]
fn sockets_that_would_not_show_syn_sent_say_nothing_of_it() {
    for text in [
        "     12 LISTEN\n",
        "    812 ESTABLISHED\n     12 LISTEN\n",
        "State  Recv-Q Send-Q Local Address:Port  Peer Address:Port\nLISTEN 0 128 0.0.0.0:80 0.0.0.0:*\n",
    ] {
        let pasted = paste(&mut files([("x.txt", text)]), "in").unwrap();
        assert_eq!(
            (&pasted.socket_states, &pasted.snapshot.half_open),
            (&None, &None),
            "{text}"
        );
        assert!(sources(&pasted).contains(&"sockets"));
    }
    let text = "    812 ESTABLISHED\n     12 TIME_WAIT\n";
    let pasted = paste(&mut files([("x.txt", text)]), "in").unwrap();
    assert_eq!(pasted.socket_states.unwrap()[&SocketState::TimeWait], 12);
    // A waiting socket whose address is cut cannot be joined with its entry.
    let cut = "tcp6 0 1 2001:db8:1::abcd:50798 2001:db8::3:81 SYN_SENT\ntcp 0 0 10.0.0.1:2 10.0.0.2:3 ESTABLISHED\n\
               tcp 0 0 10.0.0.1:2 10.0.0.2:4 TIME_WAIT\n";
    let wide = cut.replace("2001:db8:1::abcd:50798", "2001:db8:1::abcde:50798");
    for (text, joined) in [(cut.to_string(), true), (wide, false)] {
        let text: &'static str = Box::leak(text.into_boxed_str());
        let pasted = paste(&mut files([("x.txt", text)]), "in").unwrap();
        assert_eq!(pasted.socket_states.as_ref().unwrap()[&SocketState::SynSent], 1);
        assert_eq!(pasted.snapshot.half_open.is_some(), joined, "{text}");
    }
}

#[test]
fn entries_are_handed_on_once() {
    let text: &'static str = Box::leak(format!("{SYN}{UDP}").into_boxed_str());
    let cut: &'static str = Box::leak(format!("{SYN}{UDP}{}", &SYN[..60]).into_boxed_str());
    let mut kernel = files([("conntrack.txt", text), ("nf_conntrack", cut)]);
    let pasted = paste(&mut kernel, "in").unwrap();
    let mut met = 0;
    let look = pasted_entries(&mut kernel, &pasted, &mut |_| {
        met += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((met, look.dumped, look.duplicates, look.malformed), (2, 2, 2, 1));
    let stopped = pasted_entries(&mut kernel, &pasted, &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!(stopped.dumped, 1);
    assert!(
        sources(&pasted).contains(&"nf_conntrack"),
        "the cut line is told: {:?}",
        pasted.snapshot.gaps
    );
    let none = paste(&mut files([("ss.txt", SS)]), "in").unwrap();
    assert_eq!(
        pasted_entries(&mut kernel, &none, &mut |_| ControlFlow::Continue(())),
        None
    );
}

#[test]
fn a_file_that_is_not_what_it_claims_is_named() {
    let mut kernel = files([
        ("README.md", "# how this was taken\n"),
        (".hidden", "\n"),
        ("netstat.txt", "      3 SYN_SENT\n  three TIME_WAIT\n"),
        ("ss.txt", SS),
        ("more", "a directory"),
    ]);
    let pasted = paste(&mut kernel, "in").unwrap();
    let gap = pasted
        .snapshot
        .gaps
        .iter()
        .find(|gap| gap.source == "netstat.txt")
        .unwrap();
    assert!(gap.reason.starts_with("line 2: "), "{gap:?}");
    assert!(!sources(&pasted).contains(&"README.md"));
    assert_eq!(
        pasted.socket_states.unwrap()[&SocketState::SynSent],
        1,
        "no row of the refused file counts"
    );

    let error = paste(&mut kernel, "in/netstat.txt").unwrap_err().to_string();
    assert!(
        error.contains("in/netstat.txt") && error.contains("line 2"),
        "{error}"
    );
    let mut alone = files([("netstat.txt", "hello\n"), ("b.txt", "there\n")]);
    let error = paste(&mut alone, "in").unwrap_err().to_string();
    assert!(error.contains("in/b.txt") && error.contains("line 1"), "{error}");
    let error = paste(&mut files([("more", "a directory"), ("README.md", "x")]), "in").unwrap_err();
    assert!(
        matches!(&error, PasteError::Empty { hint, .. } if hint.contains("more")),
        "{error}"
    );
    assert!(matches!(
        paste(&mut alone, "elsewhere"),
        Err(PasteError::Unreadable { .. })
    ));
}

#[test]
fn what_was_not_pasted_has_its_command() {
    let pasted = paste(
        &mut files([("netstat.txt", "      3 SYN_RECV\n      9 TIME_WAIT\n")]),
        "in",
    )
    .unwrap();
    assert_eq!(
        sources(&pasted),
        [
            "conntrack",
            "sockets",
            "sizes",
            "timeouts",
            "conntrack -S",
            "/proc/net/netstat",
            "listeners",
            "tap"
        ]
    );
    assert!(pasted.snapshot.gaps.iter().all(|gap| !gap.remedy.is_empty()));
    let all = "net.netfilter.nf_conntrack_count = 9\nnet.netfilter.nf_conntrack_max = 262144
net.netfilter.nf_conntrack_tcp_timeout_syn_sent = 120\ncpu=0 found=1 drop=2\nTcpExt: ListenOverflows\nTcpExt: 3\n";
    let all: &'static str = Box::leak(format!("{all}{SS}{SYN}").into_boxed_str());
    let pasted = paste(&mut files([("all.txt", all)]), "in").unwrap();
    assert_eq!(sources(&pasted), ["moment", "addresses", "window", "tap"]);
}
