//! The table is at its limit: new flows are dropped, or half-open ones are evicted for them.

use crate::diagnose::cause::Cause;
use crate::diagnose::logged;
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{
    Finding, Looked, Rule, Verdict, Weighed, count, estimate, fact, fix, remark, whole,
};
use crate::diagnose::share::more_room;
use crate::evidence::{Evidence, StateRow, Table};

/// At this fill the next spike drops packets; conntrack evicts and drops only above 100 %.
const FULL: f64 = 0.98;
/// Drops and evictions with less fill than this have another cause (NAT ports, clashes).
const NEARLY_FULL: f64 = 0.9;

pub const RULE: Rule = Rule {
    cause: Cause::TableFull,
    explain: "\
What: nf_conntrack_count has reached nf_conntrack_max.
Why it matters: conntrack then evicts random entries that are not ASSURED (early_drop: live handshakes among them);
where it finds none it drops the packet (drop): new connections fail, at once and for everybody in this namespace.
Example:
  $ conntrack -S
shows drop or early_drop rising, and the kernel's log says `nf_conntrack: table full, dropping packet`.
How it is told apart: fill near 1 together with rising drop or early_drop. The same counters at low fill mean that NAT
ports are exhausted or insertions clash. A table full of SYN_SENT alone still takes new flows. Those are
nat-ports-exhausted and insert-clash; what fills the table is named beside it (syn-sent-hold, time-wait-hold, …).
What to do: raise nf_conntrack_max (and buckets with it), then see to the state that fills the table.",
    refutes: "fill below 0.9, or neither drop nor early_drop rising",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    if let Some(logged) = logged::table_full(evidence) {
        return logged;
    }
    if evidence.table.as_ref().is_some_and(|t| t.max == Some(0)) {
        return Verdict::clear("nf_conntrack_max is 0: the table has no limit");
    }
    let Some((table, fill)) = evidence.table.as_ref().and_then(|t| Some((t, t.fill?))) else {
        return Verdict::unknown("count or nf_conntrack_max was not read");
    };
    if fill < NEARLY_FULL {
        return Verdict::clear(format!("the table is {:.1} % full", fill * 100.0));
    }
    let rise = |name: &str| match &evidence.conntrack {
        Some(counters) if evidence.window_secs > 0.0 => counters.get(name).copied(),
        _ => None,
    };
    let (Some(drop), Some(early)) = (rise("drop"), rise("early_drop")) else {
        let text = format!(
            "the table is {:.1} % full, but no counter was watched over a window",
            fill * 100.0
        );
        return Verdict::leaning(text, "ctlens diagnose --window 5s");
    };
    // The count holds expired entries until somebody needs their room; a whole pass leaves them out.
    let read = table.dumped.filter(|_| table.sampled_of.is_none());
    let of_sample = table.sampled_of.zip(table.expired);
    let alive = read
        .map(|alive| alive as f64)
        .or(of_sample.map(|(of, expired)| of as f64 - expired.low))
        .zip(table.max);
    let mostly_expired = alive.is_some_and(|(alive, max)| alive < max as f64 * NEARLY_FULL);
    if drop == 0 && early == 0 && (fill < FULL || mostly_expired) {
        return Verdict::clear(format!(
            "the table is {:.1} % full and nothing is dropped yet",
            fill * 100.0
        ));
    }
    Verdict::Found(Box::new(finding(evidence, table, fill, drop, early)))
}

fn finding(evidence: &Evidence, table: &Table, fill: f64, drop: u64, early: u64) -> Finding {
    let window = evidence.window_secs;
    let mut items: Vec<Weighed> = vec![fact(
        "fill",
        1.5,
        format!("the table is {:.1} % full", fill * 100.0),
        fill,
        "of max",
    )];
    if drop > 0 {
        let text = format!(
            "{} packets dropped by conntrack in {window:.1} s",
            whole(drop as f64)
        );
        items.push(fact("drop-rises", 2.5, text, drop as f64, "packets"));
    }
    if early > 0 {
        let text = format!(
            "{} half-open entries evicted in {window:.1} s to make room",
            whole(early as f64)
        );
        items.push(fact("early-drop-rises", 2.0, text, early as f64, "entries"));
    }
    if drop == 0 && early == 0 {
        items.push(remark(
            "nothing-dropped",
            -0.5,
            "in the window nothing was dropped or evicted yet",
        ));
    }
    let filler = evidence.states.as_ref().and_then(|rows| largest(rows));
    if let Some(row) = filler {
        items.push(estimate("filled-by", 0.5, filled_by(row), row.entries, "entries"));
    }
    let doing = match (drop, early) {
        (0, 0) => "the next spike drops new connections",
        (0, _) => "it evicts half-open connections at random",
        _ => "it drops new connections",
    };
    let by = filler.map_or(String::new(), |row| {
        format!(
            " {:.0} % of it is {}.",
            row.share * 100.0,
            row.state.as_deref().unwrap_or(&row.proto)
        )
    });
    Finding {
        headline: format!(
            "The table is full, {} of {} entries: {doing}.{by}",
            whole(table.count.unwrap_or(0) as f64),
            whole(table.max.unwrap_or(0) as f64)
        ),
        place: Vec::new(),
        entries: table.count.map(|c| crate::model::Estimate::exact(c as f64)),
        evidence: items,
        fixes: fixes(table, filler),
        looked: Looked::For(format!(
            "fill is {fill:.2}; drop rose by {drop}, early_drop by {early}"
        )),
    }
}

fn largest(rows: &[StateRow]) -> Option<&StateRow> {
    rows.iter()
        .max_by(|a, b| a.entries.value.total_cmp(&b.entries.value))
}

fn filled_by(row: &StateRow) -> String {
    format!(
        "{} entries ({:.0} %) are {} {}{}",
        count(row.entries),
        row.share * 100.0,
        row.proto,
        row.state.as_deref().unwrap_or(""),
        row.timeout_s
            .map_or(String::new(), |s| format!(", timeout {s} s"))
    )
}

fn fixes(table: &Table, filler: Option<&StateRow>) -> Vec<Fix> {
    let mut out = more_room(table);
    if let Some(state) = filler.and_then(|row| row.state.as_deref()) {
        out.push(fix(
            format!("See who fills it with {state}"),
            Some(format!("ctlens list --state {state} --top dst:dport")),
            "names the destinations",
        ));
    }
    out
}
