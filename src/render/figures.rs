//! Figures as people read them.

use crate::diagnose::whole;
use crate::model::Estimate;

/// `(393,000 to 405,000)`
pub fn bounds(value: Estimate) -> String {
    let value = value.rounded();
    format!("({} to {})", whole(value.low), whole(value.high))
}

/// `6,248`, and in a sample `399,000` without its mark.
pub fn middle(value: Estimate) -> String {
    whole(value.rounded().value)
}

/// Half the interval, as `6,000`; empty for an exact figure.
pub fn plus_minus(value: Estimate) -> String {
    if value.is_exact() {
        return String::new();
    }
    let value = value.rounded();
    whole((value.high - value.value).max(value.value - value.low))
}

/// `399k`, `1.2M`: for what is too wide otherwise.
pub fn compact(value: f64) -> String {
    match value {
        v if v < 9_999.5 => whole(v),
        v if v < 999_500.0 => format!("{:.0}k", v / 1e3),
        v if v < 99.95e6 => format!("{:.1}M", v / 1e6),
        v => format!("{}M", whole(v / 1e6)),
    }
}

/// `12.5 %`; what is not nothing never reads 0.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p > 0.0 && p < 0.05 => "<0.1 %".to_string(),
        p => format!("{p:.1} %"),
    }
}

/// `301`, `2.5` below ten, `<0.1` where there is hardly any.
pub fn rate(per_s: f64) -> String {
    match per_s {
        r if r > 0.0 && r < 0.05 => "<0.1".to_string(),
        r if r > 0.0 && r < 9.95 => format!("{r:.1}"),
        r => whole(r),
    }
}

/// An age: `119s`, `32m`, `4.9h`, `5.0d`.
pub fn age(secs: u32) -> String {
    let secs = f64::from(secs);
    match secs {
        s if s < 600.0 => format!("{s:.0}s"),
        s if s < 7200.0 => format!("{:.0}m", s / 60.0),
        s if s < 86_400.0 => format!("{:.1}h", s / 3600.0),
        s => format!("{:.1}d", s / 86_400.0),
    }
}

/// `[####................]`
pub fn bar(share: f64) -> String {
    const CELLS: usize = 20;
    let share = share.clamp(0.0, 1.0);
    let full = (share * CELLS as f64).round() as usize;
    // Neither empty while something is there nor full while room is left.
    let full = match full {
        0 if share > 0.0 => 1,
        CELLS if share < 1.0 => CELLS - 1,
        full => full,
    };
    format!("[{}{}]", "#".repeat(full), ".".repeat(CELLS - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_they_should() {
        let sampled = Estimate {
            value: 399_124.0,
            low: 393_012.0,
            high: 404_987.0,
        };
        assert_eq!(bounds(sampled), "(393,000 to 405,000)");
        assert_eq!(
            (middle(sampled), plus_minus(sampled)),
            ("399,000".into(), "6,000".into())
        );
        assert_eq!(middle(Estimate::exact(6_248.0)), "6,248");
        assert_eq!(plus_minus(Estimate::exact(6_248.0)), "");
        assert_eq!(
            [9_999.0, 399_124.0, 1.25e6, 2e9].map(compact),
            ["9,999", "399k", "1.2M", "2,000M"]
        );
        assert_eq!(
            [0.0, 0.0001, 0.0239, 1.0].map(percent),
            ["0.0 %", "<0.1 %", "2.4 %", "100.0 %"]
        );
        assert_eq!([0.0, 0.01, 2.5, 301.4].map(rate), ["0", "<0.1", "2.5", "301"]);
        assert_eq!(
            [119, 1_950, 17_600, 431_999].map(age),
            ["119s", "32m", "4.9h", "5.0d"]
        );
    }

    #[test]
    fn bars_are_neither_empty_nor_full_by_rounding() {
        assert_eq!(bar(0.0), "[....................]");
        assert_eq!(bar(0.001), "[#...................]");
        assert_eq!(bar(0.999), "[###################.]");
        assert_eq!(bar(1.2), "[####################]");
    }
}
