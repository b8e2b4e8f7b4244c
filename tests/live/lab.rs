//! Hosts as network namespaces with wires between them, deleted when the lab goes out of scope.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::inside::{NAMED, inside, run, there};
use crate::pace::until;
use crate::packet::nobodies;
use crate::traffic::{Traffic, carrier};

/// Every namespace of these tests: this, the process id, a number, the host's role.
const PREFIX: &str = "ctlv";
/// The service that every scenario is about.
pub const PORT: u16 = 8080;

static LABS: AtomicU32 = AtomicU32::new(0);
static PLAIN: AtomicBool = AtomicBool::new(false);

/// From now on a host's namespace is named after its role alone: for recordings, which people read.
pub fn name_by_role() {
    PLAIN.store(true, Ordering::Relaxed);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Deletes its namespaces, wires and tables with them.
pub struct Lab {
    number: u32,
    hosts: Vec<Host>,
    wires: u8,
}

/// One namespace.
#[derive(Clone, Debug)]
pub struct Host {
    pub netns: String,
}

/// A line of /proc/net/nf_conntrack, as far as the tests wait for it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub timeout_secs: u32,
    /// TCP only.
    pub state: String,
}

impl Lab {
    pub fn new() -> Lab {
        Lab {
            number: LABS.fetch_add(1, Ordering::Relaxed),
            hosts: Vec::new(),
            wires: 0,
        }
    }

    pub fn host(&mut self, role: &str) -> Host {
        let netns = if PLAIN.load(Ordering::Relaxed) {
            role.to_string()
        } else {
            format!("{PREFIX}{}-{}-{role}", std::process::id(), self.number)
        };
        must(run("ip", &["netns", "add", &netns], ""));
        let host = Host { netns };
        self.hosts.push(host.clone());
        for (name, value) in QUIET {
            host.set(name, value);
        }
        host.ip("link set lo up");
        host
    }

    /// A wire with both families on it; `a` gets .1, `b` gets .2. Returns the wire's number.
    pub fn wire(&mut self, a: &Host, b: &Host) -> u8 {
        self.wires += 1;
        let wire = self.wires;
        let name = wire_name(wire);
        veth((a, &name), (b, &name));
        self.address(wire, a, b)
    }

    /// A wire as long as `delay` each way, over a host of its own whose thread carries the frames.
    pub fn long_wire(&mut self, a: &Host, b: &Host, delay: Duration) -> (u8, Traffic) {
        let way = self.host("way");
        self.wires += 1;
        let wire = self.wires;
        let name = wire_name(wire);
        veth((a, &name), (&way, "enda"));
        veth((b, &name), (&way, "endb"));
        way.ip("link set dev enda up\nlink set dev endb up");
        self.address(wire, a, b);
        (wire, carrier(&way, ["enda", "endb"], delay))
    }

    fn address(&self, wire: u8, a: &Host, b: &Host) -> u8 {
        let name = wire_name(wire);
        for (host, end) in [(a, 1), (b, 2)] {
            let (four, six) = (address(Family::V4, wire, end), address(Family::V6, wire, end));
            host.ip(&format!(
                "link set {name} up\naddr add {four}/24 dev {name}\naddr add {six}/64 dev {name} nodad"
            ));
        }
        wire
    }
}

/// No duplicate address detection and no reverse path filter: both would only delay or eat the tests' own packets.
const QUIET: [(&str, &str); 4] = [
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.dad_transmits", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
];

pub fn wire_name(wire: u8) -> String {
    format!("w{wire}")
}

fn veth(a: (&Host, &str), b: (&Host, &str)) {
    let add = format!(
        "link add {} netns {} type veth peer name {} netns {}\n",
        a.1, a.0.netns, b.1, b.0.netns
    );
    must(run("ip", &["-batch", "-"], &add));
}

pub fn address(family: Family, wire: u8, end: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 77, wire, end).into(),
        Family::V6 => Ipv6Addr::new(0xfd77, wire.into(), 0, 0, 0, 0, 0, end.into()).into(),
    }
}

pub fn service(family: Family, wire: u8, end: u8) -> SocketAddr {
    SocketAddr::new(address(family, wire, end), PORT)
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in &self.hosts {
            if let Err(why) = run("ip", &["netns", "del", &host.netns], "") {
                eprintln!("left behind: {why}");
            }
        }
    }
}

/// Namespaces of test processes that were killed before they could clean up.
pub fn sweep() {
    let Ok(names) = fs::read_dir(NAMED) else { return };
    for name in names
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = run("ip", &["netns", "del", &name], "");
        }
    }
}

/// Makes a host that tracks, and deletes it: what every scenario begins with.
pub fn probe() -> Result<(), String> {
    let netns = format!("{PREFIX}{}-probe", std::process::id());
    run("ip", &["netns", "add", &netns], "")
        .map_err(|why| format!("making a network namespace takes root: {why}"))?;
    let host = Host { netns };
    let tracked = inside(&host.netns, || run("nft", &["-f", "-"], TRACK)).join();
    let _ = run("ip", &["netns", "del", &host.netns], "");
    match tracked {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(why)) => Err(format!("tracking by nftables: {why}")),
        Err(_) => Err("the new network namespace could not be entered".to_string()),
    }
}

const TRACK: &str =
    "table inet track { chain pre { type filter hook prerouting priority 0; ct state invalid counter; }; }";

impl Host {
    /// One `ip` command a line.
    pub fn ip(&self, commands: &str) {
        must(run("ip", &["-n", &self.netns, "-batch", "-"], commands));
    }

    pub fn set(&self, sysctl: &str, value: &str) {
        let path = format!("/proc/sys/{}", sysctl.replace('.', "/"));
        let value = value.to_string();
        there(&self.netns, move || {
            fs::write(&path, &value).unwrap_or_else(|error| panic!("writing {value} to {path}: {error}"));
        });
    }

    /// Writes it as sysctl does, and says whether the kernel took it.
    pub fn takes(&self, sysctl: &str, value: &str) -> bool {
        let path = format!("/proc/sys/{}", sysctl.replace('.', "/"));
        let value = format!("{value}\n");
        there(&self.netns, move || fs::write(&path, &value).is_ok())
    }

    pub fn nft(&self, rules: &str) {
        let rules = rules.to_string();
        must(there(&self.netns, move || run("nft", &["-f", "-"], &rules)));
    }

    /// The rule that makes the kernel track connections here.
    pub fn tracks(&self) {
        self.nft(TRACK);
    }

    pub fn forwards(&self) {
        self.set("net.ipv4.ip_forward", "1");
        self.set("net.ipv6.conf.all.forwarding", "1");
    }

    /// Holds every address of the blocks that nobody has.
    pub fn is_everybody(&self) {
        for ipv4 in [true, false] {
            self.ip(&format!("route add local {} dev lo", nobodies(ipv4)));
        }
        // Else a socket may be bound only to an address that is configured.
        self.set("net.ipv4.ip_nonlocal_bind", "1");
        self.set("net.ipv6.ip_nonlocal_bind", "1");
    }

    /// Packets to the port vanish before the TCP stack, and before conntrack, could see them.
    pub fn swallows(&self) {
        self.nft(&format!(
            "table inet deaf {{ chain pre {{ type filter hook prerouting priority raw; tcp dport {PORT} drop; }}; }}"
        ));
    }

    /// SYNs to the port are rejected by ICMP.
    pub fn rejects(&self) {
        self.nft(&format!(
            "table inet strict {{ chain in {{ type filter hook input priority filter; tcp dport {PORT} reject; }}; }}"
        ));
    }

    /// `nf_conntrack_count`.
    pub fn count(&self) -> u64 {
        self.number("net/netfilter/nf_conntrack_count")
    }

    fn number(&self, sysctl: &str) -> u64 {
        let path = format!("/proc/sys/{sysctl}");
        let text = there(&self.netns, move || fs::read_to_string(path).unwrap_or_default());
        text.trim().parse().unwrap_or(0)
    }

    pub fn table(&self) -> Vec<Entry> {
        let text = there(&self.netns, || {
            fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap_or_default()
        });
        text.lines().filter_map(entry).collect()
    }

    pub fn in_state(&self, state: &str) -> usize {
        self.table().iter().filter(|entry| entry.state == state).count()
    }

    /// Polls until it holds; `within` is the bound that makes a hopeless wait a failure.
    pub fn until(&self, what: &str, within: Duration, holds: impl Fn(&Host) -> bool) {
        assert!(
            until(within, || holds(self)),
            "{}: still not so after {within:?}: {what}; the table has {} entries, {} SYN_SENT, {} SYN_RECV",
            self.netns,
            self.count(),
            self.in_state("SYN_SENT"),
            self.in_state("SYN_RECV"),
        );
    }
}

/// `ipv4 2 tcp 6 118 SYN_SENT src=…`
fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split_whitespace().skip(2);
    let tcp = words.next()? == "tcp";
    let timeout_secs = words.nth(1)?.parse().ok()?;
    let state = words.next().filter(|_| tcp).unwrap_or("-").to_string();
    Some(Entry { timeout_secs, state })
}

fn must(result: Result<String, String>) -> String {
    result.unwrap_or_else(|why| panic!("{why}"))
}
