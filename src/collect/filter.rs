//! Which entries a command wants; what of it the kernel can take over.

use std::net::{IpAddr, Ipv4Addr};

use crate::model::{Flow, Status, TcpState, Timeouts};
use crate::wire::ctnetlink::{DumpFilter, has_ports};

/// An address or a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    addr: IpAddr,
    bits: u8,
}

impl Prefix {
    /// `10.0.0.0/8`, `fd00::1`.
    pub fn parse(text: &str) -> Option<Prefix> {
        let (addr, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let addr: IpAddr = addr.parse().ok()?;
        let widest = if addr.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(widest), |b| b.parse().ok())?;
        (bits <= widest).then_some(Prefix { addr, bits })
    }

    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.addr, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                same(u128::from(u32::from(a)), u128::from(u32::from(b)), 32, self.bits)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => same(u128::from(a), u128::from(b), 128, self.bits),
            _ => false,
        }
    }

    /// The address and how many of its bits count.
    pub fn parts(&self) -> (IpAddr, u8) {
        (self.addr, self.bits)
    }

    fn exact_v4(&self) -> Option<Ipv4Addr> {
        match self.addr {
            IpAddr::V4(addr) if self.bits == 32 => Some(addr),
            _ => None,
        }
    }
}

fn same(a: u128, b: u128, width: u32, bits: u8) -> bool {
    bits == 0 || (a ^ b) >> (width - u32::from(bits)) == 0
}

/// All of these must hold. Tuple fields are the original direction's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFilter {
    pub state: Option<TcpState>,
    pub unreplied: bool,
    pub src: Option<Prefix>,
    pub dst: Option<Prefix>,
    pub sport: Option<u16>,
    pub dport: Option<u16>,
    pub proto: Option<u8>,
    /// Seconds since the timeout was set, at least. An entry whose age is not known never matches.
    pub older_than_secs: Option<u32>,
    pub zone: Option<u16>,
    /// (value, mask)
    pub mark: Option<(u32, u32)>,
}

impl FlowFilter {
    pub fn is_empty(&self) -> bool {
        *self == FlowFilter::default()
    }

    pub fn matches(&self, flow: &Flow, timeouts: &Timeouts) -> bool {
        let age = || timeouts.since_set_secs(flow);
        self.wants(flow)
            && self
                .older_than_secs
                .is_none_or(|secs| age().is_some_and(|age| age >= secs))
    }

    /// The same but for its age, which no event has.
    pub fn wants(&self, flow: &Flow) -> bool {
        self.state.is_none_or(|state| flow.tcp_state == Some(state))
            && (!self.unreplied || !flow.status.seen_reply())
            && self.src.is_none_or(|prefix| prefix.contains(flow.orig.src))
            && self.dst.is_none_or(|prefix| prefix.contains(flow.orig.dst))
            && self
                .sport
                .is_none_or(|port| has_ports(flow.proto) && flow.orig.sport == port)
            && self
                .dport
                .is_none_or(|port| has_ports(flow.proto) && flow.orig.dport == port)
            && self.proto.is_none_or(|proto| flow.proto == proto)
            && self.zone.is_none_or(|zone| flow.zone.unwrap_or(0) == zone)
            && self
                .mark
                .is_none_or(|(value, mask)| flow.mark.unwrap_or(0) & mask == value & mask)
    }

    /// What the kernel may leave out. It is never trusted with it: [`FlowFilter::matches`] is applied to what comes.
    pub fn pushable(&self) -> DumpFilter {
        let mut out = DumpFilter {
            zone: self.zone,
            mark: self.mark,
            ..DumpFilter::default()
        };
        // No filter by TCP state exists, but no SYN_SENT entry is ASSURED. It may have SEEN_REPLY: a challenge ACK sets
        // the bit and leaves the state (nf_conntrack_in, TCP_CONNTRACK_IGNORE). A SYN_RECV entry may be ASSURED: a SYN
        // on an established one is ignored, and the SYN/ACK to it takes the entry back to SYN_RECV, bits and all.
        if self.unreplied {
            out.status = Some((0, Status::SEEN_REPLY));
        } else if self.state == Some(TcpState::SynSent) {
            out.status = Some((0, Status::ASSURED));
        }
        let v4 = |prefix: Option<Prefix>| prefix.and_then(|p| p.exact_v4());
        (out.src, out.dst) = (v4(self.src), v4(self.dst));
        let family = self
            .src
            .or(self.dst)
            .map(|p| if p.addr.is_ipv4() { 2 } else { 10 });
        out.family = family.unwrap_or(0);
        let proto = self.proto.or(self.state.map(|_| crate::model::proto::TCP));
        // CTA_FILTER needs a family, and ports need the protocol.
        if out.family != 0 && proto.is_some_and(has_ports) {
            (out.proto, out.sport, out.dport) = (proto, self.sport, self.dport);
        }
        out
    }
}

/// Whether a kernel that knows every field of `filter` would let this entry through.
pub fn admits(filter: &DumpFilter, flow: &Flow) -> bool {
    let v4 = |wanted: Option<Ipv4Addr>, is: IpAddr| wanted.is_none_or(|addr| is == IpAddr::V4(addr));
    let family = if flow.orig.src.is_ipv4() { 2 } else { 10 };
    (filter.family == 0 || filter.family == family)
        && filter
            .status
            .is_none_or(|(value, mask)| flow.status.0 & mask == value)
        && filter
            .mark
            .is_none_or(|(value, mask)| flow.mark.unwrap_or(0) & mask == value & mask)
        && filter.zone.is_none_or(|zone| flow.zone.unwrap_or(0) == zone)
        && v4(filter.src, flow.orig.src)
        && v4(filter.dst, flow.orig.dst)
        && filter.proto.is_none_or(|proto| flow.proto == proto)
        && filter.sport.is_none_or(|port| flow.orig.sport == port)
        && filter.dport.is_none_or(|port| flow.orig.dport == port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let ten = Prefix::parse("10.0.0.0/8").unwrap();
        assert!(ten.contains("10.255.0.1".parse().unwrap()) && !ten.contains("11.0.0.1".parse().unwrap()));
        assert!(!ten.contains("::1".parse().unwrap()));
        assert!(
            Prefix::parse("0.0.0.0/0")
                .unwrap()
                .contains("8.8.8.8".parse().unwrap())
        );
        assert!(
            Prefix::parse("fd00::/16")
                .unwrap()
                .contains("fd00:1::1".parse().unwrap())
        );
        for bad in ["10.0.0.0/33", "x", "10.0.0.0/", "::/129", ""] {
            assert!(Prefix::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_kernel_never_gets_ipv6_addresses_nor_ports_without_a_protocol() {
        let mut filter = FlowFilter {
            dst: Prefix::parse("fd00::1"),
            dport: Some(80),
            ..FlowFilter::default()
        };
        let pushed = filter.pushable();
        assert_eq!(
            (pushed.family, pushed.src, pushed.dst, pushed.dport),
            (10, None, None, None)
        );
        filter.dst = Prefix::parse("10.0.0.1");
        filter.state = Some(TcpState::SynSent);
        let pushed = filter.pushable();
        assert_eq!(pushed.dst, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(
            (pushed.proto, pushed.dport, pushed.status),
            (Some(6), Some(80), Some((0, Status::ASSURED)))
        );
        filter.state = Some(TcpState::SynRecv);
        assert_eq!(filter.pushable().status, None);
        filter.unreplied = true;
        assert_eq!(filter.pushable().status, Some((0, Status::SEEN_REPLY)));
    }

    #[test]
    fn unknown_ages_never_match() {
        let mut timeouts = Timeouts::default();
        let mut flow = Flow {
            proto: 6,
            tcp_state: Some(TcpState::SynSent),
            timeout_secs: Some(100),
            ..Flow::default()
        };
        let filter = FlowFilter {
            older_than_secs: Some(20),
            ..FlowFilter::default()
        };
        assert!(!filter.matches(&flow, &timeouts));
        timeouts.set(crate::model::Timer::SynSent, Some(120));
        assert!(filter.matches(&flow, &timeouts));
        flow.timeout_secs = Some(130);
        assert!(!filter.matches(&flow, &timeouts));
    }
}
