//! JSON documents: pretty, keys in their written order, figures without noise digits.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

use crate::diagnose::Report;

/// `--format json` of `status` and `diagnose`: schema `ctlens.report/1`, with a line end.
pub fn report_json(report: &Report) -> String {
    document(report)
}

/// Plain data as a document with a line end.
pub fn document(data: &impl Serialize) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Tidy(PrettyFormatter::new()));
    data.serialize(&mut serializer)
        .expect("plain data with text keys goes into a Vec");
    out.push(b'\n');
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// Pretty, but whole numbers have no point, and others no more digits than were measured.
struct Tidy<'a>(PrettyFormatter<'a>);

const SIGNIFICANT: i32 = 6;
/// Whole numbers up to here are exact in an f64.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Formatter for Tidy<'_> {
    fn write_f64<W: ?Sized + io::Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        let value = if value.fract() == 0.0 { value } else { cut(value) };
        if value.fract() == 0.0 && value.abs() <= EXACT {
            write!(out, "{}", value as i64)
        } else {
            self.0.write_f64(out, value)
        }
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

fn cut(value: f64) -> f64 {
    let places = (SIGNIFICANT - 1 - value.abs().log10().floor() as i32).max(0);
    // Through text, so that the nearest short decimal comes out.
    format!("{value:.*}", places as usize).parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_no_noise() {
        let got = document(&[
            6156.0,
            0.023_872_375_488,
            0.1 + 0.2,
            301.416_66,
            -2.5,
            1e300,
            f64::NAN,
            0.0,
        ]);
        let got: Vec<&str> = got.lines().map(|l| l.trim().trim_end_matches(',')).collect();
        assert_eq!(
            got,
            [
                "[",
                "6156",
                "0.0238724",
                "0.3",
                "301.417",
                "-2.5",
                "1e+300",
                "null",
                "0",
                "]"
            ]
        );
    }
}
