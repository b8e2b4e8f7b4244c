//! What the kernel tells when an entry comes, changes, or goes.

use super::{Flow, TcpState};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    New,
    Update,
    Destroy,
}

impl EventKind {
    pub const ALL: [EventKind; 3] = [EventKind::New, EventKind::Update, EventKind::Destroy];

    /// As `conntrack -E` calls it.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::New => "NEW",
            EventKind::Update => "UPDATE",
            EventKind::Destroy => "DESTROY",
        }
    }
}

/// Why an entry went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gone {
    /// Its timeout ran out: after a regular end in TIME_WAIT or CLOSE, else by silence.
    Expired,
    /// A RST answered the first SYN, or followed it.
    Refused,
    /// early_drop made room in a full table.
    Evicted,
    /// A new connection took its tuple, or its translated port; or the collector made room among closed ones.
    Reused,
    /// A program asked for it, by this netlink port.
    Deleted(u32),
    /// Kernels before 5.11 do not tell.
    Unknown,
}

impl Gone {
    pub fn name(self) -> &'static str {
        match self {
            Gone::Expired => "expired",
            Gone::Refused => "refused",
            Gone::Evicted => "evicted",
            Gone::Reused => "reused",
            Gone::Deleted(_) => "deleted",
            Gone::Unknown => "unknown",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub flow: Flow,
    /// The netlink port of the program that brought it about; 0 where packets or time did.
    pub port: u32,
    /// When it happened, nanoseconds since 1970: with nf_conntrack_timestamp=1, since 6.14.
    pub at_ns: Option<u64>,
    /// When the entry ended, likewise: in DESTROY, with nf_conntrack_timestamp=1.
    pub stop_ns: Option<u64>,
}

impl Event {
    /// Why the entry went; `None` where it did not. The kernel leaves out the timeout of what has none left; a timeout
    /// that is there was cut short (ctnetlink_conntrack_event, since 5.11).
    pub fn gone(&self) -> Option<Gone> {
        if self.kind != EventKind::Destroy {
            return None;
        }
        let flow = &self.flow;
        let tcp = flow.proto == super::proto::TCP;
        Some(match (self.port, flow.timeout_secs, flow.tcp_state) {
            (port, ..) if port != 0 => Gone::Deleted(port),
            // Older kernels leave out the state too.
            (_, _, None) if tcp => Gone::Unknown,
            // Nothing stays in that state: it goes at once, also in its last second, which has no timeout.
            (_, _, Some(TcpState::Close)) if !flow.status.seen_reply() => Gone::Refused,
            (_, None, _) => Gone::Expired,
            _ if !flow.status.assured() => Gone::Evicted,
            _ => Gone::Reused,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Status, proto};

    fn gone(timeout_secs: Option<u32>, tcp_state: Option<TcpState>, status: u32, port: u32) -> Option<Gone> {
        let flow = Flow {
            proto: proto::TCP,
            timeout_secs,
            tcp_state,
            status: Status(status),
            ..Flow::default()
        };
        let event = |kind| Event {
            kind,
            flow,
            port,
            at_ns: None,
            stop_ns: None,
        };
        assert_eq!(event(EventKind::Update).gone(), None);
        event(EventKind::Destroy).gone()
    }

    #[test]
    fn a_destroy_tells_its_cause() {
        use TcpState::{Close, Established, SynSent, TimeWait};
        let (answered, assured) = (Status::SEEN_REPLY, Status::SEEN_REPLY | Status::ASSURED);
        assert_eq!(gone(None, Some(TimeWait), assured, 0), Some(Gone::Expired));
        assert_eq!(gone(Some(119), Some(Close), 0, 0), Some(Gone::Refused));
        assert_eq!(gone(None, Some(Close), 0, 0), Some(Gone::Refused));
        assert_eq!(gone(None, Some(Close), answered, 0), Some(Gone::Expired));
        assert_eq!(gone(Some(80), Some(SynSent), 0, 0), Some(Gone::Evicted));
        assert_eq!(gone(Some(9), Some(Close), answered, 0), Some(Gone::Evicted));
        assert_eq!(gone(Some(119), Some(TimeWait), assured, 0), Some(Gone::Reused));
        assert_eq!(
            gone(Some(5), Some(Established), assured, 77),
            Some(Gone::Deleted(77))
        );
        assert_eq!(gone(None, None, assured, 0), Some(Gone::Unknown));
    }
}
