//! How to read the table without harm: the kernel fills each datagram of a dump with softirqs off, so a dump that
//! matches little of the hash stalls the packets of its CPU.

use super::stall::{dump_secs, proc_secs, walk_ms, worst_fill_ms};
use crate::model::{Estimate, Limits};
use crate::wire::ctnetlink::DumpFilter;

/// Larger tables are sampled unless the user wants them whole.
pub const SAMPLE_ABOVE: u64 = 100_000;
const SAMPLE_ENTRIES: u64 = 20_000;
/// No datagram may take longer to fill than this.
pub const MAX_FILL_MS: f64 = 5.0;
/// No pass over /proc/net/nf_conntrack takes longer; what came by then is a sample.
pub const MAX_PROC_SECS: f64 = 10.0;

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
    /// How long it is expected to take.
    pub expected_secs: f64,
    /// Why the table is not dumped over ctnetlink, where it is not.
    pub closed: Option<Closed>,
}

/// What stands between this process and a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// No CAP_NET_ADMIN.
    NotPermitted,
    /// nf_conntrack_netlink: asking would load it.
    NotLoaded,
    /// It would stall packets.
    Sparse,
}

/// Which ways to the table are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doors {
    /// What keeps ctnetlink from answering, if anything does.
    pub ctnetlink: Option<Closed>,
    /// /proc/net/nf_conntrack can be read.
    pub proc: bool,
    /// Each read of it walks the hash anew from the first bucket.
    pub proc_rewalks: bool,
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// No sample, however large the table is.
    pub exact: bool,
    pub sample: Option<u64>,
    /// The command needs every entry, whatever the size (`list`).
    pub every: bool,
    /// Over ctnetlink even where that may stall packets.
    pub dump_anyway: bool,
}

pub fn plan(limits: &Limits, wish: &Wish, doors: Doors) -> Plan {
    let own = limits.count;
    let fill = worst_fill_ms(limits, own.unwrap_or(0));
    let done = |how, why: String| Plan {
        expected_secs: dump_secs(match how {
            How::Sample(entries) => entries,
            _ => own.unwrap_or(0),
        }),
        how,
        why,
        worst_fill_ms: fill,
        expected: own,
        closed: None,
    };
    let counted = own.map_or("an unknown number of".to_string(), |n| n.to_string());
    let sparse = (fill > MAX_FILL_MS).then_some(Closed::Sparse);
    let forced = sparse.filter(|_| wish.dump_anyway && doors.ctnetlink.is_none());
    if forced.is_some() {
        let why = format!("--even-if-it-stalls: {counted} entries over ctnetlink, worst fill {fill:.0} ms");
        return done(How::Full, why);
    }
    if let Some(closed) = doors.ctnetlink.or(sparse) {
        return without_dump(limits, doors, closed, done(How::Refuse, counted));
    }
    let large = own.is_some_and(|own| own > SAMPLE_ABOVE);
    match (wish.sample, own) {
        (Some(wanted), Some(own)) if wanted < own && !wish.exact => {
            done(How::Sample(wanted), format!("--sample {wanted} of {own} entries"))
        }
        (None, Some(own)) if large && !wish.every && !wish.exact => done(
            How::Sample(SAMPLE_ENTRIES),
            format!("{own} entries are over {SAMPLE_ABOVE}: a sample of {SAMPLE_ENTRIES}; --exact reads all"),
        ),
        _ => done(
            How::Full,
            format!("{counted} entries over ctnetlink, worst fill {fill:.1} ms"),
        ),
    }
}

/// The table by /proc/net/nf_conntrack, or not at all. Where each read walks the hash anew, that costs processor time,
/// up to MAX_PROC_SECS of it; an early-closed dump would cost less of that, but already its first datagram stalls
/// packets as long as any. So /proc it is: what came in time is as much a sample, for the hash is random.
fn without_dump(limits: &Limits, doors: Doors, closed: Closed, blank: Plan) -> Plan {
    let mut why = match (closed, doors.proc) {
        (Closed::NotPermitted, true) => "ctnetlink is not permitted; /proc/net/nf_conntrack is".into(),
        (Closed::NotPermitted, false) => {
            "ctnetlink needs CAP_NET_ADMIN, /proc/net/nf_conntrack needs root".into()
        }
        (Closed::NotLoaded, true) => {
            "nf_conntrack_netlink is not known to be loaded, and looking loads no module: /proc/net/nf_conntrack".into()
        }
        (Closed::NotLoaded, false) => {
            "nf_conntrack_netlink is not known to be loaded, and looking loads no module; /proc/net/nf_conntrack needs root"
                .into()
        }
        (Closed::Sparse, _) => format!(
            "{} own entries in a hash that takes {:.0} ms to walk: a dump could stall packets for {:.0} ms",
            blank.why,
            walk_ms(limits),
            blank.worst_fill_ms
        ),
    };
    let secs = proc_secs(limits, doors.proc_rewalks);
    if doors.proc && doors.proc_rewalks && secs > 1.0 {
        why += &format!(
            "; before 6.15 each 4 KiB of /proc/net/nf_conntrack walk the hash anew: {secs:.0} s, cut at {MAX_PROC_SECS:.0} s"
        );
    }
    Plan {
        how: if doors.proc { How::Procfs } else { How::Refuse },
        why,
        expected_secs: secs.min(MAX_PROC_SECS),
        closed: Some(closed),
        ..blank
    }
}

/// Whether the kernel shall filter: only where what is left fills datagrams fast enough. `hits` of `looked_at` entries
/// of an early sample matched.
pub fn push_filter(limits: &Limits, filter: DumpFilter, hits: u64, looked_at: u64) -> Plan {
    let own = limits.count.unwrap_or(0);
    // A few hits in a probe may be luck: the fewest that are likely count.
    let matches = Estimate::of_sample(hits, looked_at, own);
    let (expected, fill) = (matches.value as u64, worst_fill_ms(limits, matches.low as u64));
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
        expected_secs: dump_secs(own),
        closed: None,
    }
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
            entry_bytes: None,
        }
    }

    const OPEN: Doors = Doors {
        ctnetlink: None,
        proc: true,
        proc_rewalks: false,
    };
    const NO_PROC: Doors = Doors { proc: false, ..OPEN };
    const EXACT: Wish = Wish {
        exact: true,
        sample: None,
        every: false,
        dump_anyway: false,
    };

    fn how(limits: &Limits, wish: Wish) -> How {
        plan(limits, &wish, OPEN).how
    }

    #[test]
    fn few_entries_in_a_full_hash_are_read_from_proc() {
        assert_eq!(how(&limits(40, Some(1_000_000)), Wish::default()), How::Procfs);
        assert_eq!(how(&limits(5_000, Some(1_000_000)), Wish::default()), How::Procfs);
        // Of those counted three in four may have expired.
        assert_eq!(
            how(&limits(20_000, Some(1_000_000)), Wish::default()),
            How::Procfs
        );
        assert_eq!(how(&limits(40_000, Some(1_000_000)), Wish::default()), How::Full);
        // Not knowing the other namespaces means fearing them.
        assert_eq!(how(&limits(40, None), Wish::default()), How::Procfs);
        let unreadable = plan(&limits(40, None), &Wish::default(), NO_PROC);
        assert_eq!(
            (unreadable.how, unreadable.closed),
            (How::Refuse, Some(Closed::Sparse))
        );
    }

    #[test]
    fn only_the_wish_for_it_gets_a_dump_that_stalls() {
        let sparse = limits(40, Some(1_000_000));
        assert_eq!(how(&sparse, EXACT), How::Procfs);
        assert_eq!(plan(&sparse, &EXACT, NO_PROC).how, How::Refuse);
        let anyway = Wish {
            dump_anyway: true,
            ..Wish::default()
        };
        let forced = plan(&sparse, &anyway, NO_PROC);
        assert_eq!(forced.how, How::Full);
        assert!(forced.worst_fill_ms > 200.0, "{forced:?}");
        // It opens no other door, and no sample is given up for it.
        let closed = Doors {
            ctnetlink: Some(Closed::NotLoaded),
            ..OPEN
        };
        let through_proc = plan(&sparse, &anyway, closed);
        assert_eq!(
            (through_proc.how, through_proc.closed),
            (How::Procfs, Some(Closed::NotLoaded))
        );
        let large = limits(1_000_000, Some(1_000_000));
        assert_eq!(how(&large, anyway), How::Sample(SAMPLE_ENTRIES));
    }

    #[test]
    fn the_limit_of_one_namespace_is_none_for_the_host() {
        // 30,000 are dense beside a million, but three other namespaces may be as full.
        assert_eq!(how(&limits(30_000, Some(1_000_000)), Wish::default()), How::Full);
        assert_eq!(how(&limits(30_000, None), Wish::default()), How::Procfs);
        let unlimited = Limits {
            max: Some(0),
            ..limits(30_000, None)
        };
        assert_eq!(how(&unlimited, Wish::default()), How::Procfs);
        // A plain host, whose slab can be read.
        for buckets in [65_536, 262_144] {
            let plain = Limits {
                buckets: Some(buckets),
                ..limits(5_000, Some(5_000))
            };
            assert_eq!(how(&plain, EXACT), How::Full);
        }
        let no_buckets = Limits {
            buckets: None,
            max: Some(64 << 20),
            ..limits(5_000, Some(5_000))
        };
        assert_eq!(how(&no_buckets, Wish::default()), How::Procfs);
    }

    #[test]
    fn a_slow_proc_is_still_better_than_a_stall_and_says_so() {
        let slow = Doors {
            proc_rewalks: true,
            ..OPEN
        };
        let sparse = plan(&limits(7_000, Some(1_000_000)), &Wish::default(), slow);
        assert_eq!(sparse.how, How::Procfs);
        assert!(sparse.why.contains("cut at 10 s"), "{}", sparse.why);
        assert_eq!(sparse.expected_secs, 10.0);
        let few = plan(&limits(40, Some(1_000_000)), &Wish::default(), slow);
        assert!(!few.why.contains("cut"), "{}", few.why);
        let resumes = plan(&limits(7_000, Some(1_000_000)), &Wish::default(), OPEN);
        assert!(resumes.expected_secs < 1.0, "{resumes:?}");
    }

    #[test]
    fn nothing_known_of_the_hash_means_fearing_it() {
        let nothing = Limits::default();
        assert_eq!(plan(&nothing, &Wish::default(), OPEN).how, How::Procfs);
        assert_eq!(plan(&nothing, &Wish::default(), NO_PROC).how, How::Refuse);
        let few = Limits {
            count: Some(40),
            ..nothing
        };
        assert_eq!(plan(&few, &Wish::default(), NO_PROC).how, How::Refuse);
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
        assert_eq!(how(&large, EXACT), How::Full);
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
        let closed = Doors {
            ctnetlink: Some(Closed::NotPermitted),
            ..NO_PROC
        };
        let got = plan(&limits(50_000, Some(50_000)), &Wish::default(), closed);
        assert_eq!((got.how, got.closed), (How::Refuse, Some(Closed::NotPermitted)));
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
        assert_eq!(push_filter(&large, filter.clone(), 20, 5_000).how, How::Full);
        // Likely enough that they are fewer than the probe met.
        let lucky = push_filter(&large, filter.clone(), 150, 5_000);
        assert!(
            lucky.worst_fill_ms < MAX_FILL_MS && lucky.expected == Some(30_000),
            "{lucky:?}"
        );
        assert_eq!(lucky.how, How::Full);
        assert!(matches!(
            push_filter(&large, filter, 200, 5_000).how,
            How::Filtered(_)
        ));
        assert_eq!(
            push_filter(&large, DumpFilter::default(), 5_000, 5_000).how,
            How::Full
        );
    }
}
