//! The only way to change the host. `apply` and `rollback` receive it, and nobody else.

use super::{Errno, Job};

pub trait Change {
    /// Whether the file could be written; nothing is.
    fn may_write(&mut self, path: &str) -> Result<(), Errno>;

    /// Writes what a file under /proc/sys takes, in one call.
    fn write_file(&mut self, path: &str, content: &str) -> Result<(), Errno>;

    /// Sends a request that changes something.
    fn tell(&mut self, job: &mut Job<'_>);

    /// Runs a command in the namespace that is changed, with `input` for it to read. The error is what it said.
    fn feed(&mut self, command: &[&str], input: &str) -> Result<(), String>;
}
