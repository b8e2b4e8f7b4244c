//! A row per protocol and TCP state: how many entries, how old, how fast they come.

use hdrhistogram::Histogram;

use super::StateRow;
use super::arrivals::{ARRIVAL_SECS, per_second};
use super::sampling::Sample;
use crate::model::{Flow, TcpState, Timeouts, Timer, proto};

/// Rows: TCP by state, then the other protocols in the order of their numbers.
const TCP_ROWS: usize = 10;
const OTHER: [u8; 7] = [
    proto::ICMP,
    proto::UDP,
    33,
    proto::GRE,
    proto::ICMPV6,
    proto::SCTP,
    136,
];
/// Protocols of no row of their own.
const REST: usize = TCP_ROWS + OTHER.len();
/// A flowtable's TCP entries come without their state.
const OFFLOADED: usize = REST + 1;
const ROWS: usize = OFFLOADED + 1;
const LONGEST_SECS: u64 = 500_000;
/// Rows that have entries.
pub struct Rows([Option<Box<Row>>; ROWS]);

impl Default for Rows {
    fn default() -> Rows {
        Rows(std::array::from_fn(|_| None))
    }
}

impl Rows {
    pub fn add(&mut self, flow: &Flow, age: Option<u32>) {
        let row = self.0[row_of(flow)].get_or_insert_with(|| {
            let ages = Histogram::new_with_bounds(1, LONGEST_SECS, 2).expect("constant bounds are valid");
            Box::new(Row {
                entries: 0,
                evictable: 0,
                known: 0,
                oldest: 0,
                ages,
            })
        });
        row.entries += 1;
        row.evictable += u64::from(!flow.status.assured());
        if let Some(age) = age {
            row.known += 1;
            row.ages.saturating_record(u64::from(age));
            row.oldest = row.oldest.max(age);
        }
    }

    /// Entries met that came each second, about: each TCP connection ends in one of the states counted.
    pub fn arriving_per_s(&self) -> f64 {
        let rows = self.0.iter().enumerate();
        let told = rows.filter(|(index, _)| TcpState::from_number(*index as u8).is_none_or(tells_arrivals));
        let young = told.filter_map(|(_, row)| Some(row.as_ref()?.ages.count_between(0, ARRIVAL_SECS)));
        young.sum::<u64>() as f64 / ARRIVAL_SECS as f64
    }

    /// TCP first, in the kernel's order.
    pub fn finish(&self, sample: Sample, timeouts: &Timeouts) -> Vec<StateRow> {
        let rows = &self.0;
        let all: u64 = rows.iter().flatten().map(|row| row.entries).sum();
        let partial = sample.is_part();
        let mut out = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let Some(row) = row else { continue };
            let state = TcpState::from_number(index as u8).filter(|_| index < TCP_ROWS);
            let number = OTHER.get(index.wrapping_sub(TCP_ROWS)).copied();
            let proto = match (state, number) {
                (Some(_), _) => "tcp",
                _ if index == OFFLOADED => "tcp",
                (None, Some(number)) => proto::name(number).unwrap_or("other"),
                (None, None) => "other",
            };
            let counted = state.is_some_and(tells_arrivals);
            out.push(StateRow {
                proto: proto.to_string(),
                state: match state {
                    _ if index == OFFLOADED => Some("OFFLOAD".to_string()),
                    state => state.map(|s| s.name().to_string()),
                },
                entries: sample.estimate(row.entries),
                share: row.entries as f64 / all.max(1) as f64,
                timeout_s: match state {
                    Some(state) => timeouts.of_tcp(state),
                    None if index == OFFLOADED => None,
                    None => other_timeout(number, timeouts),
                },
                new_per_s: (counted && row.known > 0).then(|| per_second(&row.ages, sample)),
                oldest_s: (row.known > 0).then_some(row.oldest),
                median_s: (row.known > 0).then(|| (row.ages.value_at_quantile(0.5) as u32).min(row.oldest)),
                oldest_at_least: partial,
                evictable: sample.estimate(row.evictable),
            });
        }
        out
    }
}

/// States that every packet renews have no arrivals that ages could tell.
fn tells_arrivals(state: TcpState) -> bool {
    matches!(
        state,
        TcpState::SynSent | TcpState::SynRecv | TcpState::TimeWait | TcpState::Close
    )
}

struct Row {
    entries: u64,
    evictable: u64,
    known: u64,
    /// A histogram keeps it only to two digits.
    oldest: u32,
    ages: Histogram<u32>,
}

fn row_of(flow: &Flow) -> usize {
    if flow.proto == proto::TCP {
        return flow.tcp_state.map_or(OFFLOADED, |state| state as usize);
    }
    let own = OTHER.iter().position(|p| *p == flow.proto);
    own.map_or(REST, |at| TCP_ROWS + at)
}

fn other_timeout(number: Option<u8>, timeouts: &Timeouts) -> Option<u32> {
    let timer = match number {
        Some(proto::UDP | 136) => Timer::Udp,
        Some(proto::ICMP) => Timer::Icmp,
        Some(proto::ICMPV6) => Timer::Icmpv6,
        Some(proto::GRE) => Timer::Gre,
        Some(_) => return None,
        None => Timer::Generic,
    };
    timeouts.get(timer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_told_to_the_second() {
        let mut rows = Rows::default();
        let flow = Flow {
            proto: proto::TCP,
            tcp_state: Some(TcpState::Established),
            ..Flow::default()
        };
        rows.add(&flow, Some(90_000));
        let got = rows.finish(Sample::all(1), &Timeouts::default());
        assert_eq!((got[0].oldest_s, got[0].median_s), (Some(90_000), Some(90_000)));
    }
}
