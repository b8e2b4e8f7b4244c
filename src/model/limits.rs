//! Sizes and timeout policy of one namespace's table.

use super::{Flow, TcpState, Timer, proto};

/// How large the table is and may become.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// `nf_conntrack_count`: entries of this namespace, expired ones not yet collected included.
    pub count: Option<u64>,
    /// `nf_conntrack_max`: one value for the host, compared with each namespace's own count.
    pub max: Option<u64>,
    /// `nf_conntrack_buckets`: hash buckets, shared by all namespaces.
    pub buckets: Option<u64>,
    /// Entries of all namespaces (the nf_conntrack slab's active objects); needs root.
    pub host_entries: Option<u64>,
    /// Bytes of memory for an entry (the same slab), without its extensions; needs root.
    pub entry_bytes: Option<f64>,
}

/// Timeouts in force for new entries, in seconds, by [`Timer`]; `None` = not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts(pub(super) [Option<u32>; Timer::ALL.len()]);

impl Timeouts {
    pub fn of_tcp(&self, state: TcpState) -> Option<u32> {
        self.get(Timer::of_state(state)?)
    }

    /// The policy that a flow of this protocol and state got when it was last refreshed.
    pub fn of(&self, flow: &Flow) -> Option<u32> {
        self.get(Timer::of(flow)?)
    }

    /// Seconds since the entry's timeout was set, at most its age. Unknown where more is left than today's policy gives
    /// (a lowered sysctl, or a policy of the entry's own), and where a TCP entry may have got a shorter one than its
    /// state's: after retransmissions, with a window of zero, or while data is not acknowledged
    /// (nf_conntrack_tcp_packet()). Nothing sets a SYN_SENT entry's timeout but its first packet.
    pub fn since_set_secs(&self, flow: &Flow) -> Option<u32> {
        let (policy, left) = (self.of(flow)?, flow.timeout_secs?);
        let renewed = flow.proto == proto::TCP && flow.tcp_state != Some(TcpState::SynSent);
        let caps = [self.get(Timer::MaxRetrans), self.get(Timer::Unacknowledged)];
        let capped = |cap: &Option<u32>| {
            let cap = cap.unwrap_or(DEFAULT_CAP_SECS);
            cap < policy && left <= cap
        };
        if renewed && caps.iter().any(capped) {
            return None;
        }
        policy.checked_sub(left)
    }
}

/// Linux' own default for both nf_conntrack_tcp_timeout_max_retrans and _unacknowledged.
const DEFAULT_CAP_SECS: u32 = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Status;

    #[test]
    fn a_capped_timeout_tells_no_age() {
        let mut timeouts = Timeouts::from_iter([
            (Timer::MaxRetrans, 300),
            (Timer::Unacknowledged, 600),
            (Timer::Established, 432_000),
            (Timer::TimeWait, 120),
            (Timer::SynSent, 900),
        ]);
        let since = |timeouts: &Timeouts, state, left| {
            timeouts.since_set_secs(&Flow {
                proto: proto::TCP,
                tcp_state: Some(state),
                timeout_secs: Some(left),
                ..Flow::default()
            })
        };
        let got = [295, 600, 601, 431_995, 432_001].map(|left| since(&timeouts, TcpState::Established, left));
        assert_eq!(got, [None, None, Some(431_399), Some(5), None]);
        // Below both caps a state keeps its own; nothing shortens SYN_SENT.
        assert_eq!(since(&timeouts, TcpState::TimeWait, 100), Some(20));
        assert_eq!(since(&timeouts, TcpState::SynSent, 200), Some(700));
        timeouts.set(Timer::Unacknowledged, None);
        assert_eq!(since(&timeouts, TcpState::Established, 300), None);
    }

    #[test]
    fn no_policy_holds_for_offloaded_and_fixed_entries() {
        let timeouts = Timeouts::from_iter([(Timer::Udp, 30), (Timer::UdpStream, 120)]);
        let mut flow = Flow {
            proto: proto::UDP,
            ..Flow::default()
        };
        assert_eq!(timeouts.of(&flow), Some(30));
        flow.status = Status(Status::SEEN_REPLY | Status::ASSURED);
        assert_eq!(timeouts.of(&flow), Some(120));
        flow.status.0 |= Status::OFFLOAD;
        assert_eq!(timeouts.of(&flow), None);
        flow.status = Status(Status::FIXED_TIMEOUT);
        assert_eq!(timeouts.of(&flow), None);
    }
}
