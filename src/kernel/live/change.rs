//! Changes to this machine.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Stdio};

use super::{Live, errno_of};
use crate::kernel::{Change, Errno, Job};

impl Change for Live {
    fn may_write(&mut self, path: &str) -> Result<(), Errno> {
        OpenOptions::new()
            .write(true)
            .open(path)
            .map(drop)
            .map_err(errno_of)
    }

    fn write_file(&mut self, path: &str, content: &str) -> Result<(), Errno> {
        let mut file = OpenOptions::new().write(true).open(path).map_err(errno_of)?;
        file.write_all(content.as_bytes()).map_err(errno_of)
    }

    fn tell(&mut self, job: &mut Job<'_>) {
        job.result = self.answer(job);
    }

    fn feed(&mut self, command: &[&str], input: &str) -> Result<(), String> {
        let (program, arguments) = command.split_first().ok_or("no command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        // It may end before it has read all: then it says why.
        let _ = child
            .stdin
            .take()
            .map(|mut pipe| pipe.write_all(input.as_bytes()));
        let output = child
            .wait_with_output()
            .map_err(|error| format!("{program}: {error}"))?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(format!(
                    "{program}: {}",
                    said.lines().next().unwrap_or("it failed")
                ))
            }
        }
    }
}
