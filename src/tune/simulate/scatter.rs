//! Numbers that look random and are always the same, so that the same recording gives the same figures.

/// A number between 0 and 1 that looks random, and is always the same (the finalizer of splitmix64).
pub fn fraction(flow: u32, copy: u32) -> f64 {
    scattered(u64::from(flow) << 32 | u64::from(copy)) as f64 / u64::MAX as f64
}

pub fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
