//! Standard output and input that are no plain terminal or file: what the program makes of them.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

const RECORDING: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/fixtures/recordings/syn-sent-hold.pcapng.zst"
);

fn ctlens(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctlens"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_full_disk_under_the_result_is_one_clear_line() {
    for command in ["diagnose", "status", "list"] {
        let full = OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full");
        let run = ctlens(&[command, "--from", RECORDING])
            .stdout(full)
            .output()
            .expect("it starts");
        let stderr = text(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{command}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{command}: {stderr}");
        assert!(
            stderr.starts_with("ctlens: writing the ") && stderr.contains("No space left"),
            "{stderr}"
        );
    }
}
