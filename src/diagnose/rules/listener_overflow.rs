//! A listener of this host drops SYNs because its queue is full.

use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::answers_here;
use crate::diagnose::logged;
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, Weighed, fact, fix, remark, whole};
use crate::evidence::{Evidence, ListenQueue, Pile};

/// Fewer overflows in a window, …
const LEAST_OVERFLOWS: f64 = 3.0;
/// … or each second of it, are a hiccup, not a fault.
const LEAST_PER_S: f64 = 0.5;

/// At most so many queues are named.
const NAMED: usize = 3;

pub const RULE: Rule = Rule {
    cause: Cause::ListenerOverflow,
    explain: "\
What: an accept queue (or SYN queue) of a local listener is full, and the kernel drops SYNs to it.
Why it matters: clients retry and wait; each dropped SYN leaves an inbound SYN_SENT entry in this host's own table, so
the firewall looks guilty while the program does not call accept() fast enough.
Example:
  $ ss -ltn
shows Recv-Q above Send-Q (129 of 128) for the listener, and `nstat -az TcpExtListenOverflows` rises.
How it is told apart: TcpExt ListenOverflows, ListenDrops or TCPReqQFullDrop rise in the window, and the half-open
entries are inbound. LISTEN sockets show the queue that is at its backlog. A full SYN queue alone, with one SYN from
each of very many sources, is syn-flood.
What to do: raise the program's backlog and somaxconn (the smaller of both counts), and find out why accept() is slow.",
    refutes: "ListenOverflows, ListenDrops and TCPReqQFullDrop flat while the entries arrive",
    check,
};

/// What overflowed in the window.
#[derive(Clone, Copy, Debug)]
pub struct Overflows {
    /// Accept queues: the program is too slow.
    pub accept: i64,
    /// SYN queues: too many half-open connections, be it that nobody accepts or that nobody completes.
    pub syn: i64,
    /// Both counters were read.
    pub both: bool,
}

/// `None` where no window was watched.
pub fn overflows(evidence: &Evidence) -> Option<Overflows> {
    let net = evidence.net.as_ref().filter(|_| evidence.window_secs > 0.0)?;
    let rise = |name: &str| net.get(name).copied();
    // ListenDrops counts every ListenOverflow too.
    let accept = rise("TcpExt.ListenOverflows");
    let syn = rise("TcpExt.TCPReqQFullDrop");
    // Without cookies tcp_conn_request() drops from three quarters of the SYN queue on, and counts only ListenDrops.
    let no_cookies = evidence.settings.number("net.ipv4.tcp_syncookies") == Some(0);
    let early = rise("TcpExt.ListenDrops").filter(|_| no_cookies).unwrap_or(0) - accept.unwrap_or(0);
    (accept.is_some() || syn.is_some()).then(|| Overflows {
        accept: accept.unwrap_or(0),
        syn: syn.unwrap_or(0).max(early),
        both: accept.is_some() && syn.is_some(),
    })
}

fn check(evidence: &Evidence) -> Verdict {
    let full = full_queues(evidence);
    let Some(overflows) = overflows(evidence) else {
        if let Some(logged) = logged::listener(
            evidence,
            full.iter().take(NAMED).map(|(queue, _)| label(queue)).collect(),
        ) {
            return logged;
        }
        if let Some((queue, _)) = full.first() {
            let text = format!(
                "{} is at its backlog, but no counter was watched over a window",
                label(queue)
            );
            return Verdict::leaning(text, "ctlens diagnose --window 5s");
        }
        return Verdict::unknown("ListenOverflows and TCPReqQFullDrop were not watched over a window");
    };
    let rise = overflows.accept + overflows.syn;
    if (rise as f64) < (evidence.window_secs * LEAST_PER_S).max(LEAST_OVERFLOWS) {
        return if overflows.both {
            let when = if rise > 0 {
                format!(" in {:.1} s", evidence.window_secs)
            } else {
                String::new()
            };
            Verdict::clear(format!(
                "ListenOverflows and TCPReqQFullDrop rose by {rise}{when}"
            ))
        } else {
            Verdict::unknown("only one of ListenOverflows and TCPReqQFullDrop could be read")
        };
    }
    let inbound = inbound(evidence);
    let items = items(evidence, rise, &full, inbound);
    let place = places(evidence, &full);
    let at = if place.is_empty() {
        "A listener of this host".to_string()
    } else {
        place.join(", ")
    };
    let why = if overflows.accept > 0 {
        "does not accept fast enough"
    } else {
        "has a full SYN queue"
    };
    Verdict::Found(Box::new(Finding {
        headline: format!("{at} {why}: the kernel drops SYNs to it."),
        entries: inbound.map(|pile| pile.entries),
        evidence: items,
        fixes: fixes(&full, evidence, overflows),
        looked: Looked::For(format!(
            "in {:.1} s accept queues overflowed {} times, SYN queues {} times",
            evidence.window_secs, overflows.accept, overflows.syn
        )),
        place,
    }))
}

/// The largest pile of SYNs that this host was to answer.
fn inbound(evidence: &Evidence) -> Option<&Pile> {
    let piles = evidence.half_open.as_ref()?.syn_sent.iter();
    piles
        .filter(|(direction, pile)| answers_here(**direction, pile))
        .map(|(_, pile)| pile)
        .max_by(|a, b| a.settled().value.total_cmp(&b.settled().value))
}

fn items(evidence: &Evidence, rise: i64, full: &[Full], inbound: Option<&Pile>) -> Vec<Weighed> {
    let mut items: Vec<Weighed> = Vec::new();
    let text = format!(
        "listen queues of this host overflowed {} times in {:.1} s",
        whole(rise as f64),
        evidence.window_secs
    );
    items.push(fact("listen-overflows", 3.0, text, rise as f64, "overflows"));
    for (queue, backlog) in full.iter().take(NAMED) {
        let text = format!(
            "{}: {} connections wait for accept(), backlog {}",
            label(queue),
            queue.queued,
            backlog
        );
        items.push(fact(
            "queue-full",
            1.0,
            text,
            f64::from(queue.queued),
            "connections",
        ));
    }
    if full.is_empty() && none_full(evidence) {
        items.push(remark(
            "no-queue-full-now",
            -0.5,
            "no listener's queue was full when it was looked at",
        ));
    }
    if let Some(pile) = inbound {
        let text = "inbound SYN_SENT entries: SYNs that this host let in and did not answer";
        items.push(crate::diagnose::rule::estimate(
            "inbound-unanswered",
            0.5,
            text,
            pile.entries,
            "entries",
        ));
    }
    items
}

/// A queue that is full, and its backlog.
type Full<'a> = (&'a ListenQueue, u32);

/// Queues longer than their backlog: sk_acceptq_is_full() is `queued > backlog`; one below is as good as full.
fn full_queues(evidence: &Evidence) -> Vec<Full<'_>> {
    let all = evidence.listeners.as_deref().unwrap_or(&[]);
    all.iter()
        .filter_map(|queue| Some((queue, queue.backlog?)))
        .filter(|(queue, backlog)| queue.queued >= (*backlog).max(1))
        .collect()
}

/// Whether each queue can be told to have room, by its backlog or because nobody waits in it.
fn none_full(evidence: &Evidence) -> bool {
    let room = |queue: &ListenQueue| queue.backlog.is_some() || queue.queued == 0;
    evidence
        .listeners
        .as_ref()
        .is_some_and(|all| all.iter().all(room))
}

fn places(evidence: &Evidence, full: &[Full]) -> Vec<String> {
    if !full.is_empty() {
        return full.iter().take(NAMED).map(|(queue, _)| label(queue)).collect();
    }
    inbound(evidence)
        .map(crate::diagnose::half_open::places)
        .unwrap_or_default()
}

fn label(queue: &ListenQueue) -> String {
    std::net::SocketAddr::new(queue.addr, queue.port).to_string()
}

fn fixes(full: &[Full], evidence: &Evidence, overflows: Overflows) -> Vec<Fix> {
    let mut out = Vec::new();
    if overflows.syn > overflows.accept && evidence.settings.number("net.ipv4.tcp_syncookies") == Some(0) {
        out.push(fix(
            "Send SYN cookies while the SYN queue is full",
            Some("sysctl -w net.ipv4.tcp_syncookies=1".to_string()),
            "at once: SYNs beyond the queue are answered without memory",
        ));
    }
    let somaxconn = evidence.settings.number("net.core.somaxconn");
    for (queue, backlog) in full.iter().take(NAMED) {
        let program = queue.process.as_deref().unwrap_or("the program");
        let capped = somaxconn.is_some_and(|cap| u64::from(*backlog) >= cap);
        if capped {
            out.push(fix(
                format!("Raise the cap on {}'s backlog ({})", label(queue), backlog),
                Some(format!(
                    "sysctl -w net.core.somaxconn={}",
                    backlog.saturating_mul(4).max(4096)
                )),
                "at the program's next listen(): restart it, and let it ask for as much",
            ));
        } else {
            out.push(fix(
                format!(
                    "Raise the backlog that {program} asks for at {} (now {})",
                    label(queue),
                    backlog
                ),
                None,
                "in the program's own configuration; somaxconn allows more",
            ));
        }
    }
    out.push(fix(
        "Find out why accept() is slow",
        Some("ss -ltnp".to_string()),
        "Recv-Q above Send-Q names the listener and its process",
    ));
    out
}
