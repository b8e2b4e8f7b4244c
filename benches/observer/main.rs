//! What being watched costs a firewall: connections a second through it with nobody looking, with `conntrack -E`, and
//! with `ctlens watch`, side by side in one run.
//!
//! `cargo bench --bench observer` as root. Three network namespaces of its own: a client that opens and resets one
//! connection after the other as fast as it can, a firewall that forwards and tracks, a server that accepts.
//! `-- --entries N` (in the firewall's table beforehand), `-- --rounds N`, `-- --secs N` change its size.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::mem::zeroed;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[allow(dead_code)] // the other benchmark uses all of it
#[path = "../table/load.rs"]
mod load;
#[allow(dead_code)] // as above
#[path = "../table/measure.rs"]
mod measure;

use measure::median;

const CTLENS: &str = env!("CARGO_BIN_EXE_ctlens");
const PORT: u16 = 8080;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 66, 2, 2);
/// Before it counts: `watch` needs a look to know how much comes.
const WARM_UP: Duration = Duration::from_secs(5);

const HOSTS: &str = "\
set -e
for n in client firewall server; do ip netns add ctlb-$n; ip -n ctlb-$n link set lo up; done
ip link add c0 netns ctlb-client type veth peer name f0 netns ctlb-firewall
ip link add f1 netns ctlb-firewall type veth peer name s0 netns ctlb-server
ip -n ctlb-client addr add 10.66.1.2/24 dev c0; ip -n ctlb-firewall addr add 10.66.1.1/24 dev f0
ip -n ctlb-firewall addr add 10.66.2.1/24 dev f1; ip -n ctlb-server addr add 10.66.2.2/24 dev s0
for l in client:c0 firewall:f0 firewall:f1 server:s0; do ip -n ctlb-${l%:*} link set ${l#*:} up; done
ip -n ctlb-client route add default via 10.66.1.1; ip -n ctlb-server route add default via 10.66.2.1
ip netns exec ctlb-client sysctl -qw net.ipv4.ip_local_port_range='30000 49999'
ip netns exec ctlb-server sysctl -qw net.core.somaxconn=65535
ip netns exec ctlb-firewall sysctl -qw net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_tcp_timeout_close=2
ip netns exec ctlb-firewall nft 'add table t; add chain t c { type filter hook forward priority 0; };
  add rule t c ct state established accept; add rule t c ct state new accept'
";
const SWEEP: &str = "for n in client firewall server; do ip netns del ctlb-$n 2>/dev/null; done; true";

/// Who looks; `None`: nobody.
const WATCHERS: [(&str, Option<&[&str]>); 4] = [
    ("nobody", None),
    ("conntrack -E", Some(&["conntrack", "-E"])),
    ("ctlens watch", Some(&[CTLENS, "watch", "--format", "json"])),
    (
        "ctlens watch --events always",
        Some(&[CTLENS, "watch", "--format", "json", "--events", "always"]),
    ),
];

#[derive(Default)]
struct Runs {
    per_s: Vec<f64>,
    cpu: Vec<f64>,
    /// How `watch` looked in the end.
    source: String,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1)?.parse().ok())
            .unwrap_or(default)
    };
    let secs = number("--secs", 5).max(1);
    match words.first().map(String::as_str) {
        Some("serve") => return serve(),
        Some("load") => return println!("{}", connections(Duration::from_secs(secs))),
        Some("fill") => {
            load::Mix::new(1).load(&mut load::Socket::open(), number("--entries", 0));
            return;
        }
        _ => {}
    }
    let (entries, rounds) = (number("--entries", 200_000), number("--rounds", 5).max(1));
    shell(SWEEP);
    if !shell(HOSTS) {
        println!("skipped: needs root, iproute2 and nftables (network namespaces of its own)");
        shell(SWEEP);
        return;
    }
    let own = std::env::current_exe().expect("this program's path");
    let own = own.to_str().expect("a path of text");
    let filled = within("firewall", &[own, "fill", "--entries", &entries.to_string()]).status();
    assert!(
        filled.is_ok_and(|status| status.success()),
        "the table can be filled"
    );
    let mut server = within("server", &[own, "serve"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let ready = BufReader::new(server.stdout.take().expect("its output"))
        .lines()
        .next();
    assert!(ready.is_some(), "the server listens");
    let mut runs: [Runs; WATCHERS.len()] = Default::default();
    for number in 0..rounds as usize {
        // Each round begins with another one: what comes first may find a cooler machine.
        for step in 0..WATCHERS.len() {
            let index = (number + step) % WATCHERS.len();
            round(own, WATCHERS[index].1, secs, &mut runs[index]);
        }
    }
    let _ = server.kill().and_then(|()| server.wait());
    shell(SWEEP);
    report(entries, rounds, &runs);
}

fn round(own: &str, watcher: Option<&[&str]>, secs: u64, runs: &mut Runs) {
    let folder = tempfile::tempdir().expect("a folder");
    let heard = folder.path().join("heard");
    let child = watcher.map(|words| {
        within("firewall", words)
            .stdout(File::create(&heard).expect("a file for what it says"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {}: {error}", words[0]))
    });
    let load = |lasting: u64| {
        let out = within("client", &[own, "load", "--secs", &lasting.to_string()]).output();
        let text = String::from_utf8(out.expect("the client runs").stdout).expect("a number");
        text.trim().parse::<f64>().expect("how many connections it made")
    };
    load(WARM_UP.as_secs());
    let before = child.as_ref().map(cpu_secs);
    runs.per_s.push(load(secs) / secs as f64);
    if let Some((mut child, before)) = child.zip(before) {
        runs.cpu.push((cpu_secs(&child) - before) / secs as f64);
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let _ = child.wait();
        let mut text = String::new();
        let mut file = File::open(&heard).expect("what it said");
        let _ = file.read_to_string(&mut text);
        let last = text.lines().last().unwrap_or_default();
        let source = serde_json::from_str::<serde_json::Value>(last).ok();
        runs.source = source.map_or("events".to_string(), |doc| {
            doc["source"].as_str().unwrap_or("?").to_string()
        });
    }
}

fn report(entries: u64, rounds: u64, runs: &[Runs]) {
    println!("a table of {entries} entries; {rounds} rounds, medians [min-max]\n");
    println!(
        "{:<30} {:>10} {:>17} {:>7} {:>8}  by",
        "who looks", "new/s", "[min-max]", "lost", "its CPU"
    );
    let base = median(runs[0].per_s.iter().copied());
    for ((name, _), runs) in WATCHERS.iter().zip(runs) {
        let per_s = median(runs.per_s.iter().copied());
        let least = runs.per_s.iter().copied().fold(f64::MAX, f64::min);
        let most = runs.per_s.iter().copied().fold(0.0, f64::max);
        let cpu = match runs.cpu.as_slice() {
            [] => String::new(),
            cpu => format!("{:.1} %", median(cpu.iter().copied()) * 100.0),
        };
        println!(
            "{name:<30} {per_s:>10.0} {:>17} {:>6.1}% {cpu:>8}  {}",
            format!("[{least:.0}-{most:.0}]"),
            (1.0 - per_s / base) * 100.0,
            runs.source
        );
    }
}

fn shell(script: &str) -> bool {
    Command::new("sh")
        .args(["-c", script])
        .status()
        .is_ok_and(|status| status.success())
}

fn within(host: &str, words: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", &format!("ctlb-{host}")])
        .args(words);
    command
}

/// User and system time of a process so far, in seconds (proc_pid_stat(5), fields 14 and 15).
fn cpu_secs(child: &Child) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let field = |at: usize| {
        let word = after.split_whitespace().nth(at);
        word.and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0)
    };
    /// USER_HZ, 100 on every architecture that ctlens runs on.
    const TICKS: f64 = 100.0;
    (field(11) + field(12)) / TICKS
}

fn serve() {
    pin();
    let listener = TcpListener::bind((SERVER, PORT)).expect("a listener");
    // A client that never waits fills the standard queue of 128 while the server has no CPU, and then waits a second.
    // SAFETY: listen takes numbers only.
    unsafe { libc::listen(listener.as_raw_fd(), 65_535) };
    println!("ready");
    for stream in listener.incoming() {
        drop(stream);
    }
}

/// Connections opened and reset, one after the other.
fn connections(lasting: Duration) -> u64 {
    pin();
    let to = SocketAddr::from((SERVER, PORT));
    let (began, mut made) = (Instant::now(), 0);
    while began.elapsed() < lasting {
        match TcpStream::connect_timeout(&to, Duration::from_secs(1)) {
            Ok(stream) => {
                reset_on_close(&stream);
                made += 1;
            }
            Err(_) => thread::yield_now(),
        }
    }
    made
}

/// Both ends on the first CPU, and who looks wherever there is room: else the scheduler has them on one CPU in some rounds,
/// and on two in others, which is half as fast or twice.
fn pin() {
    // SAFETY: cpu_set_t is bits, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the set is ours and outlives the calls.
    unsafe {
        libc::CPU_SET(0, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// No TIME_WAIT at this end: the port can be used again at once.
fn reset_on_close(stream: &TcpStream) {
    // SAFETY: linger is two numbers, for which all zeroes is a value.
    let mut linger: libc::linger = unsafe { zeroed() };
    linger.l_onoff = 1;
    let length = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `linger`, which outlives the call.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            length,
        );
    }
}
