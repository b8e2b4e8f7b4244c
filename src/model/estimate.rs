//! A figure with its error bounds: exact figures have none.

/// `value` with a 95 % interval; `low == value == high` for a count that is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    pub fn exact(value: f64) -> Estimate {
        Estimate {
            value,
            low: value,
            high: value,
        }
    }

    pub fn is_exact(&self) -> bool {
        self.low == self.value && self.high == self.value
    }

    pub fn sum(parts: impl IntoIterator<Item = Estimate>) -> Estimate {
        parts.into_iter().fold(Estimate::exact(0.0), |a, b| Estimate {
            value: a.value + b.value,
            low: a.low + b.low,
            high: a.high + b.high,
        })
    }
}
