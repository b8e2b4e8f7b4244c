//! Entries over time, and as they are now.

use ratatui::Frame as Canvas;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Borders, Chart, Dataset, GraphType, Paragraph};

use super::paint::paint;
use super::screen::Screen;
use crate::evidence::StateRow;
use crate::render::{Frame, compact, rate};

/// States that are drawn as lines.
const LINES: usize = 3;
const COLOURS: [Color; LINES] = [Color::Cyan, Color::Yellow, Color::Magenta];
const HELD: Color = Color::Red;

/// Names of the states with the most entries in what is kept.
pub fn leaders(screen: &Screen) -> Vec<String> {
    let mut most: Vec<(&str, f64)> = Vec::new();
    let rows = screen
        .past()
        .flat_map(|frame| frame.report.states.iter().flatten());
    for row in rows {
        let (name, entries) = (row.name(), row.entries.value);
        match most.iter_mut().find(|(known, _)| *known == name) {
            Some((_, most)) => *most = most.max(entries),
            None => most.push((name, entries)),
        }
    }
    most.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    let names = most.into_iter().take(LINES).map(|(name, _)| name);
    names.map(str::to_string).collect()
}

fn held(frame: &Frame) -> Option<f64> {
    frame.half_open.map(|told| told.held.value)
}

/// Entries over seconds, and how they are drawn.
type Curve = (Vec<(f64, f64)>, Color, Marker);

pub fn chart(canvas: &mut Canvas, screen: &Screen, leaders: &[String], area: Rect) {
    let entries = |frame: &Frame, wanted: &str| {
        let rows = frame.report.states.iter().flatten();
        let rows = rows.filter(|row| row.name() == wanted);
        rows.map(|row| row.entries.value).sum::<f64>()
    };
    let over_time = |of: &dyn Fn(&Frame) -> Option<f64>| -> Vec<(f64, f64)> {
        let points = screen.past().map(|frame| Some((frame.at_secs, of(frame)?)));
        points.flatten().collect()
    };
    let mut lines: Vec<Curve> = leaders
        .iter()
        .zip(COLOURS)
        .map(|(leader, colour)| {
            let line = over_time(&|frame| Some(entries(frame, leader)));
            (line, colour, Marker::Braille)
        })
        .collect();
    // Last, so that it is drawn over the others; by its dots it stands out without colour too.
    lines.push((over_time(&held), HELD, Marker::Dot));
    let (mut first, mut last, mut most) = (f64::INFINITY, 0.0f64, 1.0f64);
    for (at, value) in lines.iter().flat_map(|(line, ..)| line) {
        (first, last, most) = (first.min(*at), last.max(*at), most.max(*value));
    }
    let first = first.min(last - 1.0);
    let sets = lines.iter().map(|(line, colour, marker)| {
        let kind = match marker {
            Marker::Dot => GraphType::Scatter,
            _ => GraphType::Line,
        };
        Dataset::default()
            .marker(*marker)
            .graph_type(kind)
            .style(paint(screen, *colour))
            .data(line)
    });
    let title = format!(" {:.0} s of entries by state, \u{2022} held ", last - first);
    let chart = Chart::new(sets.collect())
        .block(Block::default().borders(Borders::ALL).title(title))
        .x_axis(Axis::default().bounds([first, last]))
        .y_axis(
            Axis::default()
                .bounds([0.0, most])
                .labels(["0".to_string(), compact(most)]),
        )
        .legend_position(None);
    canvas.render_widget(chart, area);
}

pub fn states(canvas: &mut Canvas, screen: &Screen, leaders: &[String], frame: &Frame, area: Rect) {
    let rows = StateRow::by_entries(frame.report.states.as_deref());
    let line = |row: &StateRow| {
        let name = row.name();
        let new = row.new_per_s.map(|new| format!("+{}/s", rate(new.value)));
        let text = format!(
            "{name:<11}{:>6} {:>6}",
            compact(row.entries.value),
            new.unwrap_or_default()
        );
        match leaders.iter().position(|leader| *leader == name) {
            Some(index) => Line::styled(text, paint(screen, COLOURS[index])),
            None => Line::raw(text),
        }
    };
    let mut lines: Vec<Line> = Vec::new();
    match frame.half_open {
        Some(told) => {
            let held = format!("\u{2022} held     {:>6}", compact(told.held.value));
            lines.push(Line::styled(held, paint(screen, HELD)));
            lines.push(Line::raw(format!("  live     {:>6}", compact(told.live.value))));
        }
        None => lines.push(Line::raw("held or live: not known")),
    }
    lines.extend(rows.into_iter().map(line));
    let block = Block::default().borders(Borders::ALL).title(" now ");
    canvas.render_widget(Paragraph::new(lines).block(block), area);
}
