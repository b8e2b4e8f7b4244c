//! One look at a namespace, from the first counter to the last socket: what `status`, `diagnose` and `record` share.

use std::collections::BTreeSet;

use crate::collect::{self, How, Needs, Plan, Presence, Tracking, Wish};
use crate::evidence::{Census, Counted, Evidence, Ports, Readings, TapLog, assemble};
use crate::kernel::Kernel;
use crate::model::{Gap, Snapshot, SocketState, TableLook};

/// The dump takes about so long per entry; entries must be older than the whole pass to count as held.
const SECS_PER_ENTRY: f64 = 3e-6;
/// The tap's length where nobody asked for one.
const TAP_SECS: f64 = 3.0;
/// Sockets whose process is looked for.
const MAX_OWNED: usize = 512;

/// What to look at, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub window_secs: f64,
    /// `None`: as long as needed, where it can tell something.
    pub tap_secs: Option<f64>,
    pub wish: Wish,
}

/// Why there can be no verdict at all: one line, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CannotLook {
    #[error("nf_conntrack is not loaded on this host: nothing is tracked, so nothing can be held by it")]
    NoConntrack,
    #[error(
        "this network namespace is not tracking: no rule in it uses connection tracking, so its empty table says \
         nothing; look into the namespace that forwards (--netns NAME)"
    )]
    NotTracking,
}

/// Notes go to stderr: progress and, with -v, reasons.
pub type Notes<'a> = dyn FnMut(&str) + 'a;

pub fn look(kernel: &mut dyn Kernel, ask: &Ask, notes: &mut Notes) -> Result<Evidence, CannotLook> {
    let presence = Presence::read(kernel);
    if !presence.conntrack {
        return Err(CannotLook::NoConntrack);
    }
    let began = kernel.now();
    let first = (ask.window_secs > 0.0).then(|| collect::counters(kernel, &presence));
    let mut gaps = Vec::new();
    let tap = listen(kernel, ask, &presence, &mut gaps);
    if ask.window_secs > 0.0 {
        let _ = kernel.listen(&[], began.plus_secs(ask.window_secs), &mut |_, _| {
            std::ops::ControlFlow::Continue(())
        });
    }
    let needs = Needs {
        sockets: true,
        addresses: true,
    };
    let snapshot = collect::snapshot(kernel, &presence, needs);
    let window_secs = first
        .as_ref()
        .map_or(0.0, |(moment, ..)| snapshot.taken.secs_since(*moment));
    if is_idle(&snapshot) && presence.net_admin && collect::tracking(kernel, &presence) == Tracking::No {
        return Err(CannotLook::NotTracking);
    }
    let (counted, table) = count(kernel, ask, &presence, &snapshot, tap.as_ref(), &mut gaps, notes);
    let ports = ports(kernel, &presence, &snapshot, &mut gaps);
    let owners = collect::owners(kernel, &wanted_inodes(&snapshot));
    if let Some((_, _, _, missed)) = &first {
        gaps.extend(missed.iter().cloned());
    }
    Ok(assemble(Readings {
        earlier: first.as_ref().map(|(_, stats, net, _)| (stats, net)),
        window_secs,
        snapshot: &snapshot,
        counted,
        look: table,
        tap: tap.map(|tap| tap.facts),
        ports,
        owners,
        gaps,
    }))
}

/// Nothing was ever counted here.
fn is_idle(snapshot: &Snapshot) -> bool {
    let quiet = snapshot.stats.is_none_or(|s| {
        let all = [
            s.found,
            s.invalid,
            s.insert,
            s.insert_failed,
            s.drop,
            s.early_drop,
            s.error,
            s.search_restart,
        ];
        all.iter().all(|n| n.unwrap_or(0) == 0)
    });
    snapshot.limits.count == Some(0) && quiet
}

/// The tap can tell something where SYNs come in: on a host that forwards, or that listens.
fn listen(kernel: &mut dyn Kernel, ask: &Ask, presence: &Presence, gaps: &mut Vec<Gap>) -> Option<TapLog> {
    let secs = ask.tap_secs.unwrap_or(TAP_SECS);
    if secs <= 0.0 {
        gaps.push(Gap::new(
            "tap",
            "switched off: whether remote clients still try cannot be told",
            "run it again with --tap 3s",
        ));
        return None;
    }
    if ask.tap_secs.is_none() && !forwards(kernel) && !has_listener(kernel, presence) {
        return None;
    }
    let mut log = TapLog::default();
    match collect::tap(kernel, secs, &mut |segment| log.add(segment)) {
        Ok(look) => {
            log.facts.secs = look.secs;
            log.facts.lost = look.lost;
            log.facts.stopped_early = look.stopped_early;
            if look.lost > 0 {
                let reason = format!("{} packets were lost for want of buffer", look.lost);
                gaps.push(Gap::new(
                    "tap",
                    reason,
                    "its silence is less certain: run it again with a shorter --tap",
                ));
            }
            Some(log)
        }
        Err(gap) => {
            gaps.push(gap);
            None
        }
    }
}

fn forwards(kernel: &mut dyn Kernel) -> bool {
    [
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv6/conf/all/forwarding",
    ]
    .iter()
    .any(|path| kernel.read_file(path).is_ok_and(|text| text.trim_ascii() == b"1"))
}

fn has_listener(kernel: &mut dyn Kernel, presence: &Presence) -> bool {
    let mut any = false;
    let _ = collect::sockets(kernel, presence, &[SocketState::Listen], &mut |socket| {
        any |= !socket.tuple.src.is_loopback();
    });
    any
}

fn count(
    kernel: &mut dyn Kernel,
    ask: &Ask,
    presence: &Presence,
    snapshot: &Snapshot,
    tap: Option<&TapLog>,
    gaps: &mut Vec<Gap>,
    notes: &mut Notes,
) -> (Option<Counted>, Option<TableLook>) {
    let plan = collect::plan(
        &snapshot.limits,
        &ask.wish,
        presence.net_admin,
        presence.root_files,
    );
    notes(&format!("reading the table: {}", plan.why));
    let expected = expected_secs(&plan);
    let mut census = Census::new(snapshot, tap);
    let now = kernel.now().plus_secs(expected);
    let passed = collect::pass(kernel, &plan, &snapshot.limits, &mut |flow| census.add(flow, now));
    match passed {
        Ok((look, gap)) => {
            gaps.extend(gap);
            let after = half_open_again(kernel, presence);
            (Some(census.finish(&look, after.as_deref())), Some(look))
        }
        Err(gap) => {
            gaps.push(gap);
            (None, None)
        }
    }
}

fn expected_secs(plan: &Plan) -> f64 {
    let entries = match plan.how {
        How::Sample(entries) => entries,
        _ => plan.expected.unwrap_or(0),
    };
    entries as f64 * SECS_PER_ENTRY
}

fn half_open_again(kernel: &mut dyn Kernel, presence: &Presence) -> Option<Vec<crate::model::Socket>> {
    let mut out = Vec::new();
    let states = [SocketState::SynSent, SocketState::SynRecv];
    collect::sockets(kernel, presence, &states, &mut |socket| out.push(*socket)).ok()?;
    Some(out)
}

fn ports(
    kernel: &mut dyn Kernel,
    presence: &Presence,
    snapshot: &Snapshot,
    gaps: &mut Vec<Gap>,
) -> Option<Vec<crate::evidence::PortUse>> {
    let mut ports = Ports::new(&snapshot.settings, snapshot.listeners.as_deref().unwrap_or(&[]))?;
    match collect::sockets(kernel, presence, &SocketState::ALL, &mut |socket| {
        ports.add(socket)
    }) {
        Ok(()) => Some(ports.finish()),
        Err(gap) => {
            gaps.push(gap);
            None
        }
    }
}

fn wanted_inodes(snapshot: &Snapshot) -> BTreeSet<u64> {
    let waiting = snapshot
        .half_open
        .iter()
        .flatten()
        .filter(|s| s.state == SocketState::SynSent);
    let full = snapshot.listeners.iter().flatten().filter(|s| s.recv_queue > 0);
    waiting
        .chain(full)
        .map(|s| s.inode)
        .filter(|inode| *inode != 0)
        .take(MAX_OWNED)
        .collect()
}
