//! Two profiles, and the fills at which to change from one to the other, as pf's adaptive timeouts do. It decides which
//! would be in force, and changes nothing.

use serde::Serialize;

use crate::model::Profile;

/// Above it the spike's timeouts are to be in force at the latest, whatever was measured (pf.conf(5), adaptive.start: 60 %
/// of the limit).
const LATEST: f64 = 0.6;
/// Below it nothing is worth a change.
const SOONEST: f64 = 0.2;
/// The table is to stay below this meanwhile.
const FULL: f64 = 0.95;
/// It goes back only when so much of the threshold is free again.
const BACK: f64 = 0.6;

#[derive(Clone, Debug, PartialEq)]
pub struct Adaptive {
    pub calm: Profile,
    pub spike: Profile,
    pub switch: Switch,
}

/// Fills, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Switch {
    /// From here on the spike's profile.
    pub up: f64,
    /// Below it the calm one again.
    pub down: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Calm,
    Spike,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Calm => "calm",
            Mode::Spike => "spike",
        }
    }

    /// What would be in force next, at this fill.
    pub fn next(self, fill: f64, switch: Switch) -> Mode {
        match self {
            Mode::Calm if fill >= switch.up => Mode::Spike,
            Mode::Spike if fill < switch.down => Mode::Calm,
            stays => stays,
        }
    }
}

impl Switch {
    /// Entries that are there keep their timeouts: when the spike's come in force, the table must have room for all that
    /// it will hold under those, `spike_fill`, beside what is there. `calm_fill`: on a quiet day.
    pub fn at(calm_fill: f64, spike_fill: f64) -> Switch {
        let up = (FULL - spike_fill)
            .clamp(SOONEST, LATEST)
            .max((calm_fill * 1.25).min(FULL));
        Switch {
            up,
            down: (up * BACK).max((calm_fill * 1.1).min(up)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_changes_late_and_goes_back_later_still() {
        let switch = Switch::at(0.05, 0.2);
        assert_eq!(switch, Switch { up: 0.6, down: 0.36 });
        let fills = [0.1, 0.59, 0.6, 0.5, 0.37, 0.35, 0.5];
        let modes = fills.iter().scan(Mode::Calm, |mode, fill| {
            *mode = mode.next(*fill, switch);
            Some(mode.name())
        });
        let want = ["calm", "calm", "spike", "spike", "spike", "calm", "calm"];
        assert!(modes.eq(want));
        // A spike that fills half of the table needs room earlier.
        assert!((Switch::at(0.05, 0.5).up - 0.45).abs() < 1e-9);
        let full_anyway = Switch::at(0.7, 0.9);
        assert!(full_anyway.up > 0.7 && full_anyway.down <= full_anyway.up);
    }
}
