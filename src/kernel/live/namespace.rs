//! Which network namespace to look into, and the way in.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Where `ip netns add` keeps its names.
const NAMED: &str = "/run/netns";
/// PATH_MAX (include/uapi/linux/limits.h).
const MAX_PLAUSIBLE_BYTES: usize = 4096;
/// Names shown where the wanted one does not exist.
const NAMES_SHOWN: usize = 5;

/// A namespace as the user names it: a name of `ip netns`, a process id, or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netns {
    given: String,
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("network namespace {given}: there is none at {path}{hint}")]
    Missing {
        given: String,
        path: String,
        hint: String,
    },
    #[error("network namespace {given}: not permitted; run as root (CAP_SYS_ADMIN)")]
    NotPermitted { given: String },
    #[error("network namespace {given}: {path} is not a network namespace")]
    NotANamespace { given: String, path: String },
    #[error("network namespace {given}: {why}")]
    Other { given: String, why: String },
}

impl Netns {
    pub fn parse(given: &str) -> Netns {
        let path = if given.contains('/') {
            PathBuf::from(given)
        } else if !given.is_empty() && given.bytes().all(|b| b.is_ascii_digit()) {
            PathBuf::from(format!("/proc/{given}/ns/net"))
        } else {
            PathBuf::from(NAMED).join(given)
        };
        Netns {
            given: given.to_string(),
            path,
        }
    }

    /// Whether a name from elsewhere, a recording say, looks like one of a namespace: it will be shown in commands
    /// that are pasted into a shell.
    pub fn is_plausible(given: &str) -> bool {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:@+/".contains(&b);
        !given.is_empty()
            && given.len() <= MAX_PLAUSIBLE_BYTES
            && !given.starts_with('-')
            && given.bytes().all(plain)
    }

    /// The words that go before a command to run it there. They are not quoted for a shell.
    pub fn entered_by(&self) -> Vec<String> {
        match self.path.strip_prefix(NAMED) {
            Ok(name) => ["ip", "netns", "exec", &name.to_string_lossy()]
                .map(str::to_string)
                .to_vec(),
            Err(_) => vec!["nsenter".to_string(), format!("--net={}", self.path.display())],
        }
    }

    /// Moves the calling thread there.
    pub(super) fn enter(&self) -> Result<(), OpenError> {
        let file = File::open(&self.path).map_err(|error| self.explain(error))?;
        // SAFETY: setns takes a valid file descriptor and a flag; it touches no memory of ours.
        if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
            return Ok(());
        }
        Err(self.explain(std::io::Error::last_os_error()))
    }

    fn explain(&self, error: std::io::Error) -> OpenError {
        let (given, path) = (self.given.clone(), self.path.display().to_string());
        match error.raw_os_error() {
            Some(libc::ENOENT) => OpenError::Missing {
                given,
                path,
                hint: existing(),
            },
            Some(libc::EPERM | libc::EACCES) => OpenError::NotPermitted { given },
            Some(libc::EINVAL) => OpenError::NotANamespace { given, path },
            _ => OpenError::Other {
                given,
                why: error.to_string(),
            },
        }
    }
}

fn existing() -> String {
    let Ok(entries) = fs::read_dir(NAMED) else {
        return String::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.is_empty() {
        return "; `ip netns` names none".to_string();
    }
    let more = if names.len() > NAMES_SHOWN { ", …" } else { "" };
    names.truncate(NAMES_SHOWN);
    format!("; there are: {}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_paths() {
        assert_eq!(Netns::parse("edge").path, PathBuf::from("/run/netns/edge"));
        assert_eq!(Netns::parse("42").path, PathBuf::from("/proc/42/ns/net"));
        assert_eq!(Netns::parse("edge").entered_by(), ["ip", "netns", "exec", "edge"]);
        assert_eq!(
            Netns::parse("42").entered_by(),
            ["nsenter", "--net=/proc/42/ns/net"]
        );
        assert_eq!(
            Netns::parse("/proc/self/ns/net").path,
            PathBuf::from("/proc/self/ns/net")
        );
    }

    #[test]
    fn a_name_that_a_shell_would_read_is_none() {
        for name in ["edge", "42", "/proc/1/ns/net", "cni-0a1b_2.c:d@e+f"] {
            assert!(Netns::is_plausible(name), "{name}");
        }
        for name in [
            "",
            "$(id)",
            "a;id",
            "a b",
            "`id`",
            "-x",
            "a\nb",
            "a'b",
            "\u{1b}[2J",
            "é",
        ] {
            assert!(!Netns::is_plausible(name), "{name}");
        }
        assert!(!Netns::is_plausible(&"x".repeat(4097)));
    }

    #[test]
    fn a_missing_one_says_where_it_was_looked_for() {
        let error = Netns::parse("no-such-namespace").enter().unwrap_err();
        assert!(
            error.to_string().contains("/run/netns/no-such-namespace"),
            "{error}"
        );
        // Without the right to enter any, that is what it says first.
        let error = Netns::parse("/etc/passwd").enter().unwrap_err();
        assert!(
            matches!(
                error,
                OpenError::NotANamespace { .. } | OpenError::NotPermitted { .. }
            ),
            "{error}"
        );
    }
}
