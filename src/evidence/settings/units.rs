//! Numbers in the wrong unit.

use super::numbers::all;
use super::timeouts::{ESTABLISHED_FLOOR_SECS, MOST_MINUTES};
use super::{Context, Lint, Said, Severity};

pub const LINTS: &[Lint] = &[
    Lint {
        code: "AU005",
        title: "tcp_mem counts pages",
        severity: Severity::Error,
        source: "Documentation/networking/ip-sysctl.rst, tcp_mem",
        dead: true,
        check: bytes_for_pages,
    },
    Lint {
        code: "AU017",
        title: "a timeout in milliseconds or jiffies",
        severity: Severity::Warning,
        source: "net/netfilter/nf_conntrack_standalone.c, proc_dointvec_jiffies: timeouts are in seconds",
        dead: false,
        check: not_seconds,
    },
    Lint {
        code: "AU039",
        title: "a timeout in minutes",
        severity: Severity::Warning,
        source: "Documentation/networking/nf_conntrack-sysctl.rst: timeouts are INTEGER (seconds)",
        dead: false,
        check: minutes,
    },
];

/// Above this an upper limit in pages is none.
const ABSURD_PAGES: i64 = 16_777_216;

/// tcp_mem counts pages, and tcp_rmem and tcp_wmem beside it bytes.
fn bytes_for_pages(context: &Context, out: &mut Vec<Said>) {
    const BUFFERS: [&str; 2] = ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"];
    for (index, setting) in context.all().filter(|(_, s)| s.name == "net.ipv4.tcp_mem") {
        let Some([low, _, high]) = all(&setting.value).and_then(|three| <[i64; 3]>::try_from(three).ok())
        else {
            continue;
        };
        let copied = context
            .all()
            .any(|(_, other)| BUFFERS.contains(&other.name.as_str()) && other.value == setting.value);
        // 4096 is what tcp_rmem and tcp_wmem begin with by default.
        if copied || low == 4096 || high >= ABSURD_PAGES {
            let why = format!(
                "it counts pages, and this looks like bytes: at 4 KiB a page TCP may take {:.0} GiB",
                high as f64 * 4096.0 / f64::from(1u32 << 30)
            );
            // The kernel's own, which depends on memory, is the better one.
            out.push(Said::of(index, why).delete());
        }
    }
}

const CT: &str = "net.netfilter.nf_conntrack_";
/// No timeout but that of ESTABLISHED is longer than this for a reason.
const LONGEST_SECS: i64 = 20_000;
/// Nor that one longer than this: twice the default.
const LONGEST_ESTABLISHED_SECS: i64 = 864_000;

fn not_seconds(context: &Context, out: &mut Vec<Said>) {
    for (rest, index, secs) in context
        .beginning(CT)
        .filter(|(rest, ..)| rest.contains("timeout"))
    {
        let most = match rest.contains("established") {
            true => LONGEST_ESTABLISHED_SECS,
            false => LONGEST_SECS,
        };
        if secs <= most {
            continue;
        }
        let why = format!(
            "{secs} s are {:.1} days; were milliseconds meant?",
            secs as f64 / 86_400.0
        );
        let said = Said::of(index, why);
        out.push(match secs % 1_000 {
            0 => said.write(format!("{CT}{rest} = {}", secs / 1_000)),
            _ => said.delete(),
        });
    }
}

/// 120 for two hours.
fn minutes(context: &Context, out: &mut Vec<Said>) {
    let name = format!("{CT}tcp_timeout_established");
    let (Some(index), Some(minutes @ 1..=MOST_MINUTES)) = (context.index(&name), context.number(&name))
    else {
        return;
    };
    let why = format!("{minutes} s close idle connections within minutes; were minutes meant?");
    let meant = (minutes * 60).max(ESTABLISHED_FLOOR_SECS);
    out.push(Said::of(index, why).write(format!("{name} = {meant}")));
}
