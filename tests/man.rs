//! The pages in man/ are what the command line's own definitions give. `CTLENS_BLESS=1 cargo test --test man` writes
//! them anew.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use ctlens::cli::args::Cli;

fn pages() -> Vec<(String, Vec<u8>)> {
    let cli = Cli::command().name("ctlens").disable_help_subcommand(true);
    let mut pages = vec![page("ctlens", cli.clone())];
    for command in cli.get_subcommands().filter(|c| !c.is_hide_set()) {
        let name = format!("ctlens-{}", command.get_name());
        // A page of its own names the whole command.
        let whole = command.clone().bin_name(format!("ctlens {}", command.get_name()));
        pages.push(page(&name, whole));
    }
    pages
}

fn page(name: &str, command: Command) -> (String, Vec<u8>) {
    let after = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let (notes, examples) = after.split_once("\n\nExamples:\n").unwrap_or((&after, ""));
    let notes = notes.lines().skip(1).collect::<Vec<_>>().join(" "); // the exit status has its own section
    let command = command.after_help(None::<&'static str>);
    let man = Man::new(command.name(&*name.to_string().leak()))
        .title(name.to_uppercase())
        .source(format!("ctlens {}", env!("CARGO_PKG_VERSION")))
        .manual("Network administration");
    let mut out = Vec::new();
    man.render(&mut out).expect("a page is rendered into memory");
    let mut more = Roff::new();
    if !notes.is_empty() {
        more.control("SH", ["NOTES"]);
        more.text([roman(notes)]);
    }
    if !examples.is_empty() {
        more.control("SH", ["EXAMPLES"]);
        more.control("nf", []);
        for line in examples.lines() {
            more.text([roman(line.trim())]);
        }
        more.control("fi", []);
    }
    more.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in [
        ("0", "Nothing found; for commands that do something: done."),
        ("1", "Something found, or undecided."),
        ("2", "Could not look, or what could be seen gives no verdict."),
    ] {
        more.control("TP", []);
        more.text([roman(status)]);
        more.text([roman(meaning)]);
    }
    more.control("SH", ["SEE ALSO"]);
    let own = [
        "ctlens",
        "ctlens-diagnose",
        "ctlens-list",
        "ctlens-record",
        "ctlens-status",
    ];
    let others = ["conntrack(8)", "nft(8)", "ss(8)", "sysctl(8)"];
    let own = own
        .iter()
        .filter(|page| **page != name)
        .map(|page| format!("{page}(1)"));
    let all: Vec<String> = own.chain(others.map(str::to_string)).collect();
    more.text([roman(all.join(", "))]);
    more.to_writer(&mut out).expect("a page is rendered into memory");
    (format!("{name}.1"), out)
}

#[test]
fn man_pages_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let bless = std::env::var_os("CTLENS_BLESS").is_some();
    let mut names = Vec::new();
    for (name, bytes) in pages() {
        let path = folder.join(&name);
        if bless {
            fs::create_dir_all(&folder).expect("man/ can be made");
            fs::write(&path, &bytes).expect("a man page can be written");
        }
        let kept = fs::read(&path).unwrap_or_default();
        assert!(
            kept == bytes,
            "man/{name} is stale: CTLENS_BLESS=1 cargo test --test man"
        );
        names.push(name);
    }
    let kept = fs::read_dir(&folder)
        .expect("man/")
        .map(|e| e.expect("an entry of man/").file_name());
    let strays: Vec<_> = kept
        .filter(|n| !names.contains(&n.to_string_lossy().into_owned()))
        .collect();
    assert!(strays.is_empty(), "pages of no command: {strays:?}");
}
