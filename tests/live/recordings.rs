//! Real recordings for fixtures/, made in the scenarios' own namespaces.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use crate::lab::{self, Family::V4};
use crate::pace::after;
use crate::scenarios::{HURRIED, flood, healthy, hold, nat, overflow, ruleset};
use crate::stage::{Pair, Stage};
use crate::traffic::{Clients, closing_server};
use crate::verdict::ctlens;

/// Fixtures are read by every golden test.
const LARGEST_BYTES: u64 = 300_000;
/// A little above the least that makes a pile-up.
const PER_SECOND: u32 = 150;
const ENTRIES: usize = 700;

struct Recording {
    name: &'static str,
    program: &'static str,
    stage: fn() -> Stage,
    /// The TCP state whose entries are waited for.
    state: &'static str,
    /// Further words for `ctlens record`.
    more: &'static [&'static str],
}

impl Recording {
    /// A range of NAT gives no more.
    fn entries(&self) -> usize {
        if self.name.starts_with("nat") {
            ENTRIES - 5
        } else {
            ENTRIES
        }
    }
}

const RECORDINGS: [Recording; 8] = [
    Recording {
        name: "syn-sent-hold",
        program: "haproxy",
        stage: || hold::proxy_gives_up(V4, PER_SECOND),
        state: "SYN_SENT",
        more: &[],
    },
    Recording {
        name: "syn-sent-hold-forwarded",
        program: "curl",
        stage: || hold::clients_give_up(V4, PER_SECOND),
        state: "SYN_SENT",
        more: &[],
    },
    Recording {
        name: "syn-flood",
        program: "nginx",
        stage: || flood::cookies(V4, PER_SECOND),
        state: "SYN_RECV",
        more: &[],
    },
    Recording {
        name: "listener-overflow",
        program: "nginx",
        stage: || overflow::queue_is_full(V4, PER_SECOND, HURRIED),
        state: "SYN_SENT",
        more: &[],
    },
    Recording {
        name: "healthy",
        program: "nginx",
        stage: || healthy::closing(V4, PER_SECOND, false),
        state: "TIME_WAIT",
        more: &[],
    },
    Recording {
        name: "syn-sent-hold-sampled",
        program: "haproxy",
        stage: || hold::proxy_gives_up(V4, PER_SECOND),
        state: "SYN_SENT",
        more: &["--sample", "400"],
    },
    Recording {
        name: "ruleset-drop",
        program: "haproxy",
        stage: || ruleset::answers_eaten(V4, PER_SECOND),
        state: "SYN_RECV",
        more: &[],
    },
    Recording {
        name: "nat-ports-exhausted",
        program: "curl",
        stage: || nat::exhausting(V4, PER_SECOND, "masquerade to :5000-5699"),
        state: "SYN_SENT",
        more: &[],
    },
];

/// How long the backend is well, deaf, and well again.
const SPIKE_SECS: [u64; 3] = [4, 7, 4];
const SPIKE_PER_SECOND: u32 = 110;

/// A backend goes deaf for some seconds, and a proxy is watched meanwhile.
fn spike(directory: &Path) {
    let pair = Pair::new(V4, "proxy", "backend");
    pair.near.tracks();
    let server = closing_server(&pair.far, pair.service);
    let clients = Clients::new(pair.service, SPIKE_PER_SECOND, HURRIED).start(&pair.near);
    let (backend, [well, deaf, again]) = (pair.far.clone(), SPIKE_SECS.map(Duration::from_secs));
    let phases = thread::spawn(move || {
        after(well);
        backend.swallows();
        after(deaf);
        backend.nft("delete table inet deaf");
    });
    let path = directory.join("spike.pcapng.zst");
    let (file, lasting) = (path.display().to_string(), (well + deaf + again).as_secs());
    let (exit, stdout, stderr) = ctlens(&[
        "watch",
        "--netns",
        &pair.near.netns,
        "--interval",
        "1s",
        "--for",
        &format!("{lasting}s"),
        "--record",
        &file,
    ]);
    phases.join().expect("the backend goes deaf and hears again");
    drop((server, clients));
    assert_eq!(exit, 0, "{stdout}{stderr}");
    print!("{stdout}");
    is_small(&path);
}

fn is_small(path: &Path) {
    let file = path.display();
    let bytes = fs::metadata(path)
        .unwrap_or_else(|error| panic!("{file}: {error}"))
        .len();
    assert!(
        bytes <= LARGEST_BYTES,
        "{file}: {bytes} bytes are over {LARGEST_BYTES}"
    );
    println!("{file}: {bytes} bytes");
}

/// One file a scenario, over what is there.
pub fn make(directory: &Path) -> ExitCode {
    fs::create_dir_all(directory).unwrap_or_else(|error| panic!("making {}: {error}", directory.display()));
    lab::name_by_role();
    for recording in RECORDINGS {
        // The process that a reader will see behind the sockets.
        fs::write("/proc/self/comm", recording.program)
            .unwrap_or_else(|error| panic!("naming itself: {error}"));
        let stage = (recording.stage)();
        stage.until_entries(recording.state, recording.entries());
        let path = directory.join(format!("{}.pcapng.zst", recording.name));
        let file = path.display().to_string();
        let (exit, stdout, stderr) = ctlens(
            &[
                &["record", &file, "--netns", &stage.watched.netns],
                recording.more,
            ]
            .concat(),
        );
        assert!(
            exit == 0 || exit == 1,
            "ctlens record {file}: exit {exit}\n{stdout}{stderr}"
        );
        is_small(&path);
    }
    let watched = directory.with_file_name("watch");
    fs::create_dir_all(&watched).unwrap_or_else(|error| panic!("making {}: {error}", watched.display()));
    fs::write("/proc/self/comm", "haproxy").unwrap_or_else(|error| panic!("naming itself: {error}"));
    spike(&watched);
    ExitCode::SUCCESS
}
