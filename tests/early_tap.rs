//! A whole look whose tap is flooded out: clients that began afterwards are not taken for gone.

mod fake;

use std::ops::ControlFlow;

use ctlens::cli::look::{Ask, Tap, look};
use ctlens::collect::Wish;
use ctlens::diagnose::{Side, diagnose};
use ctlens::evidence::{Direction, Evidence};
use ctlens::kernel::{Channel, Errno, Heard, Job, Kernel, Source};
use ctlens::model::Moment;

use fake::{CT_NEW, Datagram, Fake, MULTI, done, message, syn_sent};

const STATUS: &str = "Name:\tctlens\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
const WINDOW_SECS: f64 = 10.0;
/// The flood is over, or the tap has seen enough of it, after so long.
const FLOOD_SECS: f64 = 1.0;

/// A forwarding host whose clock moves only while it listens.
struct Flooded<A: FnMut(Channel, &[u8]) -> Vec<Datagram>> {
    inner: Fake<A>,
    now: Moment,
    packets: usize,
}

impl<A: FnMut(Channel, &[u8]) -> Vec<Datagram>> Kernel for Flooded<A> {
    fn now(&mut self) -> Moment {
        self.now
    }
    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        self.inner.read_file(path)
    }
    fn read_dir(&mut self, path: &str, part: &str) -> Result<Vec<u8>, Errno> {
        self.inner.read_dir(path, part)
    }
    fn request(&mut self, jobs: &mut [Job<'_>]) {
        self.inner.request(jobs);
    }
    fn listen(
        &mut self,
        sources: &[Source],
        deadline: Moment,
        each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        for n in 0..if sources.is_empty() { 0 } else { self.packets } {
            if each(0, &stray_syn(n as u32)).is_break() {
                self.now = self.now.plus_secs(FLOOD_SECS);
                return Ok(Heard::default());
            }
        }
        self.now = self.now.max(deadline);
        Ok(Heard::default())
    }
}

/// SLL2 of an incoming IPv4 packet, and a SYN in it to somebody who is not asked about.
fn stray_syn(n: u32) -> [u8; 60] {
    let mut packet = [0; 60];
    packet[..2].copy_from_slice(&[0x08, 0x00]);
    (packet[20], packet[29]) = (0x45, 6);
    packet[32..36].copy_from_slice(&n.to_be_bytes());
    packet[36..40].copy_from_slice(&[192, 0, 2, 1]);
    (packet[52], packet[53]) = (0x50, 0x02);
    packet
}

/// 300 entries of 5 s, of clients that the tap did not hear.
fn seen(packets: usize) -> Evidence {
    let entries = || -> Vec<u8> {
        let one = |n: u16| message(CT_NEW, MULTI, &syn_sent(2000 + n, u32::from(n), 115));
        (0..300).flat_map(one).collect()
    };
    let answer = move |channel, request: &[u8]| match (channel, request[4..6] == [1, 1]) {
        (Channel::Netfilter, true) => vec![Ok(entries()), Ok(done())],
        _ => vec![Ok(done())],
    };
    let sysctl = |name: &str| format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
    let inner = Fake::new(answer)
        .file("/proc/self/status", STATUS)
        .file("/proc/sys/net/ipv4/ip_forward", "1\n")
        .file("/proc/net/tcp", "  sl  local_address rem_address   st\n")
        .file(&sysctl("max"), "4096\n")
        .file(&sysctl("count"), "300\n")
        .file(&sysctl("buckets"), "1024\n")
        .file(&sysctl("tcp_timeout_syn_sent"), "120\n");
    let mut kernel = Flooded {
        inner,
        now: Moment::default().plus_secs(10_000.0),
        packets,
    };
    let ask = Ask {
        window_secs: WINDOW_SECS,
        tap: Tap::Always(WINDOW_SECS),
        wish: Wish::default(),
    };
    look(&mut kernel, &ask, &mut |_| {}).expect("a table")
}

#[test]
fn who_began_after_a_flooded_tap_is_not_gone() {
    let pile = |evidence: &Evidence| {
        let half_open = evidence.half_open.as_ref().expect("a table");
        let pile = &half_open.syn_sent[&Direction::Forward];
        (pile.held.value, pile.held.high, pile.unclear.value)
    };
    let tapped = |evidence: &Evidence| {
        let gap = evidence.gaps.iter().find(|gap| gap.source == "tap");
        gap.map(|gap| gap.reason.clone())
    };
    let evidence = seen(300_000);
    assert_eq!(pile(&evidence), (0.0, 0.0, 300.0));
    assert_eq!(diagnose(&evidence).verdict.bottleneck, Side::Undecided);
    let gap = tapped(&evidence).unwrap_or_default();
    assert!(gap.contains("seen enough after 1.0 s"), "{gap}");
    // A tap that lasted to the end heard nothing of them: they are gone.
    let evidence = seen(3);
    assert_eq!(pile(&evidence), (300.0, 300.0, 0.0));
    assert_eq!(diagnose(&evidence).verdict.bottleneck, Side::Firewall);
    assert_eq!(tapped(&evidence), None);
}
