//! Where the entries of one reading go: what is left to tell holders by where nobody hears events.

use foldhash::HashMap;

use super::ledger::{MAX_PLACES, Place, place_of};
use crate::model::Flow;

/// Entries by destination, of one pass over the table.
#[derive(Default)]
pub struct Holders {
    places: HashMap<Place, u64>,
    entries: u64,
}

impl Holders {
    pub fn add(&mut self, flow: &Flow) {
        self.entries += 1;
        let place = place_of(flow);
        // What comes later is in the whole, and has no row.
        let room = self.places.len() < MAX_PLACES;
        match self.places.get_mut(&place) {
            Some(entries) => *entries += 1,
            None if room => drop(self.places.insert(place, 1)),
            None => {}
        }
    }

    /// The places with the most entries, most first; of `count` entries where the pass met only a part of them.
    pub fn top(&self, rows: usize, count: Option<u64>) -> Vec<(Place, f64)> {
        let scale = count
            .filter(|_| self.entries > 0)
            .map_or(1.0, |count| count as f64 / self.entries as f64);
        let mut all: Vec<_> = self.places.iter().map(|(place, n)| (*place, *n)).collect();
        all.sort_unstable_by(|(a, x), (b, y)| y.cmp(x).then(a.cmp(b)));
        all.truncate(rows);
        all.into_iter()
            .map(|(place, n)| (place, n as f64 * scale))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::proto;

    #[test]
    fn a_part_of_the_table_is_scaled_to_the_whole() {
        let mut holders = Holders::default();
        assert_eq!(holders.top(3, Some(9)), []);
        for port in [80, 80, 443, 80, 443, 53] {
            let mut flow = Flow {
                proto: proto::TCP,
                ..Flow::default()
            };
            flow.orig.dport = port;
            holders.add(&flow);
        }
        let ports = |count| -> Vec<(u16, f64)> {
            let top = holders.top(2, count);
            top.into_iter().map(|((_, port, _), n)| (port, n)).collect()
        };
        assert_eq!(ports(None), [(80, 3.0), (443, 2.0)]);
        assert_eq!(ports(Some(60)), [(80, 30.0), (443, 20.0)]);
    }
}
