//! Where entries go, each place by a number.

use std::net::IpAddr;

use foldhash::HashMap;

use crate::model::Flow;

/// Places that are told apart; what comes later is counted together.
pub const MAX_PLACES: usize = 65_536;

/// Where entries go: address, port, protocol.
pub type Place = (IpAddr, u16, u8);

pub fn place_of(flow: &Flow) -> Place {
    (flow.orig.dst, flow.orig.dport, flow.proto)
}

/// What came and went to one place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    pub held: u64,
    pub came: u64,
    pub went: u64,
}

#[derive(Default)]
pub struct Places {
    numbers: HashMap<Place, u32>,
    traffic: Vec<(Place, Traffic)>,
    /// Beyond [`MAX_PLACES`].
    elsewhere: Traffic,
}

impl Places {
    /// Its number; `None`: there is no room for another one.
    pub fn number(&mut self, place: Place) -> Option<u32> {
        if let Some(number) = self.numbers.get(&place) {
            return Some(*number);
        }
        if self.is_full() {
            return None;
        }
        let number = self.traffic.len();
        self.numbers.insert(place, number as u32);
        self.traffic.push((place, Traffic::default()));
        Some(number as u32)
    }

    pub fn is_full(&self) -> bool {
        self.traffic.len() >= MAX_PLACES
    }

    /// Of a number that was given, or of what is counted together.
    pub fn traffic(&mut self, number: u32) -> &mut Traffic {
        let known = self.traffic.get_mut(number as usize);
        known.map_or(&mut self.elsewhere, |(_, traffic)| traffic)
    }

    /// Forgets where nothing goes any more: the new numbers of the others, by the old ones.
    pub fn forget(&mut self) -> Vec<Option<u32>> {
        let mut moved = vec![None; self.traffic.len()];
        let mut stay = Vec::new();
        for (old, (place, traffic)) in self.traffic.iter().enumerate() {
            if traffic.held > 0 {
                moved[old] = Some(stay.len() as u32);
                stay.push((*place, *traffic));
            }
        }
        let numbers = stay.iter().zip(0..).map(|((place, _), number)| (*place, number));
        self.numbers = numbers.collect();
        self.traffic = stay;
        moved
    }

    /// The places with the most entries, most first, and what is not told apart.
    pub fn top(&self, rows: usize) -> (Vec<(Place, Traffic)>, Traffic) {
        let busy = self.traffic.iter().filter(|(_, t)| t.held + t.came > 0);
        let mut all: Vec<_> = busy.copied().collect();
        all.sort_by(|(a, x), (b, y)| (y.held, y.came).cmp(&(x.held, x.came)).then(a.cmp(b)));
        all.truncate(rows);
        (all, self.elsewhere)
    }

    /// What comes and goes is counted anew.
    pub fn begin(&mut self) {
        let all = self.traffic.iter_mut().map(|(_, traffic)| traffic);
        for traffic in all.chain(std::iter::once(&mut self.elsewhere)) {
            (traffic.came, traffic.went) = (0, 0);
        }
    }
}
