//! The only sleeps: between two looks at a condition that has a bound, between two ticks of traffic, and where something
//! is to happen at a time of its own.

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

/// What happens at a time of its own, whatever else does.
pub fn after(span: Duration) {
    pause(span);
}

#[allow(clippy::disallowed_methods)] // its callers wait for conditions
fn pause(span: Duration) {
    std::thread::sleep(span);
}
