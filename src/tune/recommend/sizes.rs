//! How large the table must be, and what that takes of memory.

use serde::Serialize;

use super::proposal::count;
use crate::evidence::{Evidence, Table};

/// A table this full still takes what comes while somebody wakes up.
const COMFORTABLE: f64 = 0.8;
/// Limits are rounded up to a multiple of this.
const STEP: f64 = 65_536.0;
/// A pointer.
const BUCKET_BYTES: f64 = 8.0;
/// Where the slab's own size is not known: sizeof(struct nf_conn) on x86-64.
const ENTRY_BYTES: f64 = 256.0;
/// What an entry may have beside it, in one allocation of kmalloc: NAT, accounting, timestamp, timeout, labels
/// (net/netfilter/nf_conntrack_extend.c).
const EXTENSION_BYTES: f64 = 128.0;

/// The limit in force, and the one that the traffic asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Size {
    pub max: Option<u64>,
    pub buckets: Option<u64>,
    /// Entries in the table, expired ones not yet collected included.
    pub entries: Option<u64>,
    /// Entries in the long run at the observed rate: under today's timeouts, and under the recommended ones.
    pub heading_for: f64,
    pub recommended_for: f64,
    /// The same at `headroom` times the rate.
    pub heading_for_headroom: f64,
    pub recommended_for_headroom: f64,
    /// Where today's is too small.
    pub recommended_max: Option<u64>,
    pub recommended_buckets: Option<u64>,
    /// Bytes for an entry, extensions included; by the kernel's own figures where they could be read.
    pub entry_bytes: f64,
    pub measured_bytes: bool,
    /// Kernel memory of a full table of the recommended size.
    pub memory_bytes: f64,
    pub because: String,
}

/// Entries under today's timeouts and under the recommended ones, at the observed rate.
pub fn size(evidence: &Evidence, (today, then): (f64, f64), headroom: f64) -> Size {
    let table = evidence.table.clone().unwrap_or_default();
    let needed = then * headroom;
    let too_small = table
        .max
        .is_some_and(|max| max > 0 && needed > COMFORTABLE * max as f64);
    let wanted = ((needed / COMFORTABLE / STEP).ceil() * STEP) as u64;
    let recommended_max = too_small.then_some(wanted);
    let max = recommended_max.or(table.max).unwrap_or(0);
    let recommended_buckets = buckets(evidence, &table, max);
    let entry_bytes = evidence.entry_bytes.unwrap_or(ENTRY_BYTES) + EXTENSION_BYTES;
    let rows = recommended_buckets.or(table.buckets).unwrap_or(max);
    Size {
        max: table.max,
        buckets: table.buckets,
        entries: table.count,
        heading_for: today,
        recommended_for: then,
        heading_for_headroom: today * headroom,
        recommended_for_headroom: needed,
        recommended_max,
        recommended_buckets,
        entry_bytes,
        measured_bytes: evidence.entry_bytes.is_some(),
        memory_bytes: max as f64 * entry_bytes + rows as f64 * BUCKET_BYTES,
        because: match (table.max, too_small) {
            (None, _) => "nf_conntrack_max was not read".to_string(),
            (Some(0), _) => "there is no limit: a flood takes all of the kernel's memory".to_string(),
            (Some(max), true) => format!(
                "{headroom} times the observed rate needs {} entries, and {} must stay below {:.0} % of the limit",
                count(needed as i64),
                count(max),
                COMFORTABLE * 100.0
            ),
            (Some(max), false) => format!(
                "{headroom} times the observed rate needs {} entries, {:.1} % of the limit",
                count(needed as i64),
                needed / max as f64 * 100.0
            ),
        },
    }
}

/// As many as entries, which is what kernels since 5.15 do by themselves; all namespaces share them.
fn buckets(evidence: &Evidence, table: &Table, max: u64) -> Option<u64> {
    let has = table.buckets?;
    let all = evidence.host_entries.unwrap_or(0).max(max);
    (all > has.saturating_mul(2)).then_some(all)
}
