//! The table is at its limit.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use libtest_mimic::{Completion, Trial};

use super::hold::proxy_gives_up;
use super::{HURRIED, alone};
use crate::filler::{ESTABLISHED, Filler, Kind, SYN_SENT};
use crate::global::Changed;
use crate::inside::there;
use crate::lab::Family::V4;
use crate::lab::{Host, PORT};
use crate::matrix::needs_machine;
use crate::stage::{PATIENCE, Pair, Stage};
use crate::traffic::{Clients, again_and_again, closing_server};
use crate::verdict::{Verdict, diagnose};

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// A larger table is not filled: its hash is the whole machine's.
pub const LARGEST: u64 = 1_000_000;
/// What the limit is lowered to where that is allowed.
const LOWERED: &str = "50000";
/// May write a setting of the whole machine.
pub const GLOBAL: &str = "CTLENS_TEST_GLOBAL";

/// Nobody's, and this host has a route to it.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 200);

pub fn trials() -> Vec<Trial> {
    vec![
        alone("table-full/drops", 150, drops),
        alone("table-full/drops", 600, drops),
        alone("table-full/evicts", 150, evicts),
        alone("table-full/evicts", 600, evicts),
        alone("syn-sent-hold/beside-a-full-table", 300, beside_a_full_table),
    ]
}

/// The limit in force; lowered, and put back by the guard, where it is too large and lowering is allowed.
pub fn limit() -> Result<(u64, Option<Changed>), String> {
    needs_machine();
    let max = limit_in_force()?;
    if max <= LARGEST {
        return Ok((max, None));
    }
    if std::env::var_os(GLOBAL).is_none_or(|value| value != "1") {
        return Err(format!(
            "nf_conntrack_max is {max}, above {LARGEST}; {GLOBAL}=1 lowers it for the test"
        ));
    }
    let guard = Changed::to(MAX, LOWERED).map_err(|error| format!("lowering {MAX}: {error}"))?;
    limit_in_force().map(|max| (max, Some(guard)))
}

pub fn limit_in_force() -> Result<u64, String> {
    let text = fs::read_to_string(MAX).map_err(|error| format!("{MAX}: {error}"))?;
    text.trim().parse().map_err(|error| format!("{MAX}: {error}"))
}

/// A server whose clients come in while its table is full of `kind`, and stays full.
fn full_of(kind: Kind, max: u64, per_second: u32) -> Stage {
    let pair = Pair::new(V4, "client", "server");
    pair.far.tracks();
    let listener = closing_server(&pair.far, pair.service);
    let mut filler = filled(&pair.far, pair.service.ip(), kind, max);
    // The kernel's own collector evicts entries that are not ASSURED above 95 % (gc_worker_can_early_drop), and
    // each eviction makes room: keep it full.
    let refill = again_and_again(&pair.far, move || {
        let count = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap_or_default();
        let room = max.saturating_sub(count.trim().parse().unwrap_or(max));
        filler.add(kind, room).expect("refilling the table");
    });
    let clients = Clients::new(pair.service, per_second, HURRIED);
    let traffic = vec![clients.start(&pair.near), refill, listener];
    let stage = pair.watch_far(traffic);
    stage
        .watched
        .until(&format!("{max} entries"), PATIENCE, |host: &Host| {
            host.count() >= max
        });
    stage
}

pub fn filled(host: &Host, from: IpAddr, kind: Kind, entries: u64) -> Filler {
    let IpAddr::V4(from) = from else {
        unreachable!("the pair is an IPv4 one")
    };
    let filler = there(&host.netns, move || {
        let mut filler = Filler::new(from, ELSEWHERE, PORT)?;
        filler.add(kind, entries).map(|()| filler)
    });
    filler.unwrap_or_else(|error| panic!("filling the table: {error}"))
}

fn scenario(kind: Kind, per_second: u32, check: fn(&Verdict, &Stage, u64, u32)) -> Completion {
    let (max, _guard) = match limit() {
        Ok(limit) => limit,
        Err(why) => return Completion::ignored_with(why),
    };
    let stage = full_of(kind, max, per_second);
    check(&diagnose(&stage.watched), &stage, max, per_second);
    Completion::Completed
}

fn drops(per_second: u32) -> Completion {
    scenario(ESTABLISHED, per_second, |verdict, _, max, per_second| {
        verdict
            .blames("firewall", "table-full")
            .without_trigger()
            .proves("fill", 0.98..=1.01)
            .proves("drop-rises", f64::from(per_second)..=f64::INFINITY)
            .proves("filled-by", max as f64 * 0.9..=max as f64 * 1.01);
        assert_eq!(verdict.report["counters"]["early_drop"], 0, "{verdict}");
    })
}

fn evicts(per_second: u32) -> Completion {
    scenario(SYN_SENT, per_second, |verdict, _, max, per_second| {
        verdict
            .blames("firewall", "table-full")
            .triggered_by("backend", "backend-unresponsive", format!("{ELSEWHERE}:{PORT}"))
            .proves("fill", 0.94..=1.01)
            .proves("early-drop-rises", f64::from(per_second)..=f64::INFINITY)
            .proves("filled-by", max as f64 * 0.9..=max as f64 * 1.01);
    })
}

/// The hash is the machine's: a dump of this namespace's few entries would walk all of the other's with softirqs off.
fn beside_a_full_table(per_second: u32) -> Completion {
    let (max, _guard) = match limit() {
        Ok(limit) => limit,
        Err(why) => return Completion::ignored_with(why),
    };
    let other = Pair::new(V4, "other", "peer");
    let _filler = filled(&other.near, other.near_address, ESTABLISHED, max);
    let stage = proxy_gives_up(V4, per_second);
    stage.until_entries("SYN_SENT", per_second as usize * 4);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-unresponsive", stage.place);
    // Without this file nothing tells how full the machine's hash is.
    let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    if slabs.lines().any(|line| line.starts_with("nf_conntrack ")) {
        assert_eq!(verdict.report["table"]["source"], "procfs", "{verdict}");
    }
    Completion::Completed
}
