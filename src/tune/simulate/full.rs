//! Who hangs in which bucket: only a full table needs to know.

use foldhash::HashMap;

use super::scatter::scattered;

/// NF_CT_EVICTION_RANGE
const RANGE: u64 = 8;

/// Two nodes an entry, one for each direction.
pub struct Buckets {
    count: u64,
    chains: HashMap<u64, Vec<u32>>,
}

impl Buckets {
    pub fn new(count: u64) -> Buckets {
        Buckets {
            count,
            chains: HashMap::default(),
        }
    }

    pub fn insert(&mut self, flow: u32) {
        for bucket in places(flow, self.count) {
            self.chains.entry(bucket).or_default().push(flow);
        }
    }

    pub fn remove(&mut self, flow: u32) {
        for bucket in places(flow, self.count) {
            if let Some(chain) = self.chains.get_mut(&bucket) {
                chain.retain(|other| *other != flow);
                if chain.is_empty() {
                    self.chains.remove(&bucket);
                }
            }
        }
    }

    /// All that a lookup of the flow's two directions walks past.
    pub fn chains(&self, flow: u32) -> Vec<u32> {
        let chains = places(flow, self.count).map(|bucket| self.chains.get(&bucket));
        chains.into_iter().flatten().flatten().copied().collect()
    }

    /// Of the buckets from the new flow's own on, the evictable entries of the first that has any; and all that were met.
    pub fn victims(&self, flow: u32, evictable: &dyn Fn(u32) -> bool) -> (Vec<u32>, Vec<u32>) {
        let [own, _] = places(flow, self.count);
        let mut met = Vec::new();
        for step in 0..RANGE {
            let chain = self.chains.get(&((own + step) % self.count));
            met.extend(chain.into_iter().flatten().copied());
            let mut found: Vec<u32> = met.iter().copied().filter(|flow| evictable(*flow)).collect();
            found.sort_unstable();
            found.dedup();
            if !found.is_empty() {
                return (found, met);
            }
        }
        (Vec::new(), met)
    }
}

/// Where a flow's two tuples hang.
fn places(flow: u32, buckets: u64) -> [u64; 2] {
    [0u64, 1].map(|which| scattered(u64::from(flow) << 1 | which) % buckets)
}
