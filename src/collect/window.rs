//! The entries that a dump gave last, to know one that comes again.

use std::net::IpAddr;

use crate::model::{Flow, Tuple};

/// A dump resumes within a bucket: where the entry it would resume at is gone, ctnetlink_dump_table() begins that
/// bucket anew. A chain has at most 80 nodes (5.15, nf_conntrack_core.c), and new ones may come in between.
const REMEMBERED: usize = 128;
/// Far more than are remembered, so that nearly every new entry is told at the first look.
const SLOTS: usize = 4096;

/// What makes two entries one: an entry has its tuple alone in its zone, and its CTA_ID, which tells apart zones that
/// hold for one direction only.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    orig: Tuple,
    proto: u8,
    zone: Option<u16>,
    id: Option<u32>,
}

pub struct Window {
    /// A ring: `next` is the oldest.
    entries: Vec<(Identity, usize)>,
    next: usize,
    /// How many of the remembered have this slot.
    slots: Vec<u8>,
}

impl Default for Window {
    fn default() -> Window {
        Window {
            entries: Vec::with_capacity(REMEMBERED),
            next: 0,
            slots: vec![0; SLOTS],
        }
    }
}

impl Window {
    /// Whether this entry is among the remembered; else it is from now on.
    #[inline]
    pub fn again(&mut self, flow: &Flow) -> bool {
        let identity = Identity {
            orig: flow.orig,
            proto: flow.proto,
            zone: flow.zone,
            id: flow.id,
        };
        let slot = slot(&identity);
        if self.slots[slot] > 0 && self.entries.iter().any(|(seen, _)| *seen == identity) {
            return true;
        }
        self.slots[slot] += 1;
        if self.entries.len() < REMEMBERED {
            self.entries.push((identity, slot));
        } else {
            let (_, old) = std::mem::replace(&mut self.entries[self.next], (identity, slot));
            self.slots[old] -= 1;
            self.next = (self.next + 1) % REMEMBERED;
        }
        false
    }
}

/// CTA_ID is a keyed hash already; without it the tuple has to do.
fn slot(identity: &Identity) -> usize {
    let Tuple {
        src, sport, dport, ..
    } = identity.orig;
    let ports = u64::from(sport) << 16 | u64::from(dport);
    let mixed = u64::from(identity.id.unwrap_or(0)) ^ ports ^ low_bits(src) << 20;
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize % SLOTS
}

fn low_bits(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(four) => u64::from(u32::from(four)),
        IpAddr::V6(six) => u128::from(six) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(n: u32) -> Flow {
        let mut flow = Flow {
            proto: 6,
            id: Some(n),
            ..Flow::default()
        };
        flow.orig.src = std::net::Ipv4Addr::from(0x0a00_0000 + n / 60_000).into();
        flow.orig.sport = (n % 60_000) as u16;
        flow
    }

    #[test]
    fn an_entry_that_comes_again_is_known_as_far_back_as_a_bucket_goes() {
        let mut window = Window::default();
        for n in 0..1000 {
            assert!(!window.again(&flow(n)));
        }
        for n in 1000 - REMEMBERED as u32..1000 {
            assert!(window.again(&flow(n)), "{n}");
        }
        assert!(!window.again(&flow(1000 - REMEMBERED as u32 - 1)));
    }

    #[test]
    fn different_entries_are_never_taken_for_one() {
        let plain = Flow { id: None, ..flow(7) };
        let mut window = Window::default();
        assert!(!window.again(&plain));
        let mut others = vec![plain; 6];
        others[0].proto = 17;
        others[1].zone = Some(5);
        others[2].id = Some(1);
        others[3].orig.dst = "10.9.9.9".parse().unwrap();
        others[4].orig.dport = 1;
        others[5].orig.src = "fd00::1".parse().unwrap();
        for other in &others {
            assert!(!window.again(other), "{other:?}");
        }
        // State and timeout may have changed meanwhile.
        let later = Flow {
            timeout_secs: Some(3),
            ..plain
        };
        assert!(window.again(&later));
    }

    #[test]
    fn one_slot_for_all_costs_time_but_no_entry() {
        // Ids that differ in no bit that the slot sees would be the worst case: sums stay right.
        let mut window = Window::default();
        let mut same_slot = (0..u32::MAX).map(flow).filter({
            let wanted = slot(&Identity {
                orig: flow(0).orig,
                proto: 6,
                zone: None,
                id: Some(0),
            });
            move |f| {
                wanted
                    == slot(&Identity {
                        orig: f.orig,
                        proto: 6,
                        zone: None,
                        id: f.id,
                    })
            }
        });
        for _ in 0..3 * REMEMBERED {
            assert!(!window.again(&same_slot.next().unwrap()));
        }
        assert_eq!(
            window.slots.iter().map(|n| usize::from(*n)).sum::<usize>(),
            REMEMBERED
        );
    }
}
