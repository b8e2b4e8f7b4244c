//! What the rules about entries that outlive their connections share.

use crate::evidence::{Evidence, Joined, Stay};
use crate::model::{Estimate, TcpState};

/// Entries of a TCP state. `None`: not seen. A pasted listing of one state alone says nothing of the others.
pub fn entries_in(evidence: &Evidence, state: TcpState) -> Option<Estimate> {
    let rows = evidence.states.as_ref()?;
    let row = rows
        .iter()
        .find(|row| row.proto == "tcp" && row.state.as_deref() == Some(state.name()));
    match row {
        Some(row) => Some(row.entries),
        None if evidence.pasted && rows.len() <= 1 => None,
        None => Some(Estimate::exact(0.0)),
    }
}

/// Of a state's entries, those that a socket of this host stands behind; the others nobody here needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Behind {
    pub live: Estimate,
    pub held: Estimate,
    /// Of those that sockets were looked for, the share that has none; `None`: none was looked for.
    pub without: Option<Estimate>,
}

pub fn behind(stay: &Stay) -> Behind {
    let entries = stay.pile.entries;
    let Some(joined) = stay.joined.filter(|joined| joined.looked_for > 0) else {
        return Behind {
            live: Estimate::exact(0.0),
            held: entries,
            without: None,
        };
    };
    let with = share(joined);
    let live = Estimate {
        value: (joined.entries.value * with.value).min(entries.value),
        low: joined.entries.low * with.low,
        high: joined.entries.high * with.high,
    };
    Behind {
        live,
        held: Estimate {
            value: (entries.value - live.value).max(0.0).round(),
            low: (entries.low - live.high).max(0.0).floor(),
            high: (entries.high - live.low).max(0.0).ceil(),
        },
        without: Some(Estimate {
            value: 1.0 - with.value,
            low: 1.0 - with.high,
            high: 1.0 - with.low,
        }),
    }
}

/// Whether most entries are known to have an end on this host, or to have none.
pub fn placed(stay: &Stay, joined: &Joined) -> bool {
    joined.unplaced.value * 2.0 < stay.pile.entries.value.max(1.0)
}

/// Of those that sockets were looked for, the share that has one.
fn share(joined: Joined) -> Estimate {
    let all = joined.entries.value.round() as u64;
    let found = Estimate::of_sample(joined.found, joined.looked_for, all);
    let of = |n: f64| (n / joined.entries.value.max(1.0)).min(1.0);
    Estimate {
        value: joined.found as f64 / joined.looked_for as f64,
        low: of(found.low),
        high: of(found.high),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Pile;

    fn stay(entries: f64, local: f64, looked_for: u64, found: u64) -> Stay {
        Stay {
            pile: Pile {
                entries: Estimate::exact(entries),
                ..Pile::default()
            },
            joined: Some(Joined {
                entries: Estimate::exact(local),
                looked_for,
                found,
                ..Joined::default()
            }),
        }
    }

    #[test]
    fn what_a_socket_stands_behind_is_not_held() {
        let all = behind(&stay(1_000.0, 1_000.0, 512, 512));
        assert!(all.held.value == 0.0 && all.held.high < 10.0, "{all:?}");
        let none = behind(&stay(1_000.0, 1_000.0, 512, 0));
        assert!(none.held.value == 1_000.0 && none.held.low > 990.0, "{none:?}");
        let few = behind(&stay(10.0, 10.0, 10, 5));
        assert_eq!(
            (few.held, few.without),
            (Estimate::exact(5.0), Some(Estimate::exact(0.5)))
        );
    }

    #[test]
    fn of_forwarded_entries_sockets_say_nothing() {
        let got = behind(&stay(1_000.0, 0.0, 0, 0));
        assert_eq!((got.held, got.without), (Estimate::exact(1_000.0), None));
    }
}
