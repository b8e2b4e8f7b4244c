//! The entries that are held, one by one: only such of which it is certain that nobody waits behind them.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::journal::Journal;
use crate::collect::{self, Needs, Presence, Wish};
use crate::evidence::{LAST_SYN_SECS, may_renew_syn_sent};
use crate::kernel::{Change, Errno, Kernel};
use crate::model::{Flow, Socket, SocketState, TcpState, Tuple};
use crate::render::Flushed;

/// So many are taken at once; what is over stays for the next time.
pub const MAX_HELD: usize = 1_000_000;
/// No server with 5 retries sends a SYN/ACK after this.
const LAST_SYN_ACK_SECS: u32 = 31;
/// Sockets are read anew before so many are touched: an application may take a tuple again at any time, and a new SYN
/// leaves the entry of the old one as it is.
const BATCH: usize = 1_024;
/// Younger ones may belong to a socket that was not there yet.
const YOUNG_SECS: u32 = 2;

/// What was found.
#[derive(Default)]
pub struct Held {
    pub flows: Vec<Flow>,
    /// There are more than these.
    pub more: bool,
}

/// Half-open entries whose originator is gone. `local`: addresses of this namespace.
struct Telling {
    local: HashSet<IpAddr>,
    sockets: HashSet<Tuple>,
    requests: HashSet<Tuple>,
    syn_renews: bool,
}

impl Telling {
    fn is_held(&self, flow: &Flow, since_secs: Option<u32>) -> bool {
        let older = |secs: u32| since_secs.is_some_and(|since| since > secs);
        let starts_here = self.local.contains(&flow.orig.src) || flow.orig.src.is_loopback();
        let ends_here = self.local.contains(&flow.reply.src);
        match flow.tcp_state {
            Some(TcpState::SynSent) if starts_here => older(YOUNG_SECS) && !self.sockets.contains(&flow.orig),
            Some(TcpState::SynSent) => older(LAST_SYN_SECS as u32 + 1) && !self.syn_renews,
            Some(TcpState::SynRecv) if ends_here => older(YOUNG_SECS) && !self.requests.contains(&flow.reply),
            // Its own socket would have said so.
            Some(TcpState::SynRecv) if starts_here => older(YOUNG_SECS) && !self.sockets.contains(&flow.orig),
            Some(TcpState::SynRecv) => older(LAST_SYN_ACK_SECS + 1),
            _ => false,
        }
    }
}

/// Reads the table and the sockets, before and after.
pub fn held(kernel: &mut dyn Kernel) -> anyhow::Result<Held> {
    let presence = Presence::read(kernel);
    let needs = Needs {
        sockets: true,
        addresses: true,
    };
    let snapshot = collect::snapshot(kernel, &presence, needs);
    let (Some(addresses), Some(before)) = (&snapshot.addresses, &snapshot.half_open) else {
        anyhow::bail!("the addresses or sockets of this host could not be read: nobody is known to be gone");
    };
    let ruleset = collect::ruleset(kernel, &presence, true).ok();
    anyhow::ensure!(
        collect::flow_policies(kernel, &presence, ruleset.as_ref()).is_none(),
        "some flows may have timeouts of their own here: how old entries are is not known"
    );
    let wish = Wish {
        exact: true,
        ..Wish::default()
    };
    let plan = collect::plan(&snapshot.limits, &wish, presence.doors());
    let mut candidates: Vec<Flow> = Vec::new();
    let passed = collect::pass(kernel, &plan, &snapshot.limits, &mut |flow| {
        if matches!(flow.tcp_state, Some(TcpState::SynSent | TcpState::SynRecv))
            && candidates.len() <= MAX_HELD
        {
            candidates.push(*flow);
        }
        ControlFlow::Continue(())
    });
    passed.map_err(|gap| anyhow::anyhow!("reading the table: {}; {}", gap.reason, gap.remedy))?;
    let mut sockets = waiting(kernel, &presence)?;
    sockets.extend(before.iter().copied());
    let telling = Telling {
        local: addresses.iter().copied().collect(),
        sockets: tuples(&sockets, SocketState::SynSent),
        requests: tuples(&sockets, SocketState::SynRecv),
        syn_renews: snapshot.host.kernel.as_deref().is_none_or(may_renew_syn_sent),
    };
    candidates.retain(|flow| telling.is_held(flow, snapshot.timeouts.since_set_secs(flow)));
    let more = candidates.len() > MAX_HELD;
    candidates.truncate(MAX_HELD);
    Ok(Held {
        flows: candidates,
        more,
    })
}

/// Sockets in the middle of a handshake.
fn waiting(kernel: &mut dyn Kernel, presence: &Presence) -> anyhow::Result<Vec<Socket>> {
    let mut out = Vec::new();
    let states = [SocketState::SynSent, SocketState::SynRecv];
    collect::sockets(kernel, presence, &states, &mut |socket| out.push(*socket))
        .map_err(|gap| anyhow::anyhow!("reading the sockets: {}; {}", gap.reason, gap.remedy))?;
    Ok(out)
}

fn tuples(sockets: &[Socket], state: SocketState) -> HashSet<Tuple> {
    let of = sockets.iter().filter(|socket| socket.state == state);
    of.map(|socket| socket.tuple).collect()
}

/// Deletes each, or lets it expire in so many seconds, if it still is what it was and still nobody waits for it.
pub fn flush<Host: Kernel + Change>(
    host: &mut Host,
    all: &[Flow],
    shorten_secs: Option<u32>,
    journal: &mut Journal,
    stopped: &AtomicBool,
) -> anyhow::Result<Flushed> {
    let what = shorten_secs.map_or("delete held".to_string(), |secs| {
        format!("shorten held to {secs} s")
    });
    let presence = Presence::read(host);
    journal.log(&what, "entries", (&all.len().to_string(), ""), "")?;
    let mut out = Flushed {
        held: all.len() as u64,
        ..Flushed::default()
    };
    let mut ended = Ok(());
    for batch in all.chunks(BATCH) {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let sockets = match waiting(host, &presence) {
            Ok(sockets) => sockets,
            Err(error) => {
                ended = Err(error);
                break;
            }
        };
        let (sent, asked) = (
            tuples(&sockets, SocketState::SynSent),
            tuples(&sockets, SocketState::SynRecv),
        );
        for flow in batch {
            let taken_again = sent.contains(&flow.orig) || asked.contains(&flow.reply);
            let done = match taken_again {
                true => Err(Errno::ENOENT),
                false => end_one(host, flow, shorten_secs),
            };
            match done {
                Ok(()) => out.done += 1,
                Err(Errno::ENOENT) => out.changed += 1,
                Err(_) => out.refused += 1,
            }
        }
    }
    out.left = out.held - out.done - out.changed - out.refused;
    let said = format!(
        "{} done, {} changed meanwhile, {} refused, {} not come to",
        out.done, out.changed, out.refused, out.left
    );
    journal.log(&what, "entries", (&all.len().to_string(), ""), &said)?;
    ended.map(|()| out)
}

/// ENOENT where it is not that entry any more.
fn end_one(change: &mut dyn Change, flow: &Flow, shorten_secs: Option<u32>) -> Result<(), Errno> {
    let now = collect::entry_now(change, flow)?;
    // An entry from /proc has no id; a deadline that moved tells of a packet.
    let same = now.tcp_state == flow.tcp_state
        && flow.id.is_none_or(|id| now.id == Some(id))
        && now.timeout_secs <= flow.timeout_secs;
    match shorten_secs {
        _ if !same => Err(Errno::ENOENT),
        Some(secs) if now.timeout_secs.is_none_or(|left| left <= secs) => Err(Errno::ENOENT),
        Some(secs) => collect::shorten_entry(change, &now, secs),
        None => collect::delete_entry(change, &now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::proto;

    #[test]
    fn only_who_is_certainly_gone_is_held() {
        let flow = |src: &str, dst: &str, state| {
            let mut flow = Flow {
                proto: proto::TCP,
                tcp_state: Some(state),
                ..Flow::default()
            };
            flow.orig.src = src.parse().expect("an address");
            flow.orig.dst = dst.parse().expect("an address");
            flow.reply = flow.orig.inverted();
            flow
        };
        use TcpState::{Established, SynRecv, SynSent};
        let waited_for = flow("10.0.0.1", "10.0.0.9", SynSent);
        let given_up = Flow {
            orig: Tuple {
                sport: 5,
                ..waited_for.orig
            },
            ..waited_for
        };
        let telling = Telling {
            local: ["10.0.0.1".parse().expect("an address")].into(),
            sockets: [waited_for.orig].into(),
            requests: HashSet::new(),
            syn_renews: false,
        };
        assert!(!telling.is_held(&waited_for, Some(100)));
        assert!(telling.is_held(&given_up, Some(3)) && !telling.is_held(&given_up, Some(1)));
        assert!(!telling.is_held(&given_up, None));
        let forwarded = flow("10.7.0.1", "10.0.0.9", SynSent);
        assert!(telling.is_held(&forwarded, Some(69)) && !telling.is_held(&forwarded, Some(60)));
        let asked = flow("10.7.0.1", "10.0.0.1", SynRecv);
        assert!(telling.is_held(&asked, Some(3)) && !telling.is_held(&asked, Some(2)));
        assert!(!telling.is_held(&flow("10.0.0.1", "10.0.0.9", Established), Some(9_999)));
    }
}
