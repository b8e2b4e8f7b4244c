//! A setting of the whole machine, changed for one test and put back whatever becomes of it.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Puts the old value back when dropped, or when this process is gone: its child waits for the end of a pipe.
pub struct Changed {
    pipe: Option<ChildStdin>,
    watchdog: Child,
}

/// $1 the file, $2 its old value. `cat` ends when nobody holds the pipe's other end any more.
const WATCHDOG: &str = r#"trap '' INT TERM HUP; cat >/dev/null; printf '%s\n' "$2" >"$1""#;

impl Changed {
    /// The watchdog stands before the value changes.
    pub fn to(path: &str, value: &str) -> io::Result<Changed> {
        let old = fs::read_to_string(path)?;
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "sh", path, old.trim()])
            .stdin(Stdio::piped())
            // Its own process group: what is sent to ours does not reach it.
            .process_group(0)
            .spawn()?;
        let changed = Changed {
            pipe: watchdog.stdin.take(),
            watchdog,
        };
        fs::write(path, value)?;
        Ok(changed)
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.watchdog.wait();
    }
}
