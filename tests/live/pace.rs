//! The only sleeps: between two looks at a condition that has a bound, and between two ticks of traffic.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(50);
const TICK: Duration = Duration::from_millis(5);

/// False where it still does not hold after `bound`.
pub fn until(bound: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() >= bound {
            return false;
        }
        pause(POLL);
    }
    true
}

/// Between two rounds of work that has a bound of its own.
pub fn tick() {
    pause(TICK);
}

#[allow(clippy::disallowed_methods)] // its callers wait for conditions
fn pause(span: Duration) {
    std::thread::sleep(span);
}
