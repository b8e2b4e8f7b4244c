//! What timeouts to set, what they would have done to recorded flows, and when to switch between them.

mod adaptive;
mod measured;
mod recommend;

pub use adaptive::{Adaptive, Mode, Switch};
pub use measured::{Measured, OfTimer, Quantiles};
pub use recommend::{
    Advice, Asks, Change, Fill, Observed, Price, Recommendation, Row, Size, Trouble, recommend,
};
