//! Of a recommendation: how large the table must be, and the two profiles of adaptive advice.

use super::figures::percent;
use super::page::Page;
use super::style::Paint;
use crate::diagnose::whole;
use crate::model::Profile;
use crate::tune::Recommendation;

pub fn room(page: &mut Page, recommendation: &Recommendation) {
    let size = &recommendation.size;
    page.item(&format!("nf_conntrack_max: {}", size.because), Paint::Plain);
    page.item(
        &format!(
            "at {} times the rate: {} entries under today's timeouts, {} under these",
            recommendation.headroom,
            whole(size.heading_for_headroom),
            whole(size.recommended_for_headroom)
        ),
        Paint::Plain,
    );
    let bytes = match size.measured_bytes {
        true => "by slabinfo, with 128 for its extensions",
        false => "/proc/slabinfo was not read: the usual size, with 128 for its extensions",
    };
    page.item(
        &format!(
            "a full table takes {} MiB: {} bytes an entry ({bytes})",
            whole(size.memory_bytes / f64::from(1 << 20)),
            whole(size.entry_bytes)
        ),
        Paint::Plain,
    );
    if let Some(buckets) = size.recommended_buckets {
        let text = format!(
            "nf_conntrack_buckets: {}, as many as entries",
            whole(buckets as f64)
        );
        page.item(&text, Paint::Plain);
    }
}

pub fn adaptive(page: &mut Page, recommendation: &Recommendation) {
    let adaptive = &recommendation.adaptive;
    page.heading("Two profiles");
    let named = |profile: &Profile| {
        let all = profile
            .timeouts
            .iter()
            .map(|(timer, secs)| format!("{} {secs}", timer.name()));
        match profile.timeouts.is_empty() {
            true => "as it is now".to_string(),
            false => all.collect::<Vec<_>>().join(", "),
        }
    };
    page.text("  calm   ", &named(&adaptive.calm), Paint::Plain);
    page.text("  spike  ", &named(&adaptive.spike), Paint::Plain);
    page.item(
        &format!(
            "to spike from a fill of {} on, back to calm below {}",
            percent(adaptive.switch.up),
            percent(adaptive.switch.down)
        ),
        Paint::Plain,
    );
}
