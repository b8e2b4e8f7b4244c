//! How long a dump would stall packets, and how long a pass over /proc takes, by the table's sizes.

use crate::model::Limits;

/// The count includes expired entries that no dump shows: 2,645 were counted where 1,005 were left. So at least one in
/// so many is taken to be alive; a table of which all has expired at once lasts until the next gc only.
const COUNTED_PER_LIVE: u64 = 4;
/// Namespaces that may each be as full as `nf_conntrack_max` lets them, where the slab's figure cannot be read.
const FEARED_NAMESPACES: u64 = 4;
/// The most that nf_conntrack_max is by default per bucket (4.4 to 5.13, nf_conntrack_init_start), taken where there
/// is no limit.
const FEARED_PER_BUCKET: u64 = 4;
/// Entries of about 240 bytes in a datagram of 32 KiB.
const ENTRIES_PER_FILL: f64 = 135.0;
// Measured on 6.18: a walk over 262,144 empty buckets takes 5 ms, over a million entries 270 ms.
const BUCKET_MS: f64 = 20e-6;
const NODE_MS: f64 = 130e-6;
/// The kernel's default on hosts with more than 4 GB (nf_conntrack_init_start), where the real size cannot be read.
const UNKNOWN_BUCKETS: u64 = 262_144;
/// Each entry is linked into two chains, one per direction.
const NODES_PER_ENTRY: f64 = 2.0;
/// Measured: 2.3 to 3 s for a million entries.
const SECS_PER_ENTRY: f64 = 3e-6;
/// A seq_file gives a page a read; a line of /proc/net/nf_conntrack has about so many bytes.
const PROC_READ_BYTES: f64 = 4096.0;
const PROC_LINE_BYTES: f64 = 180.0;

/// `matches`: by the count, which expired entries are in.
pub fn worst_fill_ms(limits: &Limits, matches: u64) -> f64 {
    let walk = walk_ms(limits);
    let live = (matches / COUNTED_PER_LIVE).max(1);
    // The whole walk, where everything fits into one datagram.
    (walk * ENTRIES_PER_FILL / live as f64).min(walk)
}

/// One walk over the hash that all namespaces share.
pub fn walk_ms(limits: &Limits) -> f64 {
    let own = limits.count.unwrap_or(0);
    // Not knowing means fearing: the hash may be as large as the limit, and as full as a few namespaces can make it. The
    // limit holds for each of them alone, and 0 is none.
    let max = limits.max.filter(|max| *max > 0);
    let buckets = limits
        .buckets
        .unwrap_or(UNKNOWN_BUCKETS.max(max.unwrap_or(0)).max(own));
    let feared = max.unwrap_or(buckets.saturating_mul(FEARED_PER_BUCKET));
    let host = limits
        .host_entries
        .unwrap_or(feared.saturating_mul(FEARED_NAMESPACES))
        .max(own);
    buckets as f64 * BUCKET_MS + host as f64 * NODES_PER_ENTRY * NODE_MS
}

/// Seconds that a pass over /proc/net/nf_conntrack takes. Where each read walks the hash anew, that is half of it per
/// read on average.
pub fn proc_secs(limits: &Limits, rewalks: bool) -> f64 {
    let own = limits.count.unwrap_or(0);
    let reads = (own as f64 * PROC_LINE_BYTES / PROC_READ_BYTES).ceil();
    let walks = if rewalks { (reads / 2.0).max(1.0) } else { 1.0 };
    walks * walk_ms(limits) / 1000.0 + dump_secs(own)
}

/// Seconds that a dump of so many entries takes.
pub fn dump_secs(entries: u64) -> f64 {
    entries as f64 * SECS_PER_ENTRY
}
