//! The panes that scroll: who holds the entries, and the verdict.

use ratatui::Frame as Canvas;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};

use super::paint::{bold, framed, paint};
use super::screen::{Pane, Screen};
use crate::diagnose::{Judgement, Side, whole};
use crate::render::{Frame, Paint, rate, verdict, wrapped};

/// What the frame of a pane takes.
const FRAME: usize = 2;
/// Under which further lines of a sentence stand.
const HANG: usize = 2;

pub fn holders(canvas: &mut Canvas, screen: &mut Screen, area: Rect) {
    let head = 1;
    let found = screen.holders().len();
    let skipped = scrolled(screen, Pane::Holders, found, area.height as usize, FRAME + head);
    let of = match screen.now().map_or(0, |frame| frame.holders.len()) {
        all if all != found => format!("{found} of {all} "),
        _ => String::new(),
    };
    let title = format!(" {of}holders by {} ", screen.sort.name());
    let per_s = |figure: Option<f64>| figure.map_or("?".to_string(), rate);
    let rows = screen.holders().into_iter().skip(skipped).map(|holder| {
        Row::new([
            format!("{} {}", holder.proto, holder.label()),
            whole(holder.entries),
            per_s(holder.came_per_s),
            per_s(holder.went_per_s),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(8),
    ];
    let header = Row::new(["destination", "entries", "in/s", "out/s"]).style(bold());
    let block = framed(screen, Pane::Holders, title);
    canvas.render_widget(Table::new(rows, widths).header(header).block(block), area);
}

pub fn judgement(canvas: &mut Canvas, screen: &mut Screen, frame: &Frame, area: Rect) {
    let (title, colour) = verdict(&frame.report);
    let width = (area.width as usize).saturating_sub(FRAME).max(HANG + 1);
    let lines: Vec<Line> = told(screen, frame)
        .into_iter()
        .flat_map(|(lead, text, paint)| {
            let lines = wrapped(width, lead, HANG, &text);
            lines.into_iter().map(move |line| Line::styled(line, paint))
        })
        .collect();
    let skipped = scrolled(screen, Pane::Verdict, lines.len(), area.height as usize, FRAME);
    let text: Vec<Line> = lines.into_iter().skip(skipped).collect();
    let block = framed(screen, Pane::Verdict, format!(" {title} "));
    let block = match colour {
        Paint::Red => block.border_style(paint(screen, Color::Red)),
        Paint::Yellow => block.border_style(paint(screen, Color::Yellow)),
        _ => block,
    };
    canvas.render_widget(Paragraph::new(text).block(block), area);
}

/// What the pane says, sentence by sentence: the answer, what to type, why.
fn told(screen: &Screen, frame: &Frame) -> Vec<(&'static str, String, Style)> {
    let judgement: &Judgement = &frame.report.verdict;
    let mut out = vec![("", judgement.headline.clone(), bold())];
    let mut say = |lead: &'static str, text: String| out.push((lead, text, Style::default()));
    let trigger = judgement.trigger.as_ref();
    if let Some(trigger) = trigger.filter(|trigger| trigger.side != Side::Undecided) {
        let place = trigger.place.join(", ");
        say(
            "",
            format!(
                "Trigger: {}: {} {place}",
                trigger.side.name(),
                trigger.cause.name()
            ),
        );
    }
    if let Some(lean) = &judgement.leans_to {
        say("", format!("Settle it: $ {}", screen.style.on_host(&lean.settle)));
    }
    if let Some(fix) = judgement.fix_first.iter().find_map(|fix| fix.command.as_ref()) {
        say("", format!("Fix first: $ {}", screen.style.on_host(fix)));
    }
    for item in &judgement.evidence {
        say(if item.supports { "+ " } else { "- " }, item.text.clone());
    }
    for gap in &frame.report.gaps {
        say("? ", format!("{}: {}", gap.source, gap.reason));
    }
    say("", format!("{}.", frame.why));
    out
}

/// Where the pane begins, which is never behind its last row.
fn scrolled(screen: &mut Screen, pane: Pane, rows: usize, height: usize, taken: usize) -> usize {
    let most = rows.saturating_sub(height.saturating_sub(taken));
    let scroll = &mut screen.scroll[pane as usize];
    *scroll = (*scroll).min(most);
    *scroll
}
