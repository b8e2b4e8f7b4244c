//! Every cause at two intensities, and the hosts on which there is nothing to find.

use std::sync::RwLock;
use std::time::Duration;

use libtest_mimic::{Completion, Trial};

use crate::lab::Family;
use crate::matrix;

pub mod apply;
pub mod events;
pub mod flood;
pub mod full;
pub mod hash;
pub mod healthy;
pub mod hold;
pub mod lasting;
pub mod nat;
pub mod one_way;
pub mod overflow;
pub mod ports;
pub mod recommend;
pub mod refused;
pub mod ruleset;
pub mod segments;
pub mod simulate;
pub mod stale;
pub mod together;
pub mod undone;
pub mod unresponsive;
pub mod watch;

/// What a proxy that is in a hurry waits for a connection.
pub const HURRIED: Duration = Duration::from_millis(300);
/// What a patient one waits: longer than any scenario.
pub const PATIENT: Duration = Duration::from_secs(90);

pub fn all() -> Vec<Trial> {
    let mut out = Vec::new();
    out.extend(hold::trials());
    out.extend(unresponsive::trials());
    out.extend(overflow::trials());
    out.extend(flood::trials());
    out.extend(ports::trials());
    out.extend(ruleset::trials());
    out.extend(segments::trials());
    out.extend(nat::trials());
    out.extend(stale::trials());
    out.extend(refused::trials());
    out.extend(one_way::trials());
    out.extend(together::trials());
    out.extend(events::trials());
    out.extend(simulate::trials());
    out.extend(recommend::trials());
    out.extend(apply::trials());
    out.extend(undone::trials());
    out.extend(watch::trials());
    out.extend(healthy::trials());
    out.extend(lasting::trials());
    // Last: they have the machine to themselves.
    out.extend(lasting::alone_trials());
    out.extend(nat::alone_trials());
    out.extend(full::trials());
    out.extend(hash::trials());
    out.extend(watch::alone_trials());
    out
}

/// Scenarios share the machine; one that fills the host's hash to its limit must not slow the others down.
static MACHINE: RwLock<()> = RwLock::new(());

/// A scenario of this family and rate.
fn trial(name: &str, family: Family, per_second: u32, work: fn(Family, u32)) -> Trial {
    let name = name_of(name, family, per_second);
    Trial::test(name.clone(), move || {
        let _shared = MACHINE.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        matrix::begin(&name);
        work(family, per_second);
        Ok(())
    })
}

/// One that may find that it cannot be built here.
fn perhaps(name: &str, family: Family, per_second: u32, work: fn(Family, u32) -> Completion) -> Trial {
    let name = name_of(name, family, per_second);
    Trial::ignorable_test(name.clone(), move || {
        let _shared = MACHINE.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        matrix::begin(&name);
        Ok(told(&name, work(family, per_second)))
    })
}

/// The same while no other runs.
fn alone(name: &str, per_second: u32, work: fn(u32) -> Completion) -> Trial {
    let name = name_of(name, Family::V4, per_second);
    Trial::ignorable_test(name.clone(), move || {
        let _alone = MACHINE.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        matrix::begin(&name);
        Ok(told(&name, work(per_second)))
    })
}

fn told(name: &str, completion: Completion) -> Completion {
    if let Completion::Ignored { reason } = &completion {
        matrix::skipped(name, reason.as_deref().unwrap_or("it cannot be built here"));
    }
    completion
}

fn name_of(name: &str, family: Family, per_second: u32) -> String {
    let family = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    format!("{name}/{family}/{per_second}-per-s")
}
