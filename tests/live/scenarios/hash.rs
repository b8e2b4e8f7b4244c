//! Fewer buckets than the entries need. The hash is the whole machine's: only where that is allowed.

use libtest_mimic::{Completion, Trial};

use super::full::{GLOBAL, filled};
use super::{HURRIED, alone};
use crate::filler::ESTABLISHED;
use crate::global::Changed;
use crate::lab::Family::V4;
use crate::matrix::needs_machine;
use crate::stage::{PATIENCE, Pair};
use crate::traffic::{Clients, closing_server};
use crate::verdict::{Verdict, diagnose};

const BUCKETS: &str = "/proc/sys/net/netfilter/nf_conntrack_buckets";
/// The kernel takes whole pages of them, eight bytes each.
const LOWERED: &str = "4096";
const LOWERED_TO: f64 = 4096.0;

pub fn trials() -> Vec<Trial> {
    vec![
        alone("hash-undersized/chains-of-8", 100, long_chains),
        alone("hash-undersized/refuses", 100, refuses),
    ]
}

/// Mean chain, in entries of this namespace.
fn scenario(chain: f64, per_second: u32, check: fn(&Verdict)) -> Completion {
    needs_machine();
    if std::env::var_os(GLOBAL).is_none_or(|value| value != "1") {
        return Completion::ignored_with(format!("{GLOBAL}=1 lowers nf_conntrack_buckets for the test"));
    }
    let pair = Pair::new(V4, "client", "server");
    pair.far.tracks();
    let listener = closing_server(&pair.far, pair.service);
    let _guard = match Changed::to(BUCKETS, LOWERED) {
        Ok(guard) => guard,
        Err(error) => return Completion::ignored_with(format!("lowering {BUCKETS}: {error}")),
    };
    let entries = (chain * LOWERED_TO / 2.0) as u64;
    // Once more: a namespace that is going away may have filled the chains, and inserts into long ones are refused.
    pair.far.until("the entries are there", PATIENCE, |host| {
        filled(host, pair.service.ip(), ESTABLISHED, entries);
        host.count() as f64 >= entries as f64 * 0.75
    });
    // Some are refused, and give up before their SYN comes again.
    let clients = Clients::new(pair.service, per_second, HURRIED).start(&pair.near);
    let stage = pair.watch_far(vec![clients, listener]);
    check(&diagnose(&stage.watched));
    Completion::Completed
}

fn long_chains(per_second: u32) -> Completion {
    scenario(8.0, per_second, |verdict| {
        verdict
            .blames("firewall", "hash-undersized")
            .without_trigger()
            // Entries of other namespaces stand in the same chains.
            .proves("mean-chain", 6.0..=40.0);
        assert_eq!(verdict.report["counters"]["chaintoolong"], 0, "{verdict}");
    })
}

fn refuses(per_second: u32) -> Completion {
    scenario(66.0, per_second, |verdict| {
        verdict
            .blames("firewall", "hash-undersized")
            .without_trigger()
            .proves("mean-chain", 45.0..=90.0)
            .proves("chain-too-long", 1.0..=f64::INFINITY)
            .proves("insert-failed-rises", 1.0..=f64::INFINITY);
    })
}
