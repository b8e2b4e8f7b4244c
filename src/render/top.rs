//! Entries counted by chosen fields: `list --top`.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::columns::{Align, columns};
use super::figures::{middle, percent, plus_minus};
use super::json::document;
use super::page::Page;
use super::style::{Paint, Style};
use crate::diagnose::whole;
use crate::evidence::{Key, TopTable, Value};
use crate::model::{Estimate, TcpState, proto};

pub const TOP_SCHEMA: &str = "ctlens.top/1";
/// Fewer in a sample are only a lower bound worth printing.
const FEW: u64 = 30;

/// At most `limit` rows, largest first; what is left out is summed up below.
pub fn top_text(table: &TopTable, limit: usize, style: &Style) -> String {
    let mut page = Page::new(style);
    if table.entries == 0 {
        page.text("", "No entry matches.", Paint::Plain);
        return page.finish();
    }
    let sampled = sampled_of(table).is_some();
    let mut titles = vec![("entries", Align::Right)];
    if sampled {
        titles.push(("+-", Align::Right));
    }
    titles.push(("share", Align::Right));
    titles.extend(table.keys.iter().map(|key| {
        let numeric = matches!(key, Key::Sport | Key::Dport | Key::Zone | Key::Mark);
        (key.name(), if numeric { Align::Right } else { Align::Left })
    }));
    let row = |(values, entries): &(Vec<Value>, u64)| {
        let mut cells = counted(table, *entries);
        cells.push(percent(*entries as f64 / table.entries as f64));
        cells.extend(values.iter().map(Value::to_string));
        cells
    };
    let rows: Vec<_> = table.rows.iter().take(limit).map(row).collect();
    page.lines(&columns(&titles, &rows, 2));
    footer(&mut page, table, limit);
    page.finish()
}

fn sampled_of(table: &TopTable) -> Option<(u64, u64)> {
    let sample = table.sample?;
    sample
        .of
        .filter(|of| *of > sample.looked_at)
        .map(|of| (sample.looked_at, of))
}

/// The cells of `entries` and, in a sample, `+-`.
fn counted(table: &TopTable, entries: u64) -> Vec<String> {
    match table.sample.filter(|_| sampled_of(table).is_some()) {
        None => vec![whole(entries as f64)],
        Some(_) if entries < FEW => vec![format!(">={entries}"), String::new()],
        Some(sample) => {
            let estimate = sample.estimate(entries);
            vec![middle(estimate), plus_minus(estimate)]
        }
    }
}

fn footer(page: &mut Page, table: &TopTable, limit: usize) {
    let left = table.rows.get(limit..).unwrap_or(&[]);
    let others: u64 = left.iter().map(|row| row.1).sum();
    page.gap();
    let at_least = if table.others > 0 { "at least " } else { "" };
    let looked = if sampled_of(table).is_some() {
        " in the sample"
    } else {
        ""
    };
    let mut text = format!(
        "{}{looked}, {at_least}{}",
        counted_as(table.entries, "entry", "entries"),
        counted_as(table.rows.len() as u64, "key", "different keys")
    );
    if !left.is_empty() {
        text.push_str(&format!(
            "; not shown: {} with {}",
            counted_as(left.len() as u64, "key", "keys"),
            counted_as(others, "entry", "entries")
        ));
    }
    if table.others > 0 {
        text.push_str(&format!(
            "; others: {} entries whose keys came after the {} that are remembered, so a key may have more",
            whole(table.others as f64),
            whole(table.rows.len() as f64)
        ));
    }
    page.text("", &format!("{text}."), Paint::Dim);
    if let Some((looked_at, of)) = sampled_of(table) {
        let text = format!(
            "A sample of {} of {} entries: +- is a 95 % interval, >= means at least; keys with few entries may be \
             missing.",
            whole(looked_at as f64),
            whole(of as f64)
        );
        page.text("", &text, Paint::Yellow);
    }
}

fn counted_as(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", whole(n as f64), if n == 1 { one } else { many })
}

/// Schema `ctlens.top/1`: `rows` hold a member per key, `entries` and `share`. In a sample a row's `entries` are
/// estimated for the whole table, with `low` and `high`; all other counts are of the entries looked at.
pub fn top_json(table: &TopTable, limit: usize) -> String {
    document(&Doc { table, limit })
}

struct Doc<'a> {
    table: &'a TopTable,
    limit: usize,
}

impl Serialize for Doc<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let table = self.table;
        let sampled = sampled_of(table);
        let shown = &table.rows[..self.limit.min(table.rows.len())];
        let left = &table.rows[shown.len()..];
        let names: Vec<&str> = table.keys.iter().map(|key| key.name()).collect();
        let rows: Vec<RowDoc> = shown.iter().map(|row| RowDoc { table, row }).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", TOP_SCHEMA)?;
        map.serialize_entry("keys", &names)?;
        map.serialize_entry("entries", &table.entries)?;
        map.serialize_entry("looked_at", &sampled.map(|(looked_at, _)| looked_at))?;
        map.serialize_entry("sampled_of", &sampled.map(|(_, of)| of))?;
        map.serialize_entry("rows", &rows)?;
        map.serialize_entry("keys_not_shown", &left.len())?;
        map.serialize_entry("entries_not_shown", &left.iter().map(|row| row.1).sum::<u64>())?;
        map.serialize_entry("others", &table.others)?;
        map.end()
    }
}

struct RowDoc<'a> {
    table: &'a TopTable,
    row: &'a (Vec<Value>, u64),
}

impl Serialize for RowDoc<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (values, entries) = self.row;
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.table.keys.iter().zip(values) {
            match value {
                Value::Addr(addr) => map.serialize_entry(key.name(), addr)?,
                Value::Number(number) => map.serialize_entry(key.name(), number)?,
                Value::Proto(number) => {
                    map.serialize_entry(key.name(), proto::name(*number).unwrap_or("unknown"))?;
                    map.serialize_entry("protonum", number)?;
                }
                Value::State(state) => map.serialize_entry(key.name(), &state.map(TcpState::name))?,
            }
        }
        match self.table.sample.filter(|_| sampled_of(self.table).is_some()) {
            None => map.serialize_entry("entries", entries)?,
            Some(sample) => {
                let Estimate { value, low, high } = sample.estimate(*entries);
                map.serialize_entry("entries", &value)?;
                map.serialize_entry("low", &low)?;
                map.serialize_entry("high", &high)?;
            }
        }
        map.serialize_entry("share", &(*entries as f64 / self.table.entries.max(1) as f64))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Sample, Top};
    use crate::model::Flow;

    const PLAIN: Style = Style {
        colour: false,
        again: String::new(),
        inside: String::new(),
    };

    fn top(keys: &[Key]) -> TopTable {
        let mut top = Top::new(keys.to_vec());
        for n in 0..200u16 {
            let mut flow = Flow {
                proto: 6,
                tcp_state: Some(TcpState::SynSent),
                ..Flow::default()
            };
            flow.orig.dst = std::net::Ipv4Addr::new(10, 9, 1, (n % 3) as u8 / 2).into();
            flow.orig.dport = if n < 190 { 80 } else { n };
            top.add(&flow);
        }
        top.finish()
    }

    #[test]
    fn top_as_text() {
        let got = top_text(&top(&[Key::Dst, Key::Dport]), 3, &PLAIN);
        let want = "\
entries   share  dst       dport
--------------------------------
    127  63.5 %  10.9.1.0     80
     63  31.5 %  10.9.1.1     80
      1   0.5 %  10.9.1.0    190

200 entries, 12 different keys; not shown: 9 keys with 9 entries.
";
        assert_eq!(got, want);
        assert_eq!(
            top_text(&Top::new(vec![Key::Dst]).finish(), 3, &PLAIN),
            "No entry matches.\n"
        );
    }

    #[test]
    fn top_of_a_sample_says_at_least() {
        let mut table = top(&[Key::State, Key::Dport]);
        table.sample = Some(Sample::fresh(1_000, 100_000));
        let got = top_text(&table, 2, &PLAIN);
        for part in [
            " 19,000  3,000  95.0 %  SYN_SENT     80\n",
            "    >=1          0.5 %  SYN_SENT    190\n",
            "\n200 entries in the sample, 11 different keys; ",
            "\nA sample of 1,000 of 100,000 entries: ",
        ] {
            assert!(got.contains(part), "no {part:?} in {got}");
        }
        let got: serde_json::Value = serde_json::from_str(&top_json(&table, 1)).unwrap();
        assert_eq!(
            (&got["looked_at"], &got["sampled_of"]),
            (&1_000.into(), &100_000.into())
        );
        assert_eq!(got["rows"][0]["entries"], 19_000);
        assert!(got["rows"][0]["low"].as_f64().unwrap() > 16_000.0);
    }

    #[test]
    fn top_as_json() {
        let got: serde_json::Value =
            serde_json::from_str(&top_json(&top(&[Key::Dst, Key::Dport, Key::Proto]), 2)).unwrap();
        let want = serde_json::json!({
            "schema": "ctlens.top/1", "keys": ["dst", "dport", "proto"], "entries": 200,
            "looked_at": null, "sampled_of": null,
            "rows": [
                {"dst": "10.9.1.0", "dport": 80, "proto": "tcp", "protonum": 6, "entries": 127, "share": 0.635},
                {"dst": "10.9.1.1", "dport": 80, "proto": "tcp", "protonum": 6, "entries": 63, "share": 0.315},
            ],
            "keys_not_shown": 10, "entries_not_shown": 10, "others": 0,
        });
        assert_eq!(got, want);
    }
}
