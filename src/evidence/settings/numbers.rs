//! Numbers as /proc/sys reads them (proc_get_long in kernel/sysctl.c): base 8 after a 0, base 16 after 0x, and what
//! follows a blank is not read.

/// Nothing here counts further, and what is reckoned with stays within 64 bits.
const MOST: i64 = 1 << 52;

/// The first word, where the kernel takes it for a whole number.
pub fn first(value: &str) -> Option<i64> {
    whole(value.split_whitespace().next()?)
}

pub fn whole(word: &str) -> Option<i64> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, word),
    };
    let (base, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(rest) => (16, rest),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    // from_str_radix takes a sign of its own.
    let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric());
    let number = i64::from_str_radix(digits, base).ok().filter(|_| plain)?;
    Some(sign * number).filter(|_| number <= MOST)
}

/// All words, where each is a whole number.
pub fn all(value: &str) -> Option<Vec<i64>> {
    value.split_whitespace().map(whole).collect()
}

/// `1m`, `60s`, `2h`, `1d`, `500ms`, as somebody wrote it who thought of units; in whole seconds.
pub fn with_unit(word: &str) -> Option<i64> {
    let at = word.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = word.split_at(at);
    let number: i64 = digits.parse().ok()?;
    match unit {
        "s" | "sec" | "secs" => Some(number),
        "m" | "min" => number.checked_mul(60),
        "h" => number.checked_mul(3_600),
        "d" => number.checked_mul(86_400),
        "ms" => Some(number / 1_000).filter(|secs| *secs > 0),
        _ => None,
    }
}

/// 65535 -> "65,535"
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if number < 0 { format!("-{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_kernel_reads_them() {
        for (word, number) in [
            ("120", Some(120)),
            ("-1", Some(-1)),
            ("0", Some(0)),
            ("010", Some(8)),
            ("0x10", Some(16)),
            ("0030", Some(24)),
            ("09", None),
            ("60s", None),
            ("1.5", None),
            ("1e3", None),
            ("+5", None),
            ("--5", None),
            ("yes", None),
            ("", None),
            ("1;", None),
        ] {
            assert_eq!(whole(word), number, "{word}");
        }
        assert_eq!(first("60 # a minute"), Some(60));
    }

    #[test]
    fn units_that_people_write() {
        for (word, secs) in [("1m", Some(60)), ("90s", Some(90)), ("500ms", None), ("7x", None)] {
            assert_eq!(with_unit(word), secs, "{word}");
        }
        assert_eq!(
            (grouped(1_048_576), grouped(-1), grouped(999)),
            ("1,048,576".into(), "-1".into(), "999".into())
        );
    }
}
