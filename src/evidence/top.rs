//! Entries counted by chosen fields, for `list --top`.

use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};

use super::Sample;
use crate::model::{Flow, TcpState, proto};

/// Distinct keys remembered; later ones go into one row of others.
const MAX_KEYS: usize = 100_000;

/// A field to count by. Tuple fields are the original direction's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Src,
    Dst,
    Sport,
    Dport,
    Proto,
    State,
    Zone,
    Mark,
}

impl Key {
    pub const ALL: [Key; 8] = [
        Key::Src,
        Key::Dst,
        Key::Sport,
        Key::Dport,
        Key::Proto,
        Key::State,
        Key::Zone,
        Key::Mark,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Key::Src => "src",
            Key::Dst => "dst",
            Key::Sport => "sport",
            Key::Dport => "dport",
            Key::Proto => "proto",
            Key::State => "state",
            Key::Zone => "zone",
            Key::Mark => "mark",
        }
    }

    pub fn from_name(name: &str) -> Option<Key> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }
}

/// One field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    Addr(IpAddr),
    Number(u32),
    Proto(u8),
    State(Option<TcpState>),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Addr(addr) => write!(f, "{addr}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Proto(number) => match proto::name(*number) {
                Some(name) => f.write_str(name),
                None => write!(f, "{number}"),
            },
            Value::State(state) => f.write_str(state.map_or("-", |s| s.name())),
        }
    }
}

pub struct Top {
    keys: Vec<Key>,
    counts: HashMap<Vec<Value>, u64>,
    scratch: Vec<Value>,
    others: u64,
}

/// What was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct TopTable {
    pub keys: Vec<Key>,
    /// Largest first; ties in the order of their values.
    pub rows: Vec<(Vec<Value>, u64)>,
    /// Entries whose key came after the limit of distinct keys.
    pub others: u64,
    pub entries: u64,
    /// Set by who made the pass, where it was closed early: counts are then of the sample.
    pub sample: Option<Sample>,
}

impl Top {
    pub fn new(keys: Vec<Key>) -> Top {
        Top {
            keys,
            counts: HashMap::new(),
            scratch: Vec::new(),
            others: 0,
        }
    }

    pub fn add(&mut self, flow: &Flow) {
        self.scratch.clear();
        self.scratch.extend(self.keys.iter().map(|key| value(*key, flow)));
        if let Some(count) = self.counts.get_mut(&self.scratch) {
            *count += 1;
        } else if self.counts.len() < MAX_KEYS {
            self.counts.insert(self.scratch.clone(), 1);
        } else {
            self.others += 1;
        }
    }

    pub fn finish(self) -> TopTable {
        let mut rows: Vec<_> = self.counts.into_iter().collect();
        rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let entries = rows.iter().map(|row| row.1).sum::<u64>() + self.others;
        TopTable {
            keys: self.keys,
            rows,
            others: self.others,
            entries,
            sample: None,
        }
    }
}

fn value(key: Key, flow: &Flow) -> Value {
    match key {
        Key::Src => Value::Addr(flow.orig.src),
        Key::Dst => Value::Addr(flow.orig.dst),
        Key::Sport => Value::Number(flow.orig.sport.into()),
        Key::Dport => Value::Number(flow.orig.dport.into()),
        Key::Proto => Value::Proto(flow.proto),
        Key::State => Value::State(flow.tcp_state),
        Key::Zone => Value::Number(flow.zone.unwrap_or(0).into()),
        Key::Mark => Value::Number(flow.mark.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_orders() {
        let mut top = Top::new(vec![Key::Dport, Key::State]);
        for port in [80, 443, 80, 22] {
            let mut flow = Flow {
                proto: 6,
                tcp_state: Some(TcpState::SynSent),
                ..Flow::default()
            };
            flow.orig.dport = port;
            top.add(&flow);
        }
        let got = top.finish();
        assert_eq!((got.entries, got.others), (4, 0));
        let ports: Vec<(String, u64)> = got.rows.iter().map(|(k, n)| (k[0].to_string(), *n)).collect();
        assert_eq!(
            ports,
            [
                ("80".to_string(), 2),
                ("22".to_string(), 1),
                ("443".to_string(), 1)
            ]
        );
        assert_eq!(got.rows[0].0[1].to_string(), "SYN_SENT");
    }
}
