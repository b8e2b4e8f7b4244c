//! One pass over the table, handing on each entry once, without allocating for it.

use std::ops::ControlFlow;

use super::ask::{ADMIN_REMEDY, Refusal, ask, refused};
use super::listing::{LOAD, listing};
use super::plan::{Closed, How, Plan};
use super::sources::number;
use super::tally::{Each, Failure, Passed, Tally, unread, whole};
use crate::kernel::{Channel, Errno, Kernel};
use crate::model::{Flow, Gap, Limits, TableLook, TableSource};
use crate::wire::ctnetlink::{DumpFilter, encode_dump, fill_flow, is_flow};

const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// Walks the table as planned. The gap, if any, tells what the pass does not show.
pub fn pass(
    kernel: &mut dyn Kernel,
    plan: &Plan,
    limits: &Limits,
    each: &mut Each<'_>,
) -> Result<Passed, Gap> {
    let everything = DumpFilter::default();
    let passed = match &plan.how {
        How::Refuse => Err(Failure::of(Gap::new(
            "ctnetlink",
            plan.why.clone(),
            remedy_of_refusal(plan),
        ))),
        How::Procfs => listing(kernel, plan, limits, each),
        How::Full => dump(kernel, &everything, None, limits, each),
        How::Sample(entries) => dump(kernel, &everything, Some(*entries), limits, each),
        How::Filtered(filter) => dump(kernel, filter, None, limits, each),
    };
    let other = match passed {
        // What recorded it may have planned otherwise: it had other options, or was another version.
        Err(failure) if failure.not_recorded => match plan.how {
            How::Procfs => dump(kernel, &everything, None, limits, each),
            _ => listing(kernel, plan, limits, each),
        }
        .map_err(|again| if again.not_recorded { failure } else { again }),
        other => other,
    };
    other.map_err(|failure| failure.gap)
}

fn remedy_of_refusal(plan: &Plan) -> String {
    match plan.closed {
        Some(Closed::NotLoaded) => format!("{LOAD}; or run as root, which may read /proc/net/nf_conntrack"),
        Some(Closed::Sparse) => format!(
            "{ADMIN_REMEDY}, which may read /proc/net/nf_conntrack; --even-if-it-stalls dumps all the same, and may \
             hold up packets for {:.0} ms",
            plan.worst_fill_ms
        ),
        Some(Closed::NotPermitted) | None => ADMIN_REMEDY.to_string(),
    }
}

fn dump(
    kernel: &mut dyn Kernel,
    filter: &DumpFilter,
    at_most: Option<u64>,
    limits: &Limits,
    each: &mut Each<'_>,
) -> Result<Passed, Failure> {
    let started = kernel.now();
    let mut tally = Tally::default();
    let mut flow = Flow::default();
    let mut stopped = false;
    let wider = if filter.is_empty() {
        Vec::new()
    } else {
        vec![encode_dump(&DumpFilter::default())]
    };
    let asked = ask(
        kernel,
        Channel::Netfilter,
        encode_dump(filter),
        wider,
        true,
        &mut |message| {
            if !is_flow(message.kind) {
                return ControlFlow::Continue(());
            }
            let decoded = fill_flow(message.payload, &mut flow).is_ok();
            if tally.take(decoded.then_some(&flow), each).is_break() {
                return ControlFlow::Break(());
            }
            if at_most.is_some_and(|most| tally.dumped >= most) {
                stopped = true;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        },
    );
    // A filter that this kernel does not take, whatever the reason, is ours to apply.
    if let Err(Refusal::Refused(Errno::EINVAL | Errno::EOPNOTSUPP)) = asked
        && !filter.is_empty()
    {
        return dump(kernel, &DumpFilter::default(), at_most, limits, each);
    }
    let ended = kernel.now();
    stopped |= asked == Err(Refusal::Failed(Errno::CUT_SHORT));
    let gap = how_it_ended(asked)?.or(unread("ctnetlink", tally.malformed));
    let sampled_of = whole(stopped, limits, tally.dumped).map_err(Failure::of)?;
    let count_after = sampled_of.and_then(|_| number(kernel, COUNT));
    let look = TableLook {
        source: TableSource::Ctnetlink,
        started,
        ended,
        dumped: tally.dumped,
        sampled_of,
        count_after,
        duplicates: tally.duplicates,
        malformed: tally.malformed,
    };
    Ok((look, gap))
}

/// A pass that broke off has shown a part, which would be taken for the whole; a part that was recorded as one is a gap.
fn how_it_ended(asked: Result<(), Refusal>) -> Result<Option<Gap>, Failure> {
    match asked {
        Ok(()) => Ok(None),
        Err(Refusal::Failed(Errno::CUT_SHORT)) => Ok(Some(Gap::new(
            "ctnetlink",
            "the recording holds only a part of the table",
            "record again with --exact",
        ))),
        // Each entry that came is a real one. No ctnetlink says so yet; one that did would say it on every busy host.
        Err(Refusal::Interrupted) => Ok(Some(Gap::new(
            "ctnetlink",
            "the table changed while it was read: entries may be missing",
            "run it again",
        ))),
        Err(refusal) => Err(Failure {
            not_recorded: refusal == Refusal::Failed(Errno::NOT_RECORDED),
            gap: refused("ctnetlink", refusal, "run it again"),
        }),
    }
}
