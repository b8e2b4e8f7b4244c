//! A setting of the whole machine, changed for one test and put back whatever becomes of it.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;

use crate::pace::until;

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

/// Names the file that a child of [`trial`] changes before it hangs.
const CHANGE: &str = "CTLENS_LIVE_CHANGE";

/// The guard is itself put to the test, on a file of its own: a child changes it, and is killed.
pub fn trial() -> Trial {
    Trial::test("scaffold/a-setting-outlives-a-kill", || {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), "old\n")?;
        let mut child = Command::new(std::env::current_exe()?)
            .env(CHANGE, file.path())
            .spawn()?;
        let becomes = |wanted: &str| {
            let now = || fs::read_to_string(file.path()).unwrap_or_default();
            let became = until(Duration::from_secs(10), || now().trim() == wanted);
            assert!(became, "it never became {wanted}");
        };
        becomes("new");
        child.kill()?; // SIGKILL: nothing of its own runs any more
        child.wait()?;
        becomes("old");
        Ok(())
    })
}

/// What [`trial`]'s child does instead of testing.
pub fn change_and_hang() {
    if let Some(path) = std::env::var_os(CHANGE) {
        let _guard = Changed::to(&path.to_string_lossy(), "new");
        // Far longer than it takes to be killed.
        until(Duration::from_secs(60), || false);
    }
}
