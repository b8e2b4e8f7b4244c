//! The screen as it is drawn: fill and where it goes, states over time, holders, damage, verdict. 80 by 24 is enough.

use ratatui::Frame as Canvas;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Gauge, Paragraph};

use super::chart::{chart, leaders, states};
use super::paint::{bold, paint};
use super::panes::{holders, judgement};
use super::screen::{Pane, Screen};
use crate::diagnose::whole;
use crate::render::{Frame, Way, flowing, heading, percent, rate};
use crate::tune::Mode;

/// Counters whose rise is damage.
const DAMAGE: [&str; 4] = ["drop", "early_drop", "insert_failed", "chaintoolong"];
/// Below this nothing useful fits.
const LEAST: (u16, u16) = (40, 12);
/// Rows from which holders have room beside the rest.
const ROOMY: u16 = 20;
const STATES_COLUMNS: u16 = 26;
const HOLDERS_ROWS: u16 = 6;

const HELP: &str = "\
q      leave                    space  freeze, and go on
left   one look back            right  one look on
Home   the first that is kept   End    the last, and go on
Tab    the other pane           Enter  large, and small again
up     scroll the pane          down
s      sort holders by entries, by what comes, by what goes
/      only holders that contain a text (Esc: all)

The chart has the states with the most entries, and how many
half-open ones are held: nobody waits for them any more. +N/s
beside the fill is the growth of the last 20 s. The verdict
is that of `ctlens diagnose`, which tells all of it.";

pub fn draw(canvas: &mut Canvas, screen: &mut Screen) {
    let area = canvas.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("at least {} columns and {} rows, please", LEAST.0, LEAST.1);
        return canvas.render_widget(Paragraph::new(text), area);
    }
    let [title, fill, rest] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(2), Constraint::Fill(1)]).areas(area);
    canvas.render_widget(Paragraph::new(head(screen)), title);
    if let Some(frame) = screen.now().cloned() {
        gauge(canvas, screen, &frame, fill);
        if screen.large {
            pane(canvas, screen, &frame, screen.pane, rest);
        } else {
            panes(canvas, screen, &frame, rest);
        }
    } else {
        canvas.render_widget(Paragraph::new("the first look is under way …"), fill);
    }
    if screen.help {
        help(canvas, area);
    }
}

fn panes(canvas: &mut Canvas, screen: &mut Screen, frame: &Frame, area: Rect) {
    let roomy = canvas.area().height >= ROOMY;
    let [middle, holders, damage, verdict] = Layout::vertical([
        Constraint::Fill(1),
        Constraint::Length(if roomy { HOLDERS_ROWS } else { 0 }),
        Constraint::Length(1),
        Constraint::Fill(1),
    ])
    .areas(area);
    let [chart_area, states_area] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(STATES_COLUMNS)]).areas(middle);
    let leaders = leaders(screen);
    chart(canvas, screen, &leaders, chart_area);
    states(canvas, screen, &leaders, frame, states_area);
    canvas.render_widget(Paragraph::new(damages(screen, frame)), damage);
    if roomy {
        pane(canvas, screen, frame, Pane::Holders, holders);
    }
    pane(canvas, screen, frame, Pane::Verdict, verdict);
}

fn pane(canvas: &mut Canvas, screen: &mut Screen, frame: &Frame, pane: Pane, area: Rect) {
    match pane {
        Pane::Holders => holders(canvas, screen, area),
        Pane::Verdict => judgement(canvas, screen, frame, area),
    }
}

fn help(canvas: &mut Canvas, area: Rect) {
    let [height, width] = [HELP.lines().count() as u16 + 2, 63];
    let over = Rect {
        x: area.x + area.width.saturating_sub(width) / 2,
        y: area.y + area.height.saturating_sub(height) / 2,
        width: width.min(area.width),
        height: height.min(area.height),
    };
    canvas.render_widget(Clear, over);
    let block = Block::default().borders(Borders::ALL).title(" keys ");
    canvas.render_widget(Paragraph::new(HELP).block(block), over);
}

fn head(screen: &Screen) -> Line<'static> {
    let time = screen.now().and_then(|frame| frame.report.taken.clone());
    let netns = screen
        .netns
        .as_deref()
        .map_or(String::new(), |name| format!(" {name}"));
    let state = match (screen.goes_on(), screen.ended) {
        (false, _) => "FROZEN",
        (true, true) => "the recording ends here",
        (true, false) => "live",
    };
    let mut text = format!("ctlens watch{netns}  {}  {state}", time.unwrap_or_default());
    if screen.typing || !screen.filter.is_empty() {
        let cursor = if screen.typing { "_" } else { "" };
        text.push_str(&format!("  /{}{cursor}", screen.filter));
    }
    let alerts = screen
        .now()
        .map_or(String::new(), |frame| frame.alerts.join(", "));
    let alerts = match alerts.is_empty() {
        true => Span::raw(""),
        false => Span::styled(format!("  ALERT {alerts}"), paint(screen, Color::Red)),
    };
    Line::from(vec![
        Span::styled(text, bold()),
        alerts,
        Span::raw("   ? help, q quit"),
    ])
}

fn gauge(canvas: &mut Canvas, screen: &Screen, frame: &Frame, area: Rect) {
    let [bar, below] = Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).areas(area);
    let table = frame.report.table.as_ref();
    let fill = table.and_then(|table| table.fill);
    let figure = |figure: Option<u64>| figure.map_or("?".to_string(), |n| whole(n as f64));
    let label = format!(
        "{}  {} of {}",
        fill.map_or("?".to_string(), percent),
        figure(table.and_then(|table| table.count)),
        figure(table.and_then(|table| table.max))
    );
    let colour = match fill.unwrap_or(0.0) {
        fill if fill >= 0.9 => Color::Red,
        fill if fill >= 0.7 => Color::Yellow,
        _ => Color::Green,
    };
    let gauge = Gauge::default()
        .gauge_style(paint(screen, colour))
        .ratio(fill.unwrap_or(0.0).clamp(0.0, 1.0))
        .label(label);
    canvas.render_widget(gauge, bar);
    let mut words = heading(frame);
    words.extend(flowing(frame));
    words.push(match frame.way {
        Way::Events => format!("{}, at {} CPU", frame.way.name(), percent(frame.costs)),
        Way::Summaries => frame.way.name().to_string(),
    });
    canvas.render_widget(Paragraph::new(words.join("   ")), below);
}

fn damages(screen: &Screen, frame: &Frame) -> Line<'static> {
    let Some(counters) = &frame.report.counters else {
        return Line::raw("counters: not read");
    };
    let secs = frame.report.window_s.max(f64::MIN_POSITIVE);
    let mut spans = vec![Span::raw("lost /s: ")];
    for name in DAMAGE {
        let (text, style) = match counters.get(name).map(|rise| *rise as f64 / secs) {
            None => ("?".to_string(), Style::default()),
            Some(0.0) => ("0".to_string(), Style::default()),
            Some(lost) => (rate(lost), paint(screen, Color::Red)),
        };
        spans.push(Span::styled(format!("{name} {text}   "), style));
    }
    if let Some(mode) = frame.profile {
        let style = match mode {
            Mode::Calm => Style::default(),
            Mode::Spike => paint(screen, Color::Yellow),
        };
        spans.push(Span::styled(format!("profile {}", mode.name()), style));
    }
    Line::from(spans)
}
