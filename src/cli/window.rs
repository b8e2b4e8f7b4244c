//! The time of a look in which counters are watched, and the wire is listened to.

use super::onlooker::{Note, Onlooker};
use crate::collect::{self, Presence};
use crate::evidence::TapLog;
use crate::kernel::Kernel;
use crate::model::{ConntrackStats, Gap, Moment, NetCounters, Ruleset};

/// Whether to listen on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tap {
    /// For so many seconds, where it can tell something.
    Where(f64),
    /// For so many seconds, in any case.
    Always(f64),
    Off,
}

impl Tap {
    fn secs(self) -> f64 {
        match self {
            Tap::Where(secs) | Tap::Always(secs) => secs,
            Tap::Off => 0.0,
        }
    }
}

/// What there was before the window, and what was heard in it.
pub struct Window {
    pub first: Option<Counters>,
    pub rules_before: Option<Ruleset>,
    pub tap: Option<TapLog>,
}

pub fn window(
    kernel: &mut dyn Kernel,
    (window_secs, tap): (f64, Tap),
    presence: &Presence,
    gaps: &mut Vec<Gap>,
    onlooker: &mut dyn Onlooker,
) -> Window {
    let began = kernel.now();
    let first = (window_secs > 0.0).then(|| collect::counters(kernel, presence));
    let rules_before = first
        .as_ref()
        .and_then(|_| collect::ruleset(kernel, presence, false).ok());
    if window_secs > 0.0 {
        onlooker.note(Note::Progress(&format!(
            "watching the counters for {} s",
            window_secs
        )));
    }
    // The tap ends with the window: its silence says nothing of entries that began after it.
    let before_tap = window_secs - tap.secs();
    wait(kernel, before_tap, began, onlooker);
    let listening = Listening {
        tap,
        presence,
        ruleset: rules_before.as_ref(),
        net: first.as_ref().and_then(|(_, _, net, _)| net.as_ref()),
    };
    let tap = listen(kernel, &listening, gaps, onlooker);
    wait(kernel, window_secs, began, onlooker);
    Window {
        first,
        rules_before,
        tap,
    }
}

/// Both kinds of counters at one moment, and what was missed of them.
pub type Counters = (Moment, Option<ConntrackStats>, Option<NetCounters>, Vec<Gap>);

fn wait(kernel: &mut dyn Kernel, secs: f64, since: Moment, onlooker: &mut dyn Onlooker) {
    if secs > 0.0 {
        onlooker.idle(kernel, since.plus_secs(secs));
    }
}

/// What decides whether to listen on the wire.
struct Listening<'a> {
    tap: Tap,
    presence: &'a Presence,
    ruleset: Option<&'a Ruleset>,
    net: Option<&'a NetCounters>,
}

fn listen(
    kernel: &mut dyn Kernel,
    listening: &Listening,
    gaps: &mut Vec<Gap>,
    onlooker: &mut dyn Onlooker,
) -> Option<TapLog> {
    let secs = match listening.tap {
        Tap::Always(secs) => secs,
        Tap::Where(secs)
            if collect::worth_tapping(kernel, listening.presence, listening.ruleset, listening.net) =>
        {
            secs
        }
        Tap::Where(_) => return None,
        Tap::Off => {
            gaps.push(Gap::new(
                "tap",
                "switched off: whether remote clients still try cannot be told",
                "ctlens diagnose --tap 3s",
            ));
            return None;
        }
    };
    onlooker.note(Note::Progress(&format!("listening on the wire for {secs} s")));
    let mut log = TapLog::default();
    match collect::tap(kernel, secs, &mut |segment| log.add(segment)) {
        Ok(look) => {
            log.facts.secs = look.secs;
            log.facts.lost = look.lost;
            log.ended = Some(look.ended);
            gaps.extend(look.gaps);
            Some(log)
        }
        Err(gap) => {
            gaps.push(gap);
            None
        }
    }
}
