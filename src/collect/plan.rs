//! How to read the table without harm: the kernel fills each datagram of a dump with softirqs off, so a dump that
//! matches little of the hash stalls the packets of its CPU.

use crate::model::Limits;
use crate::wire::ctnetlink::DumpFilter;

/// Larger tables are sampled unless the user wants them whole.
pub const SAMPLE_ABOVE: u64 = 100_000;
const SAMPLE_ENTRIES: u64 = 20_000;
/// No datagram may take longer to fill than this.
pub const MAX_FILL_MS: f64 = 5.0;
/// Entries of about 240 bytes in a datagram of 32 KiB.
const ENTRIES_PER_FILL: f64 = 135.0;
// Measured on 6.18: a walk over 262,144 empty buckets takes 5 ms, over a million entries 270 ms.
const BUCKET_MS: f64 = 20e-6;
const NODE_MS: f64 = 130e-6;
/// The kernel's default on hosts with more than 4 GB (nf_conntrack_init_start), where the real size cannot be read.
const UNKNOWN_BUCKETS: u64 = 262_144;
/// Each entry is linked into two chains, one per direction.
const NODES_PER_ENTRY: f64 = 2.0;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// /proc/net/nf_conntrack: walks under RCU and stalls nobody.
    Procfs,
    /// The whole table over ctnetlink.
    Full,
    /// So many entries of an unfiltered dump, then close it.
    Sample(u64),
    /// A dump from which the kernel leaves out what is not wanted.
    Filtered(DumpFilter),
    /// Nothing that is allowed would be harmless.
    Refuse,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub how: How,
    pub why: String,
    /// The longest that one datagram may take to fill.
    pub worst_fill_ms: f64,
    /// Entries that the pass is expected to meet.
    pub expected: Option<u64>,
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    pub exact: bool,
    pub sample: Option<u64>,
    /// The command needs every entry, whatever the size (`list`).
    pub every: bool,
}

/// `net_admin`: ctnetlink will answer. `root_proc`: /proc/net/nf_conntrack can be read.
pub fn plan(limits: &Limits, wish: &Wish, net_admin: bool, root_proc: bool) -> Plan {
    let own = limits.count;
    let fill = worst_fill_ms(limits, own.unwrap_or(0));
    let done = |how, why: String| Plan {
        how,
        why,
        worst_fill_ms: fill,
        expected: own,
    };
    let counted = own.map_or("an unknown number of".to_string(), |n| n.to_string());
    if !net_admin {
        return if root_proc {
            done(
                How::Procfs,
                "ctnetlink is not permitted; /proc/net/nf_conntrack is".into(),
            )
        } else {
            done(
                How::Refuse,
                "ctnetlink needs CAP_NET_ADMIN, /proc/net/nf_conntrack needs root".into(),
            )
        };
    }
    if wish.exact {
        let why = format!("--exact: {counted} entries over ctnetlink, worst fill {fill:.1} ms");
        return done(How::Full, why);
    }
    if fill > MAX_FILL_MS {
        let why = format!(
            "{counted} own entries in a hash that takes {:.0} ms to walk: a dump could stall packets for {fill:.0} ms",
            walk_ms(limits)
        );
        return if root_proc {
            done(How::Procfs, why)
        } else {
            done(How::Refuse, why)
        };
    }
    let large = own.is_some_and(|own| own > SAMPLE_ABOVE);
    match (wish.sample, own) {
        (Some(wanted), Some(own)) if wanted < own => {
            done(How::Sample(wanted), format!("--sample {wanted} of {own} entries"))
        }
        (None, Some(own)) if large && !wish.every => done(
            How::Sample(SAMPLE_ENTRIES),
            format!("{own} entries are over {SAMPLE_ABOVE}: a sample of {SAMPLE_ENTRIES}; --exact reads all"),
        ),
        _ => done(
            How::Full,
            format!("{counted} entries over ctnetlink, worst fill {fill:.1} ms"),
        ),
    }
}

/// Whether the kernel shall filter: only where what is left fills datagrams fast enough. `hits` of `looked_at` entries
/// of an early sample matched.
pub fn push_filter(limits: &Limits, filter: DumpFilter, hits: u64, looked_at: u64) -> Plan {
    let own = limits.count.unwrap_or(0);
    let expected = if looked_at == 0 {
        0
    } else {
        (own as f64 * hits as f64 / looked_at as f64) as u64
    };
    let fill = worst_fill_ms(limits, expected);
    let harmless = fill <= MAX_FILL_MS && !filter.is_empty();
    let verb = if harmless {
        "the kernel filters"
    } else {
        "filtered here"
    };
    let why = format!(
        "{hits} of {looked_at} entries match: {verb}, worst fill {fill:.1} ms (limit {MAX_FILL_MS} ms)"
    );
    let how = if harmless {
        How::Filtered(filter)
    } else {
        How::Full
    };
    let worst_fill_ms = if harmless {
        fill
    } else {
        worst_fill_ms(limits, own)
    };
    Plan {
        how,
        why,
        worst_fill_ms,
        expected: Some(expected),
    }
}

fn worst_fill_ms(limits: &Limits, matches: u64) -> f64 {
    let walk = walk_ms(limits);
    // The whole walk, where everything fits into one datagram.
    (walk * ENTRIES_PER_FILL / (matches.max(1) as f64)).min(walk)
}

/// One walk over the hash that all namespaces share.
fn walk_ms(limits: &Limits) -> f64 {
    let own = limits.count.unwrap_or(0);
    // Not knowing means fearing: it may be as large as by default, and as full as one namespace can make it.
    let buckets = limits.buckets.unwrap_or(UNKNOWN_BUCKETS);
    let host = limits.host_entries.or(limits.max).unwrap_or(buckets).max(own);
    buckets as f64 * BUCKET_MS + host as f64 * NODES_PER_ENTRY * NODE_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(own: u64, host: Option<u64>) -> Limits {
        Limits {
            count: Some(own),
            max: Some(1 << 20),
            buckets: Some(1 << 18),
            host_entries: host,
        }
    }

    fn how(limits: &Limits, wish: Wish) -> How {
        plan(limits, &wish, true, true).how
    }

    #[test]
    fn few_entries_in_a_full_hash_are_read_from_proc() {
        assert_eq!(how(&limits(40, Some(1_000_000)), Wish::default()), How::Procfs);
        assert_eq!(how(&limits(5_000, Some(1_000_000)), Wish::default()), How::Procfs);
        assert_eq!(how(&limits(10_000, Some(1_000_000)), Wish::default()), How::Full);
        // Not knowing the other namespaces means fearing them.
        assert_eq!(how(&limits(40, None), Wish::default()), How::Procfs);
        let unreadable = plan(&limits(40, None), &Wish::default(), true, false);
        assert_eq!(unreadable.how, How::Refuse);
        let forced = plan(
            &limits(40, None),
            &Wish {
                exact: true,
                ..Wish::default()
            },
            true,
            false,
        );
        assert_eq!(forced.how, How::Full);
    }

    #[test]
    fn nothing_known_of_the_hash_means_fearing_it() {
        let nothing = Limits::default();
        assert_eq!(plan(&nothing, &Wish::default(), true, true).how, How::Procfs);
        assert_eq!(plan(&nothing, &Wish::default(), true, false).how, How::Refuse);
        let few = Limits {
            count: Some(40),
            ..nothing
        };
        assert_eq!(plan(&few, &Wish::default(), true, false).how, How::Refuse);
    }

    #[test]
    fn large_tables_are_sampled_unless_wanted_whole() {
        let large = limits(1_000_000, Some(1_000_000));
        assert_eq!(how(&large, Wish::default()), How::Sample(SAMPLE_ENTRIES));
        assert_eq!(
            how(
                &large,
                Wish {
                    sample: Some(500),
                    ..Wish::default()
                }
            ),
            How::Sample(500)
        );
        assert_eq!(
            how(
                &large,
                Wish {
                    exact: true,
                    ..Wish::default()
                }
            ),
            How::Full
        );
        assert_eq!(
            how(
                &large,
                Wish {
                    every: true,
                    ..Wish::default()
                }
            ),
            How::Full
        );
        assert_eq!(how(&limits(50_000, Some(50_000)), Wish::default()), How::Full);
    }

    #[test]
    fn nothing_is_asked_without_privilege() {
        let got = plan(&limits(50_000, Some(50_000)), &Wish::default(), false, false);
        assert_eq!(got.how, How::Refuse);
    }

    #[test]
    fn a_filter_goes_down_only_where_it_matches_enough() {
        let large = limits(1_000_000, Some(1_000_000));
        let filter = DumpFilter {
            status: Some((0, 2)),
            ..DumpFilter::default()
        };
        assert!(matches!(
            push_filter(&large, filter.clone(), 2_000, 5_000).how,
            How::Filtered(_)
        ));
        assert_eq!(push_filter(&large, filter.clone(), 0, 5_000).how, How::Full);
        assert_eq!(push_filter(&large, filter, 20, 5_000).how, How::Full);
        assert_eq!(
            push_filter(&large, DumpFilter::default(), 5_000, 5_000).how,
            How::Full
        );
    }
}
