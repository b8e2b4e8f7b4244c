//! Sizes and timeout policy of one namespace's table.

use super::{Flow, Status, TcpState, proto};

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
}

/// Timeouts in force for new entries, in seconds; `None` = not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// By `TcpState as usize`; NONE stays unknown.
    pub tcp: [Option<u32>; 10],
    pub tcp_max_retrans: Option<u32>,
    pub tcp_unacknowledged: Option<u32>,
    pub udp: Option<u32>,
    pub udp_stream: Option<u32>,
    pub icmp: Option<u32>,
    pub icmpv6: Option<u32>,
    pub generic: Option<u32>,
    pub gre: Option<u32>,
    pub gre_stream: Option<u32>,
}

impl Timeouts {
    pub fn of_tcp(&self, state: TcpState) -> Option<u32> {
        self.tcp[state as usize]
    }

    /// The policy that a flow of this protocol and state got when it was last refreshed. None of these holds for one
    /// that a flowtable keeps, or whose timeout a program fixed.
    pub fn of(&self, flow: &Flow) -> Option<u32> {
        if flow.status.0 & (Status::OFFLOAD | Status::FIXED_TIMEOUT) != 0 {
            return None;
        }
        let replied = flow.status.seen_reply();
        match flow.proto {
            proto::TCP => flow.tcp_state.and_then(|state| self.of_tcp(state)),
            proto::UDP | 136 if flow.status.assured() => self.udp_stream,
            proto::UDP | 136 => self.udp,
            proto::ICMP => self.icmp,
            proto::ICMPV6 => self.icmpv6,
            proto::GRE if replied => self.gre_stream,
            proto::GRE => self.gre,
            proto::SCTP | 33 => None,
            _ => self.generic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_policy_holds_for_offloaded_and_fixed_entries() {
        let timeouts = Timeouts {
            udp: Some(30),
            udp_stream: Some(120),
            ..Timeouts::default()
        };
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
