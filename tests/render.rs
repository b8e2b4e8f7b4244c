//! What people and programs read: six situations as text and as JSON.

mod situations;

use ctlens::diagnose::{FindingState, Report, diagnose};
use ctlens::evidence::{Evidence, StateRow};
use ctlens::model::Estimate;
use ctlens::render::{Style, diagnose_text, report_json, status_text};

const PLAIN: Style = Style {
    colour: false,
    again: String::new(),
    inside: String::new(),
};
const COLOURED: Style = Style {
    colour: true,
    again: String::new(),
    inside: String::new(),
};

type Text = fn(&Report, &Style) -> String;
const TEXTS: [(&str, Text); 2] = [("diagnose", diagnose_text), ("status", status_text)];

fn every_text(mut check: impl FnMut(&str, &Report, Text)) {
    let more: [situations::Situation; 2] = [
        ("pasted hold", situations::pasted_hold),
        ("nothing at all", Evidence::default),
    ];
    for (name, evidence) in situations::ALL.into_iter().chain(more) {
        let report = diagnose(&evidence());
        for (what, text) in TEXTS {
            check(&format!("{what}, {name}"), &report, text);
        }
    }
}

fn text_of(text: Text, evidence: Evidence) -> String {
    text(&diagnose(&evidence), &PLAIN)
}

/// Where `wanted` follow each other in the text, other lines between.
fn assert_in_order(text: &str, wanted: &[&str]) {
    let mut rest = text;
    for part in wanted {
        let at = rest
            .find(part)
            .unwrap_or_else(|| panic!("no {part:?} in its place in:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

/// Run with `--nocapture` to read them.
#[test]
fn eighty_columns_of_ascii_but_for_commands() {
    every_text(|name, report, text| {
        let text = text(report, &PLAIN);
        println!("=== {name}\n{text}");
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{name}");
        for line in text.lines() {
            assert!(
                line.bytes().all(|b| (b' '..=b'~').contains(&b)),
                "{name}: {line:?}"
            );
            assert!(!line.ends_with(' '), "{name}: {line:?}");
            let command = line.trim_start().starts_with("$ ");
            assert!(command || line.chars().count() <= 80, "{name}: {line:?}");
        }
    });
}

#[test]
fn colour_changes_nothing_but_colour() {
    every_text(|name, report, text| {
        let (plain, coloured) = (text(report, &PLAIN), text(report, &COLOURED));
        assert_eq!(
            plain,
            text(report, &PLAIN),
            "{name}: the same report, the same bytes"
        );
        assert!(!plain.contains('\x1b'), "{name}");
        assert!(coloured.starts_with("\x1b["), "{name}: {coloured}");
        assert_eq!(without_escapes(&coloured), plain, "{name}");
    });
}

fn without_escapes(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let mut out = parts.next().unwrap_or("").to_string();
    for part in parts {
        out.push_str(part.split_once('m').expect("an escape code ends in m").1);
    }
    out
}

#[test]
fn the_first_line_is_the_verdict() {
    let first = [
        "FIREWALL holds it: syn-sent-hold (CT001), confidence 0.99",
        "NONE: no bottleneck found, confidence 0.98",
        "UNDECIDED: leans to listener-overflow (CT014), confidence 0.50",
        "FIREWALL is at fault: table-full (CT007), confidence 0.99",
        "FIREWALL holds it: syn-sent-hold (CT001), confidence 0.99",
        "UNDECIDED: no lean, confidence 0.50",
    ];
    for ((name, evidence), first) in situations::ALL.into_iter().zip(first) {
        for (_, text) in TEXTS {
            assert_eq!(text_of(text, evidence()).lines().next(), Some(first), "{name}");
        }
    }
}

#[test]
fn a_hold_says_who_what_first_and_why() {
    let text = text_of(diagnose_text, situations::hold());
    assert_in_order(
        &text,
        &[
            "\n  The firewall holds 6,152 of 6,248 SYN_SENT entries towards 10.9.1.3:80: this\n",
            "\nTrigger: who leaves the SYNs unanswered\n",
            "  BACKEND: backend-unresponsive (CT017) at 10.9.1.3:80, confidence 0.95\n",
            "\nFix first\n  1. Delete the held entries now",
            "\n     $ conntrack -D -p tcp --state SYN_SENT --reply-src 10.9.1.3 --reply-port-src 80 >/dev/null\n",
            "a sysctl does not shorten entries already there",
            "  2. ",
            "\nEvidence",
            "  + 6,152 of 6,248 SYN_SENT entries have no socket of this host behind them\n",
            "\nRuled out\n",
            "  table-full: the table is 2.4 % full\n",
            "\nLooked at\n  6,422 of 262,144 entries (2.4 % full); read: 6,412 entries over ctnetlink\n",
            "  counters watched for 5.0 s\n",
            "  kernel 6.18.5-cloud-amd64, network namespace net:[4026531833]\n",
            "\nNext\n  $ ctlens list --state SYN_SENT --top dst:dport\n  $ ctlens status\n",
        ],
    );
}

#[test]
fn without_a_window_counters_are_totals() {
    let mut evidence = situations::hold();
    evidence.window_secs = 0.0;
    let text = text_of(diagnose_text, evidence.clone());
    assert_in_order(
        &text,
        &[
            "\nNot judged, for want of facts\n",
            "listener-overflow: ",
            "counters are totals since boot, so rules that need a rise are unknown",
        ],
    );
    let text = text_of(status_text, evidence);
    assert!(
        text.contains("\nCounters since boot (totals say nothing about now): found 96,212\n"),
        "{text}"
    );
}

#[test]
fn a_paste_names_dead_settings_gaps_and_what_would_settle_it() {
    let text = text_of(diagnose_text, situations::paste());
    assert_in_order(
        &text,
        &[
            "\nThis would settle it\n  $ conntrack -L > conntrack.txt\n    (and put it beside the other files)\n",
            "\nSettings that do nothing, or harm\n  net.ipv4.ip_local_port_range = 1024 65536 (sysctl.conf): ",
            "\nCould not be seen\n  conntrack: no conntrack -L among the files\n  -> add: conntrack -L > conntrack.txt\n",
        ],
    );
    assert!(!text.contains("\nNext"), "{text}");
    let text = text_of(diagnose_text, situations::pasted_hold());
    assert_in_order(
        &text,
        &[
            "  UNDECIDED, confidence 0.50: leans to listener-overflow (CT014), ",
            "  This would settle it:\n    $ (ip addr; conntrack -L -p tcp --state SYN_SENT | head -n 50) > conntrack.txt\n",
            "\nNext\n  On the host itself:\n  $ sudo ctlens diagnose\n",
        ],
    );
}

#[test]
fn a_full_table_tells_what_else_was_found() {
    let text = text_of(diagnose_text, situations::table_full());
    assert_in_order(
        &text,
        &[
            "\nAlso found, gravest first\n  FIREWALL: syn-sent-hold (CT001), confidence 0.",
            "entries\n  The firewall holds 81,000",
            "\nFix first\n",
        ],
    );
    let list = "ctlens list --state ESTABLISHED --top dst:dport";
    assert_eq!(text.matches(list).count(), 1, "{text}");
    let status = text_of(status_text, situations::table_full());
    assert_in_order(
        &status,
        &[
            "\nTable  [####################] 100.0 % full, 262,144 of 262,144 entries\n",
            "\nCounters in 5.0 s: drop 4,211, early_drop 18,204, insert_failed 12, invalid 311,\n  search_restart 4,",
            "\n  zero: error, chaintoolong\n",
            "\nNext: $ ctlens diagnose\n",
        ],
    );
    let coloured = status_text(&diagnose(&situations::table_full()), &COLOURED);
    assert!(coloured.contains("\x1b[1;31mdrop 4,211\x1b[0m, "), "{coloured}");
}

#[test]
fn a_sample_says_so_and_carries_its_errors() {
    let text = text_of(diagnose_text, situations::sample());
    assert_in_order(
        &text,
        &[
            "The firewall holds ~398,000 of ~399,000 SYN_SENT entries",
            "  + ~398,000 (390,000 to 405,000) of ~399,000 SYN_SENT entries",
            "read: a sample of 20,000 of\n  1,000,000 entries over ctnetlink",
            "--exact reads all",
        ],
    );
    let text = text_of(status_text, situations::sample());
    let line = "\n       a sample of 20,000 of 1,000,000 entries (+- at 95 %); --exact reads all\n";
    assert_in_order(&text, &[line]);
    let row = |state: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(state)).unwrap();
        line.split_whitespace().map(str::to_string).collect()
    };
    let want = "tcp SYN_SENT 399,000 7,000 39.9 % 120s 3,300 11s >=119s 399,000";
    assert_eq!(row("tcp SYN_SENT").join(" "), want);
    let want = "tcp ESTABLISHED 499,000 8,000 49.9 % 432000s - 11s >=5.0d 0";
    assert_eq!(row("tcp ESTABLISHED").join(" "), want);
}

#[test]
fn an_exact_pass_explains_why_count_differs() {
    let text = text_of(status_text, situations::hold());
    assert!(
        text.contains("count has 10 more: expired entries\n       not yet collected"),
        "{text}"
    );
    let mut evidence = situations::hold();
    evidence.table.as_mut().unwrap().dumped = Some(6_430);
    let text = text_of(status_text, evidence);
    assert!(text.contains("; 8 came after count was read\n"), "{text}");
    assert!(!text_of(status_text, situations::none()).contains("count has"));
}

#[test]
fn the_unprivileged_read_why_there_are_no_rows() {
    let remedy = "  -> run as root, or: setcap cap_net_admin,cap_net_raw,cap_dac_read_search+ep\n     \
                  $(command -v ctlens)\n";
    let text = text_of(status_text, situations::unprivileged());
    assert_in_order(
        &text,
        &[
            "\nNo rows per state: ctnetlink needs CAP_NET_ADMIN\n",
            remedy,
            "\nNot seen: tap: not permitted",
            "\nNot seen: 1 more; ctlens diagnose tells all, with remedies\n",
        ],
    );
    let text = text_of(diagnose_text, situations::unprivileged());
    assert_eq!(
        text.matches(remedy).count(),
        1,
        "one remedy for all it heals:\n{text}"
    );
    assert_in_order(
        &text,
        &[
            "\nThis would settle it\n  $ sudo ctlens diagnose\n",
            "\nCould not be seen\n",
        ],
    );
}

#[test]
fn a_clean_host_reads_calm() {
    let text = text_of(diagnose_text, situations::none());
    assert!(!text.contains("Fix first") && !text.contains("Trigger"), "{text}");
    assert!(text.lines().count() <= 30, "{text}");
    for evidence in [situations::none(), situations::hold(), situations::unprivileged()] {
        assert!(text_of(status_text, evidence).lines().count() <= 24);
    }
}

#[test]
fn the_widest_table_still_fits() {
    let mut evidence = situations::sample();
    let big = Estimate {
        value: 123_456_789.0,
        low: 120_000_000.0,
        high: 126_000_000.0,
    };
    let row = StateRow {
        entries: big,
        evictable: big,
        new_per_s: Some(Estimate::exact(999_999.0)),
        ..evidence.states.as_ref().unwrap()[2].clone()
    };
    evidence.states = Some(vec![row]);
    let text = text_of(status_text, evidence);
    let line = text
        .lines()
        .find(|line| line.starts_with("tcp ESTABLISHED"))
        .unwrap();
    assert!(line.contains(" 123M ") && line.len() <= 80, "{line}");
}

#[test]
fn json_says_null_where_nothing_was_seen() {
    let report = |evidence: Evidence| -> serde_json::Value {
        let text = report_json(&diagnose(&evidence));
        assert!(text.ends_with("}\n"));
        serde_json::from_str(&text).unwrap()
    };
    let empty = report(Evidence::default());
    assert_eq!(empty["schema"], "ctlens.report/1");
    for absent in ["table", "states", "counters"] {
        assert!(empty[absent].is_null(), "{absent}");
    }
    assert!(empty["host"]["kernel"].is_null() && empty["verdict"]["trigger"].is_null());
    let partial = report(situations::unprivileged());
    for absent in [
        "dumped",
        "sampled_of",
        "source",
        "duplicates",
        "malformed",
        "mean_chain",
    ] {
        assert!(partial["table"][absent].is_null(), "{absent}");
    }
    assert_eq!(partial["table"]["fill"], 0.024498);
    for finding in partial["findings"].as_array().unwrap() {
        assert!(!finding["refutes"].is_null(), "{finding}");
    }
    let held = report(situations::hold());
    assert_eq!(held["verdict"]["trigger"]["where"][0], "10.9.1.3:80");
    assert!(held["verdict"]["trigger"]["leans_to"].is_null());
    let remark = report(situations::pasted_hold())["verdict"]["evidence"][1].clone();
    assert_eq!(
        (&remark["id"], remark["unit"].is_null(), remark["value"].is_null()),
        (&"nobody-waits".into(), true, true)
    );
}

#[test]
fn json_keeps_its_order_and_whole_figures() {
    let report = diagnose(&situations::sample());
    let text = report_json(&report);
    assert_eq!(text, report_json(&report));
    let keys: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("  \"")?.split('"').next())
        .collect();
    let want = [
        "schema",
        "host",
        "taken",
        "window_s",
        "table",
        "states",
        "counters",
        "verdict",
        "findings",
        "dead_settings",
        "gaps",
    ];
    assert_eq!(keys, want);
    assert_in_order(
        &text,
        &[
            "\"window_s\": 5,",
            "\"count\": 1000000,",
            "\"sampled_of\": 1000000,",
            "\"value\": 399100,\n",
        ],
    );
    let found = report
        .findings
        .iter()
        .filter(|f| f.state == FindingState::Found)
        .count();
    assert_eq!(text.matches("\"state\": \"found\"").count(), found);
}

#[test]
fn the_page_of_each_cause_fits_a_terminal_and_keeps_its_commands_whole() {
    let pages = ctlens::diagnose::pages();
    for page in &pages {
        let text = ctlens::render::explain_text(page, &PLAIN);
        for line in text.lines().filter(|line| !line.trim_start().starts_with("$ ")) {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert_in_order(
            &text,
            &[
                "What\n",
                "Example\n",
                "What would refute it\n",
                "How sure\n",
                "  $ ctlens explain ",
            ],
        );
    }
    let list = ctlens::render::causes_text(&pages, &PLAIN);
    for page in &pages {
        assert!(
            list.contains(&page.code) && list.contains(page.name.name()),
            "{list}"
        );
    }
}
