//! Conntrack events as they come, with an exact count of those that were lost.

use std::ops::ControlFlow;

use super::ask::ADMIN_REMEDY;
use super::filter::FlowFilter;
use super::listing::LOAD;
use super::presence::Presence;
use crate::kernel::{Errno, Kernel, Source};
use crate::model::{BpfInstruction, Event, EventKind, Gap, Moment};
use crate::wire::ct_events::{EventFilter, decode_event, encode_filter, group};
use crate::wire::netlink::messages;

/// Asked for unless told otherwise; the kernel grants twice as much, and an event takes about 1,283 bytes of that.
pub const BUFFER_BYTES: u32 = 8 << 20;
/// What one event takes of a socket's buffer (skb and its overhead, measured on 6.18).
const EVENT_BYTES: u64 = 1283;
const SOURCE: &str = "events";

/// What to listen to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    pub kinds: Vec<EventKind>,
    /// UPDATE comes by a socket of its own, which can be closed and leave the other one open; NEW of one batch is then
    /// told before UPDATE.
    pub updates_apart: bool,
    pub filter: FlowFilter,
    pub buffer_bytes: u32,
}

/// How one turn of listening went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// The clock after it.
    pub now: Moment,
    /// Events that found no room in the buffer, exactly; whether the filter wanted them is not known.
    pub lost: u64,
    /// Datagrams that made no sense.
    pub malformed: u64,
    /// How many events the buffer holds, about.
    pub room: u64,
    /// The recording has no more.
    pub ended: bool,
}

/// Hands on the events that the filter wants, until some have come or `deadline` has. What comes between two turns with
/// the same [`Listening`] waits in the socket's buffer.
pub fn events(
    kernel: &mut dyn Kernel,
    presence: &Presence,
    listening: &Listening,
    deadline: Moment,
    each: &mut dyn FnMut(&Event) -> ControlFlow<()>,
) -> Result<Turn, Gap> {
    if !presence.has_nfnetlink("nf_conntrack_netlink") {
        return Err(Gap::new(
            SOURCE,
            "nf_conntrack_netlink is not known to be loaded, and looking loads no module",
            LOAD,
        ));
    }
    let apart = |kind: &EventKind| listening.updates_apart && *kind == EventKind::Update;
    let (second, first): (Vec<EventKind>, Vec<EventKind>) =
        listening.kinds.iter().partition(|kind| apart(kind));
    let sources: Vec<Source> = [first, second]
        .into_iter()
        .filter(|kinds| !kinds.is_empty())
        .map(|kinds| Source::Events {
            groups: kinds.into_iter().map(group).collect(),
            filter: program(&listening.filter),
            buffer_bytes: listening.buffer_bytes,
        })
        .collect();
    let mut malformed = 0;
    let heard = kernel.listen(&sources, deadline, &mut |_, datagram| {
        for message in messages(datagram) {
            match message.and_then(|message| decode_event(&message)) {
                Ok(Some(event)) if wanted(listening, &event) => each(&event)?,
                Ok(_) => {}
                Err(_) => malformed += 1,
            }
        }
        ControlFlow::Continue(())
    });
    let now = kernel.now();
    let (heard, ended) = match heard {
        Ok(heard) => (heard, false),
        Err(Errno::ENDED) => (Default::default(), true),
        Err(errno) => return Err(Gap::new(SOURCE, reason(errno), remedy(errno))),
    };
    Ok(Turn {
        now,
        lost: heard.lost,
        malformed,
        room: heard.buffer_bytes / EVENT_BYTES,
        ended,
    })
}

/// A recording may hold more than is listened to.
fn wanted(listening: &Listening, event: &Event) -> bool {
    listening.kinds.contains(&event.kind) && listening.filter.wants(&event.flow)
}

fn program(filter: &FlowFilter) -> Vec<BpfInstruction> {
    let wanted = EventFilter {
        proto: filter.proto.or(filter.state.map(|_| crate::model::proto::TCP)),
        src: filter.src.map(|prefix| prefix.parts()),
        dst: filter.dst.map(|prefix| prefix.parts()),
        sport: filter.sport,
        dport: filter.dport,
    };
    encode_filter(&wanted)
}

fn reason(errno: Errno) -> String {
    match errno {
        Errno::EPERM => "not permitted: needs CAP_NET_ADMIN".to_string(),
        other => other.to_string(),
    }
}

fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => ADMIN_REMEDY,
        Errno::NOT_RECORDED => {
            "events are recorded by `ctlens watch` and `ctlens events`, with --record FILE"
        }
        _ => "see whether `conntrack -E` hears any",
    }
}
