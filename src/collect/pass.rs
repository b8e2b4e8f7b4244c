//! One pass over the table, handing on each entry once, without allocating for it.

use std::net::IpAddr;
use std::ops::ControlFlow;

use super::ask::{Refusal, ask};
use super::plan::{How, Plan};
use super::sources::{ADMIN_REMEDY, refused};
use crate::kernel::{Channel, Errno, Kernel};
use crate::model::{Flow, Gap, Limits, TableLook, TableSource, Tuple};
use crate::wire::ctnetlink::{DumpFilter, decode_flow, encode_dump, is_flow};
use crate::wire::procfs;

const PROC: &str = "/proc/net/nf_conntrack";
/// A dump resumes within a bucket, so an entry can come again just after the end of a datagram. Buckets hold at most
/// 80 entries; so many are remembered.
const DEDUPE_WINDOW: usize = 64;

/// Takes each entry; `Break` = enough, and the pass ends there.
pub type Each<'a> = dyn FnMut(&Flow) -> ControlFlow<()> + Send + 'a;

/// Walks the table as planned. The gap, if any, tells what the pass does not show.
pub fn pass(
    kernel: &mut dyn Kernel,
    plan: &Plan,
    limits: &Limits,
    each: &mut Each<'_>,
) -> Result<(TableLook, Option<Gap>), Gap> {
    match &plan.how {
        How::Refuse => Err(Gap::new("ctnetlink", plan.why.clone(), remedy_of_refusal(plan))),
        How::Procfs => from_proc(kernel, each),
        How::Full => dump(kernel, &DumpFilter::default(), None, limits, each),
        How::Sample(entries) => dump(kernel, &DumpFilter::default(), Some(*entries), limits, each),
        How::Filtered(filter) => dump(kernel, filter, None, limits, each),
    }
}

fn remedy_of_refusal(plan: &Plan) -> String {
    if plan.why.contains("CAP_NET_ADMIN") {
        ADMIN_REMEDY.to_string()
    } else {
        "run as root, which may read /proc/net/nf_conntrack; --exact dumps all the same".to_string()
    }
}

fn from_proc(kernel: &mut dyn Kernel, each: &mut Each<'_>) -> Result<(TableLook, Option<Gap>), Gap> {
    let started = kernel.now();
    let bytes = kernel.read_file(PROC).map_err(|errno| {
        let remedy = if errno == Errno::ENOENT {
            "this kernel has no CONFIG_NF_CONNTRACK_PROCFS: --exact dumps over ctnetlink"
        } else {
            "run as root"
        };
        Gap::new(PROC, errno.to_string(), remedy)
    })?;
    let (mut dumped, mut malformed) = (0, 0);
    for line in String::from_utf8_lossy(&bytes).lines() {
        match procfs::flow_line(line) {
            Ok(flow) => {
                dumped += 1;
                if each(&flow).is_break() {
                    break;
                }
            }
            Err(_) => malformed += 1,
        }
    }
    let look = TableLook {
        source: TableSource::Procfs,
        started,
        ended: kernel.now(),
        dumped,
        sampled_of: None,
        duplicates: 0,
        malformed,
    };
    Ok((look, None))
}

fn dump(
    kernel: &mut dyn Kernel,
    filter: &DumpFilter,
    at_most: Option<u64>,
    limits: &Limits,
    each: &mut Each<'_>,
) -> Result<(TableLook, Option<Gap>), Gap> {
    let started = kernel.now();
    let (mut dumped, mut malformed) = (0u64, 0u64);
    let mut seen = Window::default();
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
            let Ok(flow) = decode_flow(message.payload) else {
                malformed += 1;
                return ControlFlow::Continue(());
            };
            if seen.again(&flow) {
                return ControlFlow::Continue(());
            }
            dumped += 1;
            if each(&flow).is_break() {
                return ControlFlow::Break(());
            }
            if at_most.is_some_and(|most| dumped >= most) {
                stopped = true;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        },
    );
    let ended = kernel.now();
    let gap = how_it_ended(asked)?;
    stopped |= gap.is_some();
    let sampled_of = limits.count.filter(|_| stopped).map(|count| count.max(dumped));
    let look = TableLook {
        source: TableSource::Ctnetlink,
        started,
        ended,
        dumped,
        sampled_of,
        duplicates: seen.duplicates,
        malformed,
    };
    Ok((look, gap))
}

/// A pass that broke off has shown a part, which would be taken for the whole; a part that was recorded as one is a gap.
fn how_it_ended(asked: Result<(), Refusal>) -> Result<Option<Gap>, Gap> {
    match asked {
        Ok(()) => Ok(None),
        Err(Refusal::Failed(Errno::CUT_SHORT)) => Ok(Some(Gap::new(
            "ctnetlink",
            "the recording holds only a part of the table",
            "record again with --exact",
        ))),
        Err(refusal) => Err(refused("ctnetlink", refusal, "run it again")),
    }
}

/// The last entries seen, to know one that comes again.
struct Window {
    marks: [u64; DEDUPE_WINDOW],
    next: usize,
    duplicates: u64,
}

impl Default for Window {
    fn default() -> Window {
        Window {
            marks: [0; DEDUPE_WINDOW],
            next: 0,
            duplicates: 0,
        }
    }
}

impl Window {
    #[inline]
    fn again(&mut self, flow: &Flow) -> bool {
        let mark = mark(flow);
        if self.marks.contains(&mark) {
            self.duplicates += 1;
            return true;
        }
        self.marks[self.next] = mark;
        self.next = (self.next + 1) % DEDUPE_WINDOW;
        false
    }
}

/// CTA_ID, a keyed hash of the entry's place and tuple, mixed with the tuple's own bits.
fn mark(flow: &Flow) -> u64 {
    let Tuple {
        src,
        dst,
        sport,
        dport,
    } = flow.orig;
    let ports = u64::from(sport) << 16 | u64::from(dport);
    let id = u64::from(flow.id.unwrap_or(0)) << 32;
    let mixed = (id | ports)
        .wrapping_add(low_bits(src).rotate_left(7))
        .wrapping_add(low_bits(dst).rotate_left(29));
    (mixed ^ u64::from(flow.zone.unwrap_or(0)) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

fn low_bits(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(four) => u64::from(u32::from(four)),
        IpAddr::V6(six) => {
            let bits = u128::from(six);
            (bits as u64) ^ (bits >> 64) as u64
        }
    }
}
