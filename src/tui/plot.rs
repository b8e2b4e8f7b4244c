//! Curves as lines of text, for output that is no screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use crate::render::compact;

const WIDTH: u16 = 78;
const HEIGHT: u16 = 14;

/// A name, and its values over seconds. Each curve gets a marker of its own; they are told apart without colour.
pub fn plot(curves: &[(String, Vec<(f64, f64)>)]) -> String {
    let (mut last, mut most) = (1.0f64, 1.0f64);
    for (at, value) in curves.iter().flat_map(|(_, line)| line) {
        (last, most) = (last.max(*at), most.max(*value));
    }
    let sets = curves.iter().enumerate().map(|(index, (_, line))| {
        Dataset::default()
            .marker(MARKERS[index % MARKERS.len()].0)
            .graph_type(GraphType::Line)
            .data(line)
    });
    let chart = Chart::new(sets.collect())
        .x_axis(
            Axis::default()
                .bounds([0.0, last])
                .labels(["0 s".to_string(), format!("{last:.0} s")]),
        )
        .y_axis(
            Axis::default()
                .bounds([0.0, most])
                .labels(["0".to_string(), compact(most)]),
        )
        .legend_position(None);
    let area = Rect::new(0, 0, WIDTH, HEIGHT);
    let mut buffer = Buffer::empty(area);
    chart.render(area, &mut buffer);
    let mut out = String::new();
    for y in 0..HEIGHT {
        let row: String = (0..WIDTH).map(|x| buffer[(x, y)].symbol()).collect();
        out.push_str(row.trim_end());
        out.push('\n');
    }
    for (index, (name, _)) in curves.iter().enumerate() {
        out.push_str(&format!("  {} {name}\n", MARKERS[index % MARKERS.len()].1));
    }
    out
}

/// How a curve is drawn, and what it looks like.
const MARKERS: [(Marker, &str); 4] = [
    (Marker::Braille, "\u{2824}"),
    (Marker::Dot, "\u{2022}"),
    (Marker::Block, "\u{2588}"),
    (Marker::Bar, "\u{2584}"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_stay_within_their_width() {
        let rising = (0..100).map(|n| (f64::from(n), f64::from(n) * 50.0)).collect();
        let flat = (0..100).map(|n| (f64::from(n), 1000.0)).collect();
        let text = plot(&[
            ("as it was".to_string(), rising),
            ("syn_sent=20".to_string(), flat),
        ]);
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        assert!(text.contains("4,950") && text.contains("99 s") && text.contains("\u{2022} syn_sent=20"));
        assert_eq!(plot(&[]).lines().count(), usize::from(HEIGHT));
    }
}
