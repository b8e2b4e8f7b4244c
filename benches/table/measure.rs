//! Times a whole process: wall clock, CPU and peak memory of it and its children.

use std::mem::zeroed;
use std::process::{Command, Stdio};
use std::time::Instant;

#[derive(Clone, Copy)]
pub struct Run {
    pub wall_s: f64,
    pub user_s: f64,
    pub sys_s: f64,
    pub rss_mib: f64,
}

// wait4 waits for it, which gives the resources it used.
#[allow(clippy::zombie_processes)]
pub fn run(words: &[&str]) -> Run {
    let began = Instant::now();
    let child = Command::new(words[0])
        .args(&words[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("starting {}: {error}", words[0]));
    let pid = child.id() as libc::pid_t;
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { zeroed() };
    // SAFETY: both pointers are valid for the call; the child is ours and nobody else waits for it.
    let waited = unsafe { libc::wait4(pid, &mut status, 0, &mut usage) };
    let wall_s = began.elapsed().as_secs_f64();
    assert_eq!(waited, pid, "waiting for {}", words[0]);
    let code = libc::WEXITSTATUS(status);
    assert!(libc::WIFEXITED(status) && code < 2, "{words:?} ended with {code}");
    let secs = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Run {
        wall_s,
        user_s: secs(usage.ru_utime),
        sys_s: secs(usage.ru_stime),
        rss_mib: usage.ru_maxrss as f64 / 1024.0,
    }
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
