//! A namespace told from outside: entries, sockets and packets go in, evidence comes out.

use std::net::IpAddr;

use ctlens::diagnose::{Report, diagnose};
use ctlens::evidence::{Census, Evidence, Readings, TapLog, assemble};
use ctlens::model::{
    Flow, Limits, Moment, Segment, SegmentKind, Snapshot, Socket, SocketState, Status, TableLook,
    TableSource, TcpFlags, TcpState, Timeouts, Timer, Tuple, proto,
};

pub const HOST: &str = "10.0.0.1";
pub const TAP_SECS: f64 = 3.0;

/// One namespace, told from outside.
pub struct Host {
    pub flows: Vec<Flow>,
    pub before: Vec<Socket>,
    pub after: Vec<Socket>,
    pub segments: Vec<Segment>,
    pub tapped: bool,
    pub lost: u64,
    /// Seconds between the tap's end and the readings.
    pub tap_ended_before: f64,
    /// Seconds that the pass took beyond what was expected of it.
    pub pass_secs: f64,
    pub kernel: &'static str,
    pub syn_sent_secs: u32,
    pub sampled_of: Option<u64>,
    pub flow_policies: bool,
    pub max: u64,
}

impl Default for Host {
    fn default() -> Host {
        Host {
            flows: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            segments: Vec::new(),
            tapped: true,
            lost: 0,
            tap_ended_before: 0.0,
            pass_secs: 0.0,
            kernel: "6.18.0",
            syn_sent_secs: 120,
            sampled_of: None,
            flow_policies: false,
            max: 262_144,
        }
    }
}

/// Seconds on the clock when the pass begins: long after the host did.
pub const NOW: f64 = 10_000.0;

impl Host {
    pub fn evidence(&self) -> Evidence {
        let timeouts = Timeouts::from_iter([(Timer::SynSent, self.syn_sent_secs), (Timer::SynRecv, 60)]);
        let now = Moment::default().plus_secs(NOW);
        let mut snapshot = Snapshot {
            taken: now,
            limits: Limits {
                count: Some(self.flows.len() as u64),
                max: Some(self.max),
                ..Limits::default()
            },
            timeouts,
            half_open: Some(self.before.clone()),
            listeners: Some(Vec::new()),
            addresses: Some(vec![ip(HOST), ip("fd00::1"), ip("172.17.0.1")]),
            stats: Some(Default::default()),
            net: Some(Default::default()),
            flow_policies: self.flow_policies,
            ..Snapshot::default()
        };
        snapshot.host.kernel = Some(self.kernel.to_string());
        let mut tap = TapLog::default();
        self.segments.iter().for_each(|segment| tap.add(segment));
        tap.facts.secs = TAP_SECS;
        tap.facts.lost = self.lost;
        tap.ended = Some(Moment::default().plus_secs(NOW - self.tap_ended_before));
        let mut census = Census::new(&snapshot, Some(&tap).filter(|_| self.tapped));
        self.flows.iter().for_each(|flow| census.add(flow, now));
        let look = TableLook {
            source: TableSource::Ctnetlink,
            started: now,
            ended: now.plus_secs(self.pass_secs),
            dumped: self.flows.len() as u64,
            sampled_of: self.sampled_of,
            count_after: self.sampled_of,
            duplicates: 0,
            malformed: 0,
        };
        let counted = census.finish(&look, Some(&self.after));
        assemble(Readings {
            earlier: None,
            rules_before: None,
            window_secs: 0.0,
            snapshot: &snapshot,
            counted: Some(counted),
            look: Some(look),
            tap: Some(tap.facts).filter(|_| self.tapped),
            ports: Some(Vec::new()),
            owners: Default::default(),
            gaps: Vec::new(),
        })
    }

    pub fn report(&self) -> Report {
        diagnose(&self.evidence())
    }

    /// A socket that waits before and after the pass.
    pub fn waits(&mut self, tuple: Tuple) {
        self.before.push(socket(SocketState::SynSent, tuple));
        self.after.push(socket(SocketState::SynSent, tuple));
    }

    pub fn answered(&mut self, entries: u32, dst: &str) {
        for n in 0..entries {
            let orig = tuple(
                &format!("10.50.{}.{}", n >> 8 & 255, n & 255),
                (n >> 16) as u16 + 9000,
                dst,
            );
            self.flows.push(Flow {
                tcp_state: Some(TcpState::TimeWait),
                ..entry(orig, 0.0)
            });
        }
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn tuple(src: &str, sport: u16, dst: &str) -> Tuple {
    let dst: std::net::SocketAddr = dst.parse().expect("address:port");
    Tuple {
        src: ip(src),
        dst: dst.ip(),
        sport,
        dport: dst.port(),
    }
}

/// A SYN_SENT entry of `age` seconds under a timeout of 120 s.
pub fn entry(orig: Tuple, age: f64) -> Flow {
    Flow {
        orig,
        reply: orig.inverted(),
        proto: proto::TCP,
        tcp_state: Some(TcpState::SynSent),
        status: Status(Status::CONFIRMED),
        timeout_secs: Some((120.0 - age) as u32),
        ..Flow::default()
    }
}

pub fn syn_recv(orig: Tuple, age: f64) -> Flow {
    Flow {
        tcp_state: Some(TcpState::SynRecv),
        timeout_secs: Some((60.0 - age) as u32),
        ..entry(orig, age)
    }
}

pub fn socket(state: SocketState, tuple: Tuple) -> Socket {
    Socket {
        state,
        tuple,
        uid: 0,
        inode: 0,
        recv_queue: 0,
        send_queue: Some(0),
        repeats: 0,
    }
}

pub fn segment(kind: SegmentKind, tuple: Tuple, ifindex: u32) -> Segment {
    Segment {
        kind,
        tuple,
        sender: tuple.src,
        seq: 1,
        flags: TcpFlags(TcpFlags::SYN),
        ifindex,
        outgoing: false,
    }
}

/// Ages spread evenly over 2 to `most` seconds.
pub fn spread(n: u32, of: u32, most: f64) -> f64 {
    2.1 + f64::from(n) / f64::from(of) * (most - 2.2)
}
