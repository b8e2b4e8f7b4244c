//! Too few hash buckets: every packet walks long chains.

use crate::diagnose::cause::Cause;
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, Weighed, fact, fix, whole};
use crate::evidence::{Evidence, Table};

pub const RULE: Rule = Rule {
    cause: Cause::HashUndersized,
    explain: "\
What: the connection table has far more entries than its hash has buckets (nf_conntrack_buckets), so that each lookup
walks a long chain. Every entry stands in two chains, and all network namespaces share the hash.
Why it matters: each packet costs more of the processor's time in softirq; and since Linux 5.15 a new connection whose
chain is longer than 50 to 80 entries is refused: chaintoolong and insert_failed rise, and its packet is lost.
Example:
$ sysctl net.netfilter.nf_conntrack_buckets net.netfilter.nf_conntrack_count
shows 16,384 buckets and 65,536 entries: chains of 8.
How it is told apart: the mean chain is 2 x entries of the host / buckets. Linux' own sizing gives 2 when the table is
full (8 before 5.15, which changed it for that); up to 6 is slower and harms nobody. insert_failed without chaintoolong
is insert-clash or nat-ports-exhausted.
What to do: raise nf_conntrack_buckets to nf_conntrack_max, in the initial namespace.",
    refutes: "a mean chain of 2 or less, and a chaintoolong that stands still",
    check,
};

/// Three times what a full table has by the kernel's own sizing (nf_conntrack_init_start(): as many buckets as entries).
pub const LONG_CHAIN: f64 = 6.0;
/// A chain that is so many times too long costs the more, and proves the more; up to this.
const MOST_NATS: f64 = 3.0;
/// At most this long a chain is as it should be.
const GOOD_CHAIN: f64 = 2.0;
/// The shortest chain that the kernel refuses an entry at (MIN_CHAINLEN of nf_conntrack_core.c).
const REFUSED_CHAIN: f64 = 50.0;

fn check(evidence: &Evidence) -> Verdict {
    let Some((table, mean)) = evidence.table.as_ref().and_then(|t| Some((t, t.mean_chain?))) else {
        return Verdict::unknown("the number of entries or of buckets was not read");
    };
    let refused = rise(evidence, "chaintoolong");
    let text = format!("a chain of the hash has {mean:.1} entries on average");
    if mean >= LONG_CHAIN {
        return Verdict::Found(Box::new(finding(evidence, table, mean, refused)));
    }
    if let Some(refused) = refused.filter(|n| *n > 0) {
        let text = format!(
            "{text}, but {} insertions met one of more than {REFUSED_CHAIN:.0}: other namespaces' entries are not \
             counted, or somebody chooses tuples that collide",
            whole(refused as f64)
        );
        return Verdict::leaning(
            text,
            "grep '^nf_conntrack ' /proc/slabinfo   # the host's entries",
        );
    }
    match evidence.host_entries {
        None => Verdict::unknown(format!(
            "{text} by this namespace's entries; those of the others were not read"
        )),
        Some(_) if mean <= GOOD_CHAIN => Verdict::clear(text),
        Some(_) => Verdict::clear(format!(
            "{text}: more than {GOOD_CHAIN:.0}, and less than {LONG_CHAIN:.0}"
        )),
    }
}

fn rise(evidence: &Evidence, counter: &str) -> Option<u64> {
    let counters = evidence
        .conntrack
        .as_ref()
        .filter(|_| evidence.window_secs > 0.0)?;
    counters.get(counter).copied()
}

fn finding(evidence: &Evidence, table: &Table, mean: f64, refused: Option<u64>) -> Finding {
    let refused = refused.unwrap_or(0);
    let doing = if refused > 0 {
        format!("{} new connections were refused for it", whole(refused as f64))
    } else {
        "every packet pays for it".to_string()
    };
    let buckets = table.buckets.unwrap_or(0) as f64;
    let entries = entries(evidence, table);
    Finding {
        headline: format!(
            "The hash is too small: {} entries in {} buckets, chains of {mean:.0} on average; {doing}.",
            whole(entries as f64),
            whole(buckets)
        ),
        place: Vec::new(),
        // It makes no entries.
        entries: None,
        evidence: items(evidence, mean, refused),
        fixes: fixes(table, entries),
        looked: match rise(evidence, "chaintoolong") {
            Some(n) => Looked::For(format!("the mean chain is {mean:.1}; chaintoolong rose by {n}")),
            None => Looked::For(format!(
                "the mean chain is {mean:.1}; chaintoolong was not watched"
            )),
        },
    }
}

/// Of all namespaces where that was read.
fn entries(evidence: &Evidence, table: &Table) -> u64 {
    evidence.host_entries.or(table.count).unwrap_or(0)
}

fn items(evidence: &Evidence, mean: f64, refused: u64) -> Vec<Weighed> {
    let window = evidence.window_secs;
    let mut out = vec![fact(
        "mean-chain",
        (mean / GOOD_CHAIN).ln().min(MOST_NATS),
        format!("a chain of the hash has {mean:.1} entries on average; {GOOD_CHAIN:.0} is as it should be"),
        mean,
        "entries",
    )];
    if refused > 0 {
        let text = format!(
            "{} insertions were refused in {window:.1} s because their chain was too long",
            whole(refused as f64)
        );
        out.push(fact("chain-too-long", 2.5, text, refused as f64, "entries"));
    }
    if let Some(failed) = rise(evidence, "insert_failed").filter(|n| *n > 0 && refused > 0) {
        let text = format!(
            "insert_failed rose by {} in {window:.1} s: packets are lost",
            whole(failed as f64)
        );
        out.push(fact("insert-failed-rises", 0.5, text, failed as f64, "packets"));
    }
    if let Some(restarts) = rise(evidence, "search_restart").filter(|n| *n > 0) {
        let text = format!("{} lookups had to begin anew", whole(restarts as f64));
        out.push(fact("search-restarts", 0.2, text, restarts as f64, "lookups"));
    }
    out
}

fn fixes(table: &Table, entries: u64) -> Vec<Fix> {
    let buckets = entries.max(table.max.unwrap_or(0));
    vec![fix(
        "Give the hash as many buckets as the table may have entries (8 bytes each)",
        Some(format!("sysctl -w net.netfilter.nf_conntrack_buckets={buckets}")),
        "at once, in the initial namespace: the entries are hashed anew, and packets wait for that moment",
    )]
}
