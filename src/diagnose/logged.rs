//! What pasted log lines prove: a kernel's complaint is an event, whatever the counters say now.

use super::cause::Cause;
use super::half_open::listed;
use super::report::Fix;
use super::rule::{Finding, Looked, Verdict, Weighed, fact, fix, whole};
use crate::evidence::Evidence;

/// At this fill the table may still be the one that was full.
const STILL_FULL: f64 = 0.9;

/// `table full, dropping packet`
pub fn table_full(evidence: &Evidence) -> Option<Verdict> {
    let log = evidence.log.as_ref().filter(|log| log.table_full > 0)?;
    let lines = log.table_full;
    // All lines that the kernel limits share one count: some of these may be of another kind.
    let more = match log.suppressed {
        0 => String::new(),
        more => format!(
            " (and {} lines of this or another kind were not printed)",
            whole(more as f64)
        ),
    };
    let text = format!(
        "the kernel's log says `table full, dropping packet`, {} times{more}",
        whole(lines as f64)
    );
    let fill = evidence.table.as_ref().and_then(|table| table.fill);
    if let Some(fill) = fill.filter(|fill| *fill < STILL_FULL) {
        return Some(Verdict::leaning(
            format!(
                "{text}, and now the table is {:.1} % full: it was at another time, or in another network namespace",
                fill * 100.0
            ),
            "ctlens status   # in each namespace of `ip netns`, while it happens",
        ));
    }
    let items = vec![fact("logged-table-full", 2.5, text, lines as f64, "lines")];
    Some(found(
        "The table was full, and new connections were dropped: the kernel's log says so.".to_string(),
        Vec::new(),
        items,
        vec![fix(
            "Double the limit (about 320 bytes an entry)",
            evidence
                .table
                .as_ref()
                .and_then(|table| table.max)
                .filter(|max| *max > 0)
                .map(|max| {
                    format!(
                        "sysctl -w net.netfilter.nf_conntrack_max={}",
                        max.saturating_mul(2)
                    )
                }),
            "at once; then see what fills it: `ctlens list --top proto:state`",
        )],
    ))
}

/// `Listen queue overflow` and `possible SYN flooding`: the queue was full; whether by a flood, sources tell.
/// `full`: listeners whose queue is full in the same paste.
pub fn listener(evidence: &Evidence, full: Vec<String>) -> Option<Verdict> {
    let log = evidence.log.as_ref()?;
    if let Some((longest, times)) = log.accept_queue_full {
        let text = format!(
            "the log says `Listen queue overflow` {} times, with {} connections that wait for accept()",
            whole(times as f64),
            whole(longest as f64)
        );
        let mut items = vec![fact(
            "logged-listen-overflow",
            2.5,
            text,
            times as f64,
            "overflows",
        )];
        if !full.is_empty() {
            let text = format!("the accept queue of {} is full in the same paste", listed(&full));
            items.push(fact("queue-full", 1.0, text, full.len() as f64, "listeners"));
        }
        let at = match full[..] {
            [] => "A listener of this host".to_string(),
            _ => listed(&full),
        };
        return Some(found(
            format!("{at} does not accept fast enough: its queue overflows."),
            full,
            items,
            vec![fix(
                "Find out why accept() is slow",
                Some("ss -ltnp".to_string()),
                "a stuck program, not the load, where its CPU is idle",
            )],
        ));
    }
    let lines: u64 = log.syn_queue_full.values().sum();
    let ports: Vec<String> = log.syn_queue_full.keys().map(u16::to_string).collect();
    (lines > 0).then(|| {
        Verdict::leaning_to(
            vec![Cause::ListenerOverflow, Cause::SynFlood],
            format!(
                "the log says `possible SYN flooding on port {}`: the SYN queue was full, which says nothing of why",
                ports.join(", ")
            ),
            "ss -Htan state syn-recv | awk '{print $4}' | sed 's/:[0-9]*$//' | sort | uniq -c | sort -rn | head   # few sources: own clients",
        )
    })
}

/// `Cannot assign requested address`
pub fn ports(evidence: &Evidence) -> Option<Verdict> {
    let log = evidence.log.as_ref().filter(|log| log.no_ports > 0)?;
    let place: Vec<String> = log.no_ports_to.iter().cloned().collect();
    let text = format!(
        "connect() found no local port {} times (EADDRNOTAVAIL)",
        whole(log.no_ports as f64)
    );
    let mut items = vec![fact(
        "logged-no-ports",
        2.0,
        text,
        log.no_ports as f64,
        "attempts",
    )];
    let range = evidence.settings.pair("net.ipv4.ip_local_port_range");
    let closed = evidence
        .net
        .as_ref()
        .and_then(|net| net.get("sockstat.TCP.tw").copied());
    if let (Some((low, high)), Some(closed)) = (range, closed) {
        let size = high.saturating_sub(low) + 1;
        if closed as u64 >= size {
            let text = format!(
                "{} sockets are in TIME_WAIT, and the range has {} ports",
                whole(closed as f64),
                whole(size as f64)
            );
            items.push(fact("time-wait-sockets", 1.0, text, closed as f64, "sockets"));
        }
    }
    let towards = place
        .first()
        .map_or(String::new(), |place| format!(" towards {place}"));
    Some(found(
        format!("This host has used up its local ports{towards}: connect() fails."),
        place,
        items,
        vec![fix(
            "Reuse connections to it (keep-alive pool), or add an address on either side",
            None,
            "each further source or destination address brings the whole range again",
        )],
    ))
}

/// Conntrack's lines on packets outside the window; only the wire tells whether the other direction comes by at all.
pub fn window(evidence: &Evidence) -> Option<Verdict> {
    let log = evidence.log.as_ref().filter(|log| log.out_of_window > 0)?;
    Some(Verdict::leaning_to(
        vec![Cause::WindowInvalid, Cause::AsymmetricRouting],
        format!(
            "conntrack's own log calls packets invalid because they fall outside the window, {} times",
            whole(log.out_of_window as f64)
        ),
        "ctlens diagnose --tap 3s   # on the host, while it happens",
    ))
}

/// `Connection refused`: the cause that this speaks for, and why.
pub fn refused(evidence: &Evidence) -> Option<(Cause, String)> {
    let log = evidence.log.as_ref()?;
    let (server, _) = log.refused.iter().max_by_key(|(_, lines)| **lines)?;
    let place = match server.as_str() {
        "" => String::new(),
        server => format!(", {server} most often"),
    };
    let lines: u64 = log.refused.values().sum();
    let text = format!(
        "a program's log says `Connection refused` {} times{place}",
        whole(lines as f64)
    );
    Some((Cause::BackendRefusing, text))
}

fn found(headline: String, place: Vec<String>, evidence: Vec<Weighed>, fixes: Vec<Fix>) -> Verdict {
    Verdict::Found(Box::new(Finding {
        headline,
        place,
        entries: None,
        evidence,
        fixes,
        looked: Looked::Not("a log tells what was, not what is now".to_string()),
    }))
}
