//! What timeouts to set, what they would have done to recorded flows, and when to switch between them.

mod adaptive;
mod lives;
mod measured;
mod recommend;
mod simulate;

pub use adaptive::{Adaptive, Mode, Switch};
pub use lives::Lives;
pub use measured::{Measured, OfTimer, Quantiles};
pub use recommend::{
    Advice, Asks, Change, Fill, Observed, Price, Recommendation, Row, Size, Trouble, recommend,
};
pub use simulate::{Peak, Point, Simulated, Under, simulate};
