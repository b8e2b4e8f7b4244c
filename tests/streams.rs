//! Standard output and input that are no plain terminal or file: what the program makes of them.

use std::fs::OpenOptions;
use std::io::Write;
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

/// What the program says of bytes that come through a pipe.
fn piped(command: &str, bytes: &[u8]) -> (Option<i32>, String, String) {
    let mut child = ctlens(&[command, "--from", "/dev/stdin", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("all is read");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_recording_may_come_through_a_pipe() {
    let packed = std::fs::read(RECORDING).expect("a fixture");
    let plain = zstd::decode_all(&packed[..]).expect("zstd");
    for command in ["diagnose", "list"] {
        let file = ctlens(&[command, "--from", RECORDING, "--format", "json"])
            .output()
            .expect("it starts");
        for bytes in [&packed, &plain] {
            let (code, stdout, stderr) = piped(command, bytes);
            assert_eq!((code, stderr.as_str()), (file.status.code(), ""), "{command}");
            assert_eq!(stdout, text(&file.stdout), "{command}");
        }
    }
}

#[test]
fn pasted_text_may_come_through_a_pipe() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/pasted/held-outbound/conntrack.txt"
    );
    let file = ctlens(&["list", "--from", path, "--format", "json"])
        .output()
        .expect("it starts");
    assert!(file.status.success() && !file.stdout.is_empty());
    let (code, stdout, stderr) = piped("list", &std::fs::read(path).expect("a fixture"));
    assert_eq!(
        (code, stdout, stderr),
        (Some(0), text(&file.stdout), String::new())
    );
}
