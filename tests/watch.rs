//! The screen of `watch` at moments of a recorded spike, and what keys make of it.
//!
//! `CTLENS_BLESS=1 cargo test --test watch` writes the screens as they are now; read the difference before committing it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use ctlens::cli::args::{Cli, Command};
use ctlens::cli::watch::Turns;
use ctlens::kernel::Replay;
use ctlens::render::{Frame, Style};
use ctlens::tui::{Key, Pane, Screen, draw};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// A backend is well for four seconds, deaf for seven, and well again; a look a second.
const SPIKE: &str = "fixtures/watch/spike.pcapng.zst";
const LOOKS: usize = 13;

fn path(relative: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn looks() -> Vec<Frame> {
    let line = ["ctlens", "watch", "--from", SPIKE, "--interval", "1s"];
    let Ok(Command::Watch(args)) = Cli::try_parse_from(line).map(|cli| cli.command) else {
        panic!("{line:?} is no watch");
    };
    let mut replay = Replay::open(&path(SPIKE)).expect("the recording opens");
    let mut turns = Turns::new(&args, Arc::new(AtomicBool::new(false)), None);
    let mut out = Vec::new();
    while let Some(frame) = turns.next(&mut replay).expect("the recording can be looked at") {
        out.push(frame);
    }
    assert_eq!(
        out.len(),
        LOOKS,
        "one of three seconds, in which the wire is listened to, and then one a second"
    );
    out
}

fn after(looks: &[Frame], upto: usize) -> Screen {
    let mut screen = Screen::new(Some("proxy".to_string()), Style::default());
    looks
        .iter()
        .take(upto)
        .for_each(|frame| screen.push(frame.clone()));
    screen
}

fn drawn(screen: &mut Screen, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
    terminal
        .draw(|canvas| draw(canvas, screen))
        .expect("drawing in memory");
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(width as usize);
    rows.map(|row| {
        let text: String = row.iter().map(|cell| cell.symbol()).collect();
        text.trim_end().to_string() + "\n"
    })
    .collect()
}

fn is_golden(name: &str, got: &str) {
    let file = path(&format!("tests/golden/watch/{name}.txt"));
    if std::env::var_os("CTLENS_BLESS").is_some() {
        fs::write(&file, got).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    let wanted = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        got == wanted,
        "{name} is another screen now:\n{got}\nand was\n{wanted}"
    );
}

const SMALL: (u16, u16) = (80, 24);

#[test]
fn five_moments_of_a_spike() {
    let looks = looks();
    let mut nothing_yet = Screen::new(None, Style::default());
    is_golden("0-before-the-first-look", &drawn(&mut nothing_yet, SMALL));
    for (name, upto) in [
        ("1-calm", 2),
        ("2-it-begins", 6),
        ("3-it-is-named", 10),
        ("4-it-is-over", LOOKS),
    ] {
        is_golden(name, &drawn(&mut after(&looks, upto), SMALL));
    }
    let mut gone_back = after(&looks, LOOKS);
    for key in [Key::Left, Key::Left, Key::Left, Key::Tab, Key::Enter] {
        assert!(gone_back.press(key));
    }
    is_golden("5-gone-back-verdict-large", &drawn(&mut gone_back, SMALL));
    is_golden("6-a-larger-terminal", &drawn(&mut after(&looks, 11), (120, 40)));
    is_golden("7-a-small-one", &drawn(&mut after(&looks, 11), (48, 14)));
    let mut asked = after(&looks, 11);
    assert!(asked.press(Key::Char('?')));
    is_golden("8-help", &drawn(&mut asked, SMALL));
}

#[test]
fn the_spike_is_told_line_by_line() {
    let looks = looks();
    let cause = |at: usize| looks[at].report.verdict.cause.name();
    assert_eq!((cause(1), cause(10)), ("none", "syn-sent-hold"));
    let held = |at: usize| looks[at].half_open.map_or(f64::NAN, |told| told.held.value);
    assert!(held(1) < 20.0 && held(10) > 500.0, "{} {}", held(1), held(10));
    // The pile is what the deaf seconds made, and it stays.
    assert!((held(12) - held(11)).abs() < 60.0);
}

#[test]
fn keys_do_what_the_help_says() {
    let looks = looks();
    let mut screen = after(&looks, LOOKS);
    let number = |screen: &Screen| screen.now().map(|frame| frame.number);
    assert_eq!((number(&screen), screen.goes_on()), (Some(13), true));
    screen.press(Key::Left);
    screen.press(Key::Left);
    assert_eq!((number(&screen), screen.goes_on()), (Some(11), false));
    // What comes meanwhile does not move it.
    screen.push(looks[0].clone());
    assert_eq!(number(&screen), Some(11));
    screen.press(Key::Home);
    assert_eq!(number(&screen), Some(1));
    screen.press(Key::Left);
    assert_eq!(number(&screen), Some(1));
    screen.press(Key::Right);
    assert_eq!(number(&screen), Some(2));
    screen.press(Key::End);
    assert!(screen.goes_on());
    screen.press(Key::Char(' '));
    assert!(!screen.goes_on());
    screen.press(Key::Char(' '));
    assert!(screen.goes_on());

    let mut screen = after(&looks, LOOKS);
    assert!(!screen.holders().is_empty());
    for letter in "/q?s".chars() {
        assert!(screen.press(Key::Char(letter)), "it is typed, and no command");
    }
    assert_eq!((screen.filter.as_str(), screen.holders().len()), ("q?s", 0));
    screen.press(Key::Backspace);
    assert_eq!(screen.filter, "q?");
    screen.press(Key::Escape);
    assert_eq!((screen.filter.as_str(), screen.typing), ("", false));
    for letter in "/:8080".chars() {
        screen.press(Key::Char(letter));
    }
    screen.press(Key::Enter);
    assert_eq!((screen.holders().len(), screen.typing), (1, false));

    assert!(!screen.press(Key::Char('q')));
    assert!(!screen.press(Key::Interrupt));
    screen.press(Key::Char('/'));
    assert!(!screen.press(Key::Interrupt), "also while a filter is typed");
}

#[test]
fn a_pane_scrolls_no_further_than_its_last_row() {
    let mut screen = after(&looks(), 11);
    screen.press(Key::Tab);
    assert_eq!(screen.pane, Pane::Verdict);
    for _ in 0..1000 {
        screen.press(Key::Down);
    }
    let last = drawn(&mut screen, SMALL);
    screen.press(Key::Up);
    assert_ne!(drawn(&mut screen, SMALL), last, "one key goes back at once");
    for _ in 0..1000 {
        screen.press(Key::Up);
    }
    screen.press(Key::Down);
    screen.press(Key::Up);
    let first = drawn(&mut screen, SMALL);
    assert!(first.contains("The firewall holds"), "{first}");
}

/// Whatever the size, it is drawn, and nothing panics.
#[test]
fn every_size() {
    let looks = looks();
    let mut screens = [
        after(&looks, 11),
        after(&looks, 11),
        Screen::new(None, Style::default()),
    ];
    screens[1].press(Key::Enter);
    for screen in &mut screens {
        for help in [false, true] {
            screen.help = help;
            for width in (1..130).step_by(13) {
                for height in (1..45).step_by(2) {
                    drawn(screen, (width, height));
                }
            }
        }
    }
}

#[test]
fn old_looks_make_room_and_what_is_frozen_stays_while_it_can() {
    let looks = looks();
    let mut screen = Screen::new(None, Style::default());
    screen.push(looks[0].clone());
    screen.press(Key::Char(' '));
    for _ in 0..700 {
        screen.push(looks[1].clone());
    }
    assert_eq!(screen.now().map(|frame| frame.number), Some(2));
    assert!(!screen.goes_on());
    assert_eq!(screen.past().count(), 1);
    screen.press(Key::End);
    assert_eq!(screen.past().count(), 600);
}

/// What the README shows is what is drawn.
#[test]
fn the_readme_shows_a_screen_that_is_drawn() {
    let readme = fs::read_to_string(path("README.md")).expect("README.md");
    let screen = fs::read_to_string(path("tests/golden/watch/3-it-is-named.txt")).expect("a golden screen");
    assert!(
        readme.contains(&screen),
        "README shows another screen than\n{screen}"
    );
}
