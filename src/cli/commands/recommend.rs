//! `ctlens recommend`: timeouts that this host's traffic asks for.

use super::super::Outcome;
use super::super::args::{RecommendArgs, Shape};
use super::super::observe::{Observed, observed};
use super::super::stop::stop;
use super::super::terminal::{self, Progress};
use super::report;
use crate::diagnose::Cause;
use crate::render::{self, Style, Told};
use crate::tune::{Asks, Measured, Recommendation, recommend as derive};

pub fn recommend(args: &RecommendArgs) -> anyhow::Result<Outcome> {
    let mut measured = Measured::default();
    let (observed, netns) = observed_all(args, &mut measured)?;
    if observed.evidence.states.is_none() {
        let gap = report::table_gap(&observed.evidence);
        let why = gap.map_or(String::new(), |gap| format!(": {}; {}", gap.reason, gap.remedy));
        anyhow::bail!("the table could not be read, and nothing is recommended without it{why}");
    }
    let asks = Asks {
        be_liberal: found(&observed, Cause::WindowInvalid),
    };
    let got = derive(&observed.evidence, &measured, args.headroom, asks);
    let style = terminal::style_within(args.colour, netns.as_deref());
    terminal::print(&shaped(args, &got, &observed, &style))?;
    Ok(match got.profile.is_empty() {
        true => Outcome::NothingFound,
        false => Outcome::Found,
    })
}

/// The host, or all recordings one after the other; what the last one found.
fn observed_all(args: &RecommendArgs, measured: &mut Measured) -> anyhow::Result<(Observed, Option<String>)> {
    let stopped = stop()?;
    let mut progress = Progress::new(args.verbose);
    let doors: Vec<Option<&str>> = match args.from.is_empty() {
        true => vec![None],
        false => args.from.iter().map(|from| Some(from.as_str())).collect(),
    };
    let mut last = None;
    for from in doors {
        let common = args.common(from);
        let seen = observed(&common, args.watching(), &stopped, &mut progress, measured);
        let seen = seen.map_err(|error| match from {
            Some(from) if args.from.len() > 1 => error.context(from.to_string()),
            _ => error,
        })?;
        measured.end(seen.0.secs);
        last = Some(seen);
    }
    progress.clear();
    last.ok_or_else(|| anyhow::anyhow!("no recording was named"))
}

fn found(observed: &Observed, cause: Cause) -> bool {
    let report = &observed.report;
    report.verdict.cause == cause
        || report
            .findings
            .iter()
            .any(|finding| finding.name == cause && finding.confidence.is_some())
}

fn shaped(args: &RecommendArgs, got: &Recommendation, observed: &Observed, style: &Style) -> String {
    let from = args
        .from
        .iter()
        .map(|from| render::shell_quoted(from))
        .collect::<Vec<_>>();
    let told = Told {
        report: &observed.report,
        adaptive: args.adaptive,
        from: &from.join(" "),
        recorded: args.record.as_deref(),
    };
    let head = head(got, observed);
    match args.format {
        Shape::Text => render::recommend_text(got, told, style),
        Shape::Json => render::recommend_json(got, told),
        Shape::Sysctl => render::sysctl_text(&got.everywhere, &head),
        Shape::Ansible => render::ansible_text(&got.everywhere, &head),
        Shape::Nft => render::nft_text(&got.profile, &head),
        Shape::Nfct => render::nfct_text(&got.profile, &head),
        Shape::Iptables => render::iptables_text(&got.profile, &head),
    }
}

/// Where it comes from, for whoever finds the file.
fn head(got: &Recommendation, observed: &Observed) -> String {
    let host = &observed.report.host;
    let mut out = format!(
        "ctlens {}: measured for {:.0} s until {} on kernel {}",
        env!("CARGO_PKG_VERSION"),
        got.observed.secs,
        observed.report.taken.as_deref().unwrap_or("an unknown time"),
        host.kernel.as_deref().unwrap_or("unknown")
    );
    for row in got.states.iter().filter(|row| row.recommended_s != row.now_s) {
        out.push_str(&format!("\n{}: {}", row.timer.name(), row.because));
    }
    out
}
