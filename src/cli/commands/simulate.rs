//! `ctlens simulate`: recorded flows under other timeouts.

use std::fs;

use anyhow::Context;

use super::super::Outcome;
use super::super::args::{Format, SimulateArgs};
use super::super::observe::observed;
use super::super::stop::stop;
use super::super::terminal::{self, Progress};
use crate::evidence::Evidence;
use crate::model::Profile;
use crate::render::{self, Column, Simulation, shell_quoted};
use crate::tui::plot;
use crate::tune::{Lives, Under, simulate as run};
use crate::wire::profile::decode_profile;

/// Points of the grid, about: more than a plot can show.
const POINTS: u32 = 600;
const SHORTEST_STEP_MS: u32 = 100;
/// What Linux takes by default on hosts of more than 1 GiB.
const DEFAULT_BUCKETS: u64 = 65_536;

pub fn simulate(args: &SimulateArgs) -> anyhow::Result<Outcome> {
    let profiles = profiles(args)?;
    let mut lives = Lives::default();
    let mut progress = Progress::new(args.verbose);
    let (seen, netns) = observed(
        &args.common(),
        args.watching(),
        &stop()?,
        &mut progress,
        &mut lives,
    )?;
    lives.end(seen.secs);
    progress.clear();
    if lives.events == 0 {
        anyhow::bail!(
            "no event was heard in {:.0} s: flows that come and go are needed; record them with \
             ctlens recommend --record FILE",
            seen.secs
        );
    }
    let simulation = Simulation {
        columns: columns(args, profiles, &lives, &seen.evidence),
        rate: args.rate,
        secs: seen.secs,
        flows: lives.flows() as u64,
        events: lives.events,
        notes: notes(&lives),
        from: args.from.clone().or_else(|| args.record.clone()),
    };
    let style = terminal::style_within(args.colour, netns.as_deref());
    terminal::print(&match args.format {
        Format::Json => render::simulate_json(&simulation),
        Format::Text => {
            let curves = simulation.columns.iter().map(|column| {
                let points = column.simulated.points.iter();
                let line = points.map(|point| (f64::from(point.at_ms) / 1000.0, point.entries as f64));
                (column.name.clone(), line.collect())
            });
            render::simulate_text(&simulation, &plot(&curves.collect::<Vec<_>>()), &style)
        }
    })?;
    Ok(Outcome::NothingFound)
}

/// Each profile's outcome.
fn columns(
    args: &SimulateArgs,
    profiles: Vec<(String, Profile)>,
    lives: &Lives,
    evidence: &Evidence,
) -> Vec<Column> {
    let table = evidence.table.clone().unwrap_or_default();
    let loose = evidence.settings.number("net.netfilter.nf_conntrack_tcp_loose");
    let columns = profiles.into_iter().map(|(name, profile)| {
        let buckets = args.buckets.or(profile.buckets).or(table.buckets);
        let under = Under {
            max: args.max.or(profile.max).or(table.max),
            buckets: buckets.unwrap_or(DEFAULT_BUCKETS),
            rate: args.rate,
            step_ms: (lives.end_ms.unsigned_abs() / POINTS).max(SHORTEST_STEP_MS),
            loose: loose != Some(0),
            profile,
        };
        Column {
            simulated: run(lives, &under),
            max: under.max,
            profile: under.profile,
            name,
        }
    });
    columns.collect()
}

/// As it was, then each file, then what was set by options.
fn profiles(args: &SimulateArgs) -> anyhow::Result<Vec<(String, Profile)>> {
    let mut out = vec![("as it was".to_string(), Profile::default())];
    for file in &args.profile {
        let text = fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
        let profile = decode_profile(&text).with_context(|| file.clone())?;
        let name = std::path::Path::new(file)
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        out.push((name.unwrap_or_else(|| shell_quoted(file).into_owned()), profile));
    }
    if !args.set.is_empty() {
        let named = args
            .set
            .iter()
            .map(|(timer, secs)| format!("{}={secs}", timer.name()));
        let profile = Profile {
            timeouts: args.set.iter().copied().collect(),
            ..Profile::default()
        };
        out.push((named.collect::<Vec<_>>().join(" "), profile));
    }
    Ok(out)
}

/// What the recording cannot tell.
fn notes(lives: &Lives) -> Vec<String> {
    let mut out = Vec::new();
    if lives.updates == 0 {
        out.push(
            "changes of state were not recorded: entries stay in the state that they came in".to_string(),
        );
    }
    if lives.lost > 0 {
        out.push(format!(
            "{} events were lost: what they told is missing",
            lives.lost
        ));
    }
    if let Some(ms) = lives.deaf_ms {
        out.push(format!(
            "nobody listened after {} s: flows are missing from then on",
            ms / 1000
        ));
    }
    if lives.sampled {
        out.push(
            "readings are samples: flows that are older than the recording are there only in part"
                .to_string(),
        );
    }
    if lives.left_out > 0 {
        out.push(format!("{} flows were left out for want of room", lives.left_out));
    }
    out
}
