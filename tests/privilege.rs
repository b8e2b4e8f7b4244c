//! What fewer privileges than root's give, on this kernel: the README's advice works, and nobody is told that all is
//! well where nothing could be seen.

mod netns;

use std::process::{Command, Output};

use netns::table::with_table;

const CTLENS: &str = env!("CARGO_BIN_EXE_ctlens");
const NOBODY: [&str; 5] = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];

/// Runs ctlens by setpriv in this thread's namespace; `None` where setpriv cannot do it here.
fn ctlens(setpriv: &[&str], arguments: &[&str]) -> Option<Output> {
    let run = |program: &str, arguments: &[&str]| {
        Command::new("setpriv")
            .args(setpriv)
            .arg(program)
            .args(arguments)
            .output()
            .ok()
    };
    let works = run(CTLENS, &["--version"]).is_some_and(|output| output.status.success());
    if !works {
        println!("skipped: setpriv {} cannot run {CTLENS}", setpriv.join(" "));
        return None;
    }
    run(CTLENS, arguments)
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn with_capabilities(list: &str, arguments: &[&str]) -> Option<Output> {
    let setpriv = [&NOBODY[..], &["--inh-caps", list, "--ambient-caps", list]].concat();
    ctlens(&setpriv, arguments)
}

/// A small table, which a dump may walk a large hash for: it takes /proc/slabinfo to know, or /proc to read it.
#[test]
fn the_capabilities_that_the_readme_advises_are_enough() {
    with_table(|all| {
        let Some(listed) = with_capabilities("+net_admin,+net_raw,+dac_read_search", &["list"]) else {
            return;
        };
        let (code, stdout, stderr) = told(&listed);
        assert_eq!((code, stdout.lines().count()), (Some(0), all.len()), "{stderr}");
        // Without the last one it says what is missing, or the table is dense enough all the same.
        let listed = with_capabilities("+net_admin,+net_raw", &["list"]).expect("it ran before");
        let (code, stdout, stderr) = told(&listed);
        assert!(
            code == Some(2) && stderr.contains("cap_dac_read_search") || stdout.lines().count() == all.len(),
            "{code:?} {stderr}"
        );
    });
}

#[test]
fn an_empty_table_is_no_clean_bill_for_who_cannot_ask() {
    netns::inside(|| {
        let without = ["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];
        let look = ["diagnose", "--window", "0", "--tap", "0", "--format", "json"];
        let Some(output) = ctlens(&without, &look) else {
            return;
        };
        let (code, stdout, stderr) = told(&output);
        assert!(code == Some(1) || code == Some(2), "{code:?} {stderr}");
        assert!(stdout.contains("\"cause\": \"undecided\""), "{stdout}");
        assert!(stdout.contains("nft list ruleset"), "{stdout}");
        // Who may ask is told.
        let output = Command::new(CTLENS).args(look).output().expect("ctlens runs");
        let (code, _, stderr) = told(&output);
        assert!(
            code == Some(2) && stderr.contains("not tracking") || stderr.is_empty() && code == Some(1),
            "{code:?} {stderr}"
        );
    });
}

/// Rules that are gone have counted; who looks now finds an empty table all the same.
#[test]
fn old_counters_are_no_proof_of_tracking() {
    with_table(|_| {
        // IPCTNL_MSG_CT_DELETE with NLM_F_REQUEST | NLM_F_ACK and no tuple flushes this namespace's table.
        let mut flush = 20u32.to_ne_bytes().to_vec();
        flush.extend(0x102u16.to_ne_bytes());
        flush.extend(5u16.to_ne_bytes());
        flush.extend([0; 12]);
        netns::ask(flush).expect("an own table can be flushed");
        for look in [&["diagnose", "--window", "0", "--tap", "0"][..], &["list"]] {
            let output = Command::new(CTLENS).args(look).output().expect("ctlens runs");
            let (code, stdout, stderr) = told(&output);
            let legacy = stdout.contains("could not be told") || stderr.contains("could not be told");
            assert!(
                code == Some(2) && stderr.contains("not tracking") || legacy,
                "{code:?} {stdout} {stderr}"
            );
        }
    });
}
