//! A figure with its error bounds: exact figures have none.

/// The normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.96;

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

    /// What `hits` among `looked_at` of `total` say of them all: a Wilson interval with a finite population.
    pub fn of_sample(hits: u64, looked_at: u64, total: u64) -> Estimate {
        let (n, whole) = (looked_at as f64, total as f64);
        if total <= looked_at {
            return Estimate::exact(hits as f64);
        }
        if looked_at == 0 {
            return Estimate {
                value: 0.0,
                low: 0.0,
                high: whole,
            };
        }
        let share = hits as f64 / n;
        // Without replacement a sample tells more: n grows to infinity as it nears the whole.
        let n = n * (whole - 1.0) / (whole - n);
        let centre = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        Estimate {
            value: (share * whole).round(),
            low: ((centre - half) * whole).floor().max(hits as f64),
            high: ((centre + half) * whole).ceil().min(whole),
        }
    }

    pub fn is_exact(&self) -> bool {
        self.low == self.value && self.high == self.value
    }

    /// Cut to what the interval can tell: bounds outwards, the value to the nearest step of their width.
    pub fn rounded(&self) -> Estimate {
        let half = (self.high - self.low) / 2.0;
        if half < 10.0 {
            return *self;
        }
        let step = 10f64.powf((half / 2.0).log10().floor());
        // Never past its own bounds: the most that a part can be is the whole.
        let value = ((self.value / step).round() * step).clamp(self.low, self.high);
        let high = (self.high / step).ceil() * step;
        Estimate {
            value,
            low: (self.low / step).floor() * step,
            high: if self.high == self.value { self.high } else { high },
        }
    }

    /// Of parts that err independently, as what a sample says of several kinds of entries does.
    pub fn sum(parts: impl IntoIterator<Item = Estimate>) -> Estimate {
        let (mut value, mut down, mut up) = (0.0, 0.0, 0.0);
        for part in parts {
            value += part.value;
            down = f64::hypot(down, part.value - part.low);
            up = f64::hypot(up, part.high - part.value);
        }
        Estimate {
            value,
            low: value - down,
            high: value + up,
        }
    }

    /// Of parts that err all the same way, as what is taken for held does.
    pub fn sum_at_worst(parts: impl IntoIterator<Item = Estimate>) -> Estimate {
        parts.into_iter().fold(Estimate::exact(0.0), |a, b| Estimate {
            value: a.value + b.value,
            low: a.low + b.low,
            high: a.high + b.high,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn independent_errors_partly_cancel() {
        let part = |value, error| Estimate {
            value,
            low: value - error,
            high: value + error,
        };
        let parts = [part(1_000.0, 30.0), part(2_000.0, 40.0), Estimate::exact(5.0)];
        assert_eq!(Estimate::sum(parts), part(3_005.0, 50.0));
        assert_eq!(Estimate::sum_at_worst(parts), part(3_005.0, 70.0));
        assert_eq!(Estimate::sum([Estimate::exact(2.0); 3]), Estimate::exact(6.0));
    }

    #[test]
    fn rounding_keeps_the_interval_and_exact_figures() {
        let sampled = Estimate {
            value: 399_124.0,
            low: 393_012.0,
            high: 404_987.0,
        };
        let want = Estimate {
            value: 399_000.0,
            low: 393_000.0,
            high: 405_000.0,
        };
        assert_eq!(sampled.rounded(), want);
        let all = Estimate {
            value: 6_750.0,
            low: 4_900.0,
            high: 6_750.0,
        };
        let want = Estimate {
            value: 6_750.0,
            low: 4_900.0,
            high: 6_750.0,
        };
        assert_eq!(all.rounded(), want, "no part is larger than the whole");
        assert_eq!(Estimate::exact(6_248.0).rounded(), Estimate::exact(6_248.0));
        let tight = Estimate {
            value: 90.0,
            low: 87.0,
            high: 90.0,
        };
        assert_eq!(tight.rounded(), tight);
    }
}
