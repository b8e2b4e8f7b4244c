//! The table's size: nf_conntrack_max, its buckets, and the memory that both take.

use super::numbers::grouped;
use super::{Context, Lint, Said, Severity};

pub const LINTS: &[Lint] = &[
    Lint {
        code: "AU007",
        title: "too few buckets for nf_conntrack_max",
        severity: Severity::Warning,
        source: "commit d532bcd0b269 (netfilter: conntrack: sanitize table size default settings), Linux 5.15: max = \
                 buckets; before, max = 8 x buckets",
        dead: false,
        check: few_buckets,
    },
    Lint {
        code: "AU008",
        title: "a full table takes much memory",
        severity: Severity::Note,
        source: "net/netfilter/nf_conntrack_core.c, nf_conntrack_cachep: about 320 bytes an entry with its extensions, and \
                 8 a bucket",
        dead: false,
        check: much_memory,
    },
    Lint {
        code: "AU021",
        title: "a table without a limit",
        severity: Severity::Warning,
        source: "net/netfilter/nf_conntrack_core.c, __nf_conntrack_alloc(): no limit is looked at where max is 0",
        dead: false,
        check: unlimited,
    },
    Lint {
        code: "AU031",
        title: "options for a module by its old name",
        severity: Severity::Warning,
        source: "modprobe.d(5), options: they count where the module is loaded by that name; ip_conntrack is an alias of \
                 nf_conntrack (MODULE_ALIAS)",
        dead: false,
        check: old_module,
    },
    Lint {
        code: "AU040",
        title: "buckets set in two places",
        severity: Severity::Note,
        source: "Documentation/networking/nf_conntrack-sysctl.rst, nf_conntrack_buckets",
        dead: false,
        check: twice,
    },
];

const MAX: &str = "net.netfilter.nf_conntrack_max";
const BUCKETS: &str = "net.netfilter.nf_conntrack_buckets";
/// As a line of modprobe.d is taken in.
pub const HASHSIZE: &str = "options nf_conntrack hashsize";
const OLD_HASHSIZE: &str = "options ip_conntrack hashsize";

const ENTRY_BYTES: i64 = 320;
const BUCKET_BYTES: i64 = 8;
/// A table that takes more than this when full is worth a thought, where the host's memory is not known.
const MUCH_BYTES: i64 = 1 << 30;
/// What kernels before 5.15 had by default.
const MOST_PER_BUCKET: i64 = 8;
/// What Linux 5.15 and later take by default on hosts of more than 4 GiB.
const DEFAULT_BUCKETS: i64 = 262_144;

fn few_buckets(context: &Context, out: &mut Vec<Said>) {
    let Some(max) = context.number(MAX) else { return };
    let set = [BUCKETS, HASHSIZE]
        .iter()
        .find_map(|name| Some((*name, context.index(name)?, context.number(name)?)));
    match set {
        Some((name, index, buckets)) if buckets > 0 && max / buckets > MOST_PER_BUCKET => {
            let why = format!(
                "a full table of {} entries has chains of {} in {} buckets: each packet walks them",
                grouped(max),
                max * 2 / buckets,
                grouped(buckets)
            );
            out.push(Said::of(index, why).write(written(name, max)));
        }
        None if max > DEFAULT_BUCKETS => {
            let Some(index) = context.index(MAX) else { return };
            let why = format!(
                "nf_conntrack_buckets is not raised with it: by default there are at most {} of them (65,536 before Linux \
                 5.15), so chains grow to {}; write also {}",
                grouped(DEFAULT_BUCKETS),
                max * 2 / DEFAULT_BUCKETS,
                written(BUCKETS, max)
            );
            let severity = match max / DEFAULT_BUCKETS > MOST_PER_BUCKET {
                true => Severity::Warning,
                false => Severity::Note,
            };
            out.push(Said::of(index, why).as_severe(severity));
        }
        _ => {}
    }
}

/// A line of modprobe.d has no blanks around its `=`.
fn written(name: &str, value: i64) -> String {
    match name.starts_with("options ") {
        true => format!("{name}={value}"),
        false => format!("{name} = {value}"),
    }
}

fn much_memory(context: &Context, out: &mut Vec<Said>) {
    let (Some(index), Some(max)) = (context.index(MAX), context.number(MAX)) else {
        return;
    };
    let buckets = context.number(BUCKETS).unwrap_or(0).max(0);
    let bytes = max
        .max(0)
        .saturating_mul(ENTRY_BYTES)
        .saturating_add(buckets.saturating_mul(BUCKET_BYTES));
    let gib = |bytes: i64| bytes as f64 / f64::from(1u32 << 30);
    let takes = format!("a full table takes about {:.1} GiB of kernel memory", gib(bytes));
    let memory = context
        .around
        .memory_bytes
        .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    match memory {
        Some(memory) if bytes > memory / 4 => {
            let severity = match bytes > memory {
                true => Severity::Error,
                false => Severity::Warning,
            };
            let fits = (memory / 4 / ENTRY_BYTES).max(65_536);
            let why = format!(
                "{takes}, of {:.1} GiB in all: a flood would take the host down",
                gib(memory)
            );
            out.push(
                Said::of(index, why)
                    .write(format!("{MAX} = {fits}"))
                    .as_severe(severity),
            );
        }
        None if bytes > MUCH_BYTES => {
            let why = format!(
                "{takes}; only the initial namespace may set it (in a container the file is read-only)"
            );
            out.push(Said::of(index, why));
        }
        _ => {}
    }
}

fn unlimited(context: &Context, out: &mut Vec<Said>) {
    if let (Some(index), Some(0)) = (context.index(MAX), context.number(MAX)) {
        let why = "0 is no limit: a flood takes all of the kernel's memory";
        out.push(Said::of(index, why).write(format!("{MAX} = 262144")));
    }
}

fn old_module(context: &Context, out: &mut Vec<Said>) {
    for (index, setting) in context.all().filter(|(_, s)| s.name == OLD_HASHSIZE) {
        let why = "the module is nf_conntrack: options for ip_conntrack count only where somebody loads it by that old name";
        out.push(Said::of(index, why).write(format!("{HASHSIZE}={}", setting.value)));
    }
}

fn twice(context: &Context, out: &mut Vec<Said>) {
    let (Some(index), Some(hashsize), Some(buckets)) = (
        context.index(HASHSIZE),
        context.number(HASHSIZE),
        context.number(BUCKETS),
    ) else {
        return;
    };
    if hashsize != buckets && context.get(BUCKETS).is_some_and(|setting| !setting.in_force) {
        let why = format!(
            "nf_conntrack_buckets = {} is set later, when the module is loaded, and wins",
            grouped(buckets)
        );
        out.push(Said::of(index, why).delete());
    }
}
