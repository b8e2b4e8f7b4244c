//! What `diagnose` and `status` both say: the verdict, what was read, what to type next.

use super::page::Page;
use super::style::Paint;
use crate::diagnose::{Cause, Judgement, Report, Side, whole};
use crate::evidence::Table;

/// `FIREWALL holds it: syn-sent-hold (CT001), confidence 0.97`, then the sentence that says it in full.
pub fn opening(page: &mut Page, verdict: &Judgement) {
    let sure = format!("confidence {:.2}", verdict.confidence);
    let (side, rest) = match verdict.bottleneck {
        Side::None => ("NONE".to_string(), format!(": no bottleneck found, {sure}")),
        Side::Undecided => {
            let lean = verdict.leans_to.as_ref().and_then(|lean| lean.causes.first());
            let lean = lean.map_or(": no lean".to_string(), |cause| {
                format!(": leans to {}", coded(*cause))
            });
            ("UNDECIDED".to_string(), format!("{lean}, {sure}"))
        }
        side => {
            let does = if holds(verdict.cause) {
                "holds it"
            } else {
                "is at fault"
            };
            let rest = format!(" {does}: {}, {sure}", coded(verdict.cause));
            (side.name().to_uppercase(), rest)
        }
    };
    page.accent("", &side, &rest, paint(verdict.bottleneck));
    page.text("  ", &verdict.headline, Paint::Plain);
}

pub fn paint(side: Side) -> Paint {
    match side {
        Side::None => Paint::Green,
        Side::Undecided => Paint::Yellow,
        _ => Paint::Red,
    }
}

/// `syn-sent-hold (CT001)`
pub fn coded(cause: Cause) -> String {
    match cause.code() {
        Some(code) => format!("{} ({code})", cause.name()),
        None => cause.name().to_string(),
    }
}

fn holds(cause: Cause) -> bool {
    cause.name().ends_with("-hold")
}

/// The look that shows the entries behind a cause.
pub fn list_command(cause: Cause) -> Option<&'static str> {
    match cause {
        Cause::SynSentHold
        | Cause::BackendUnresponsive
        | Cause::BackendRefusing
        | Cause::ListenerOverflow
        | Cause::NatPortsExhausted => Some("ctlens list --state SYN_SENT --top dst:dport"),
        Cause::SynRecvHold | Cause::SynFlood => Some("ctlens list --state SYN_RECV --top src"),
        Cause::EphemeralPortsExhausted => Some("ctlens list --top src:dst:dport"),
        Cause::TableFull | Cause::HashUndersized => Some("ctlens list --top proto:state"),
        Cause::EstablishedHold => Some("ctlens list --state ESTABLISHED --older-than 3h --top dst:dport"),
        Cause::CloseWaitHold => Some("ctlens list --state CLOSE_WAIT --top dst:dport"),
        Cause::TimeWaitHold => Some("ctlens list --state TIME_WAIT --top src:dst:dport"),
        Cause::UdpHold => Some("ctlens list --proto udp --unreplied --top dst:dport"),
        Cause::StaleNatEntry | Cause::AsymmetricRouting => Some("ctlens list --unreplied --top dst:dport"),
        _ => None,
    }
}

/// `tap: not permitted`; a reason that begins with its source stands alone.
pub fn missed(source: &str, reason: &str) -> String {
    if reason.starts_with(source) {
        reason.to_string()
    } else {
        format!("{source}: {reason}")
    }
}

/// Gaps in their order, those that one remedy heals together.
pub fn gaps_by_remedy(report: &Report) -> Vec<(&str, Vec<(&str, &str)>)> {
    let mut out: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    for gap in &report.gaps {
        let missed = (gap.source.as_str(), gap.reason.as_str());
        match out.iter_mut().find(|(remedy, _)| *remedy == gap.remedy) {
            Some((_, sources)) => sources.push(missed),
            None => out.push((&gap.remedy, vec![missed])),
        }
    }
    out
}

/// `read: a sample of 20,000 of 1,000,000 over ctnetlink`
pub fn read(table: &Table) -> String {
    let Some(dumped) = table.dumped else {
        return "the entries themselves were not read".to_string();
    };
    let dumped = whole(dumped as f64);
    let over = match table.source {
        Some("pasted") => " from pasted text".to_string(),
        Some(source) => format!(" over {source}"),
        None => String::new(),
    };
    match table.sampled_of {
        Some(of) => format!(
            "read: a sample of {dumped} of {} entries{over}; ~ marks estimates, ( ) their 95 % intervals; --exact reads all{}",
            whole(of as f64),
            with_expired(table).map_or(String::new(), |text| format!("; {text}"))
        ),
        None => format!("read: {dumped} entries{over}"),
    }
}

/// What else the count has of which a sample was read; a paste's histogram has nothing else.
pub fn with_expired(table: &Table) -> Option<String> {
    let of = table.sampled_of.filter(|_| table.source != Some("pasted"))? as f64;
    let how_many = match table.expired {
        Some(expired) if expired.value >= 1.0 => format!("about {}", whole(expired.rounded().value)),
        Some(expired) if expired.high < of * FEW_EXPIRED => "hardly any".to_string(),
        _ => "how many is not known".to_string(),
    };
    Some(format!(
        "the count includes expired entries not yet collected ({how_many}): true figures may be lower"
    ))
}

/// So few expired entries are lost in a sample's own error.
const FEW_EXPIRED: f64 = 0.01;

/// Pasted text names no kernel: no command on this host shows more of it.
pub fn is_elsewhere(report: &Report) -> bool {
    let source = report.table.as_ref().and_then(|table| table.source);
    source == Some("pasted") || report.host.kernel.is_none()
}
