//! Threads, and programs that they start, inside a network namespace.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

/// Where `ip netns add` keeps its names.
pub const NAMED: &str = "/run/netns";

/// Runs `work` on a thread of its own that has moved to the namespace; the caller stays where it is.
pub fn inside<T: Send + 'static>(netns: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let path = format!("{NAMED}/{netns}");
    thread::spawn(move || {
        let file = File::open(&path).unwrap_or_else(|error| panic!("opening {path}: {error}"));
        // SAFETY: setns takes a valid file descriptor and a flag; it touches no memory of ours.
        let moved = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(moved, 0, "entering {path}: {}", std::io::Error::last_os_error());
        work()
    })
}

/// [`inside`], waited for; a panic in there is a panic here.
pub fn there<T: Send + 'static>(netns: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    inside(netns, work)
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Where `ip` and `nft` are, beside what PATH has: not everybody's PATH has them.
const ADMIN_PATH: &str = "/usr/sbin:/sbin";

/// Runs a program of this thread's namespace to its end, with `input` on stdin.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let failed = |why: String| format!("{program} {}: {why}", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .env(
            "PATH",
            format!("{}:{ADMIN_PATH}", std::env::var("PATH").unwrap_or_default()),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin
        .write_all(input.as_bytes())
        .map_err(|error| failed(error.to_string()))?;
    drop(stdin);
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(failed(format!("{}: {said}\n{input}", output.status)))
}
