//! The timeouts that a namespace's sysctls set, by their names.

use super::{Flow, Status, TcpState, Timeouts, proto};

/// One timeout of conntrack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Timer {
    SynSent,
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    /// Has no sysctl: only cttimeout knows and sets it.
    SynSent2,
    /// Instead of a longer one, after retransmissions (nf_conntrack_tcp_max_retrans).
    MaxRetrans,
    /// Instead of a longer one, while data is not acknowledged.
    Unacknowledged,
    Udp,
    UdpStream,
    Icmp,
    Icmpv6,
    Generic,
    Gre,
    GreStream,
}

impl Timer {
    pub const ALL: [Timer; 18] = [
        Timer::SynSent,
        Timer::SynRecv,
        Timer::Established,
        Timer::FinWait,
        Timer::CloseWait,
        Timer::LastAck,
        Timer::TimeWait,
        Timer::Close,
        Timer::SynSent2,
        Timer::MaxRetrans,
        Timer::Unacknowledged,
        Timer::Udp,
        Timer::UdpStream,
        Timer::Icmp,
        Timer::Icmpv6,
        Timer::Generic,
        Timer::Gre,
        Timer::GreStream,
    ];

    /// As `--set` and profiles name it: `syn_sent`, `udp_stream`.
    pub fn name(self) -> &'static str {
        match self {
            Timer::SynSent => "syn_sent",
            Timer::SynRecv => "syn_recv",
            Timer::Established => "established",
            Timer::FinWait => "fin_wait",
            Timer::CloseWait => "close_wait",
            Timer::LastAck => "last_ack",
            Timer::TimeWait => "time_wait",
            Timer::Close => "close",
            Timer::SynSent2 => "syn_sent2",
            Timer::MaxRetrans => "max_retrans",
            Timer::Unacknowledged => "unacknowledged",
            Timer::Udp => "udp",
            Timer::UdpStream => "udp_stream",
            Timer::Icmp => "icmp",
            Timer::Icmpv6 => "icmpv6",
            Timer::Generic => "generic",
            Timer::Gre => "gre",
            Timer::GreStream => "gre_stream",
        }
    }

    pub fn from_name(name: &str) -> Option<Timer> {
        Self::ALL.into_iter().find(|timer| timer.name() == name)
    }

    /// The sysctl without `net.netfilter.nf_conntrack_`.
    pub fn sysctl(self) -> Option<&'static str> {
        Some(match self {
            Timer::SynSent => "tcp_timeout_syn_sent",
            Timer::SynRecv => "tcp_timeout_syn_recv",
            Timer::Established => "tcp_timeout_established",
            Timer::FinWait => "tcp_timeout_fin_wait",
            Timer::CloseWait => "tcp_timeout_close_wait",
            Timer::LastAck => "tcp_timeout_last_ack",
            Timer::TimeWait => "tcp_timeout_time_wait",
            Timer::Close => "tcp_timeout_close",
            Timer::SynSent2 => return None,
            Timer::MaxRetrans => "tcp_timeout_max_retrans",
            Timer::Unacknowledged => "tcp_timeout_unacknowledged",
            Timer::Udp => "udp_timeout",
            Timer::UdpStream => "udp_timeout_stream",
            Timer::Icmp => "icmp_timeout",
            Timer::Icmpv6 => "icmpv6_timeout",
            Timer::Generic => "generic_timeout",
            Timer::Gre => "gre_timeout",
            Timer::GreStream => "gre_timeout_stream",
        })
    }

    /// By the whole name of its sysctl.
    pub fn from_sysctl(name: &str) -> Option<Timer> {
        let rest = super::current_name(name);
        let rest = rest.strip_prefix("net.netfilter.nf_conntrack_")?;
        Self::ALL.into_iter().find(|timer| timer.sysctl() == Some(rest))
    }

    /// What Linux sets by default, in seconds (nf_conntrack_proto_*.c).
    pub fn default_secs(self) -> u32 {
        match self {
            Timer::SynSent | Timer::SynSent2 | Timer::FinWait | Timer::TimeWait => 120,
            Timer::SynRecv | Timer::CloseWait => 60,
            Timer::Established => 432_000,
            Timer::LastAck | Timer::Udp | Timer::Icmp | Timer::Icmpv6 | Timer::Gre => 30,
            Timer::Close => 10,
            Timer::MaxRetrans | Timer::Unacknowledged => 300,
            Timer::UdpStream => 120,
            Timer::Generic => 600,
            Timer::GreStream => 180,
        }
    }

    /// Packets renew it for as long as they come; the others are left by a packet, or by time.
    pub fn is_renewed(self) -> bool {
        matches!(
            self,
            Timer::Established | Timer::UdpStream | Timer::GreStream | Timer::Generic
        )
    }

    pub fn of_state(state: TcpState) -> Option<Timer> {
        Some(match state {
            TcpState::None => return None,
            TcpState::SynSent => Timer::SynSent,
            TcpState::SynRecv => Timer::SynRecv,
            TcpState::Established => Timer::Established,
            TcpState::FinWait => Timer::FinWait,
            TcpState::CloseWait => Timer::CloseWait,
            TcpState::LastAck => Timer::LastAck,
            TcpState::TimeWait => Timer::TimeWait,
            TcpState::Close => Timer::Close,
            TcpState::SynSent2 => Timer::SynSent2,
        })
    }

    /// The one that a flow of this protocol and state has. None holds for one that a flowtable keeps, or whose timeout a
    /// program fixed; SCTP's and DCCP's are not told apart here.
    pub fn of(flow: &Flow) -> Option<Timer> {
        if flow.status.0 & (Status::OFFLOAD | Status::FIXED_TIMEOUT) != 0 {
            return None;
        }
        match flow.proto {
            proto::TCP => flow.tcp_state.and_then(Timer::of_state),
            proto::UDP | 136 if flow.status.assured() => Some(Timer::UdpStream),
            proto::UDP | 136 => Some(Timer::Udp),
            proto::ICMP => Some(Timer::Icmp),
            proto::ICMPV6 => Some(Timer::Icmpv6),
            proto::GRE if flow.status.seen_reply() => Some(Timer::GreStream),
            proto::GRE => Some(Timer::Gre),
            proto::SCTP | 33 => None,
            _ => Some(Timer::Generic),
        }
    }

    /// What `status` calls it: the TCP state, or the protocol.
    pub fn label(self) -> &'static str {
        let mut states = TcpState::ALL.into_iter();
        let state = states.find(|state| Timer::of_state(*state) == Some(self));
        state.map_or(self.name(), TcpState::name)
    }
}

impl Timeouts {
    pub fn get(&self, timer: Timer) -> Option<u32> {
        self.0[timer as usize]
    }

    pub fn set(&mut self, timer: Timer, secs: Option<u32>) {
        self.0[timer as usize] = secs;
    }

    /// Those that are known.
    pub fn known(&self) -> impl Iterator<Item = (Timer, u32)> + '_ {
        Timer::ALL
            .into_iter()
            .filter_map(|timer| Some((timer, self.get(timer)?)))
    }
}

#[cfg(test)]
impl Timeouts {
    /// Those of a host where nobody has set any.
    pub fn defaults() -> Timeouts {
        Timer::ALL
            .into_iter()
            .map(|timer| (timer, timer.default_secs()))
            .collect()
    }
}

impl FromIterator<(Timer, u32)> for Timeouts {
    fn from_iter<I: IntoIterator<Item = (Timer, u32)>>(all: I) -> Timeouts {
        let mut out = Timeouts::default();
        all.into_iter()
            .for_each(|(timer, secs)| out.set(timer, Some(secs)));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_place_and_its_names() {
        for (index, timer) in Timer::ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, index);
            assert_eq!(Timer::from_name(timer.name()), Some(timer));
            if let Some(rest) = timer.sysctl() {
                let name = format!("net.netfilter.nf_conntrack_{rest}");
                assert_eq!(Timer::from_sysctl(&name), Some(timer));
            }
        }
        let legacy = "net.ipv4.netfilter.ip_conntrack_tcp_timeout_syn_sent";
        assert_eq!(Timer::from_sysctl(legacy), Some(Timer::SynSent));
        assert_eq!(Timer::from_sysctl("net.netfilter.nf_conntrack_max"), None);
    }
}
