//! Entries that outlive their connections, made by hand.

use std::collections::BTreeMap;

use ctlens::evidence::{Idle, Joined, Lasting, Stay};
use ctlens::model::Estimate;
use serde::Deserialize;

use crate::heap::{Figure, Heap, pile, piles};

/// Entries with an end on this host, and the sockets found for some of them.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Local {
    pub entries: Figure,
    pub looked_for: u64,
    pub found: u64,
    pub unclosed: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lasts {
    /// ESTABLISHED, idle for more than 2 h 11 min.
    pub idle: Heap,
    pub idle_for_a_day: Figure,
    pub idle_for_three_days: Figure,
    pub one_way: Figure,
    pub one_way_from: Heap,
    pub untold: Figure,
    pub untold_one_way: Figure,
    pub idle_local: Option<Local>,
    pub close_wait: Heap,
    pub close_wait_local: Option<Local>,
    pub time_wait: Heap,
    /// By `out`, `in`, `forward`, `unknown`.
    pub udp: BTreeMap<String, Heap>,
}

pub fn lasting(lasts: &Lasts) -> Lasting {
    Lasting {
        established: Idle {
            stay: stay(&lasts.idle, Some(lasts.idle_local.unwrap_or_default())),
            opened_by: None,
            day: lasts.idle_for_a_day.estimate(),
            three_days: lasts.idle_for_three_days.estimate(),
            one_way: lasts.one_way.estimate(),
            one_way_from: pile(&lasts.one_way_from).destinations,
            untold: lasts.untold.estimate(),
            untold_one_way: lasts.untold_one_way.estimate(),
        },
        close_wait: stay(
            &lasts.close_wait,
            Some(lasts.close_wait_local.unwrap_or_default()),
        ),
        time_wait: stay(&lasts.time_wait, None),
        udp: piles(&lasts.udp),
    }
}

fn stay(heap: &Heap, joined: Option<Local>) -> Stay {
    Stay {
        pile: pile(heap),
        joined: joined.map(|local| Joined {
            entries: local.entries.estimate(),
            unplaced: Estimate::exact(0.0),
            looked_for: local.looked_for,
            found: local.found,
            unclosed: local.unclosed,
        }),
    }
}
