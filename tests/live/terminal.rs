//! A pseudo-terminal with ctlens at the other end of it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::pace::until;
use crate::stage::PATIENCE;

/// The screen of its own that a program leaves behind again (DECSET and DECRST 1049).
const ENTERED: &str = "\x1b[?1049h";
const LEFT: &str = "\x1b[?1049l";

pub struct Terminal {
    child: Child,
    keyboard: File,
    /// Open here too, so that its modes can be asked for when the program has gone.
    line: OwnedFd,
    before: libc::termios,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// 80 columns, 24 rows.
    pub fn start(arguments: &[&str]) -> Terminal {
        let (mut ours, mut theirs) = (0, 0);
        let size = libc::winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: both descriptors and the size are ours; name and modes may be absent.
        let made = unsafe {
            libc::openpty(
                &mut ours,
                &mut theirs,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                &size,
            )
        };
        assert_eq!(made, 0, "a pseudo-terminal: {}", std::io::Error::last_os_error());
        // SAFETY: openpty gave two new descriptors that nothing else owns.
        let (ours, line) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        let end = || Stdio::from(line.try_clone().expect("another descriptor"));
        let before = modes(&line);
        let child = Command::new(env!("CARGO_BIN_EXE_ctlens"))
            .args(arguments)
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(Stdio::null())
            .spawn()
            .expect("ctlens starts");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (into, mut from) = (Arc::clone(&heard), ours.try_clone().expect("another descriptor"));
        // It ends when both sides of the terminal are closed.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                into.lock().expect("no reader panics").extend(&buffer[..length]);
            }
        });
        Terminal {
            child,
            keyboard: ours,
            line,
            before,
            heard,
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().expect("no reader panics")).into_owned()
    }

    pub fn shows(&self, words: &str) -> bool {
        self.text().contains(words)
    }

    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("keys are heard");
    }

    pub fn terminate(&self) {
        // SAFETY: kill takes numbers; the child is ours and not waited for yet.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
    }

    /// Its exit status, after which the terminal is as it was before.
    pub fn end(&mut self) -> Option<i32> {
        let mut status = None;
        until(PATIENCE, || {
            status = self.child.try_wait().expect("the child is ours");
            status.is_some()
        });
        let status = status.or_else(|| {
            let _ = self.child.kill();
            let _ = self.child.wait();
            None
        });
        assert!(until(PATIENCE, || self.shows(LEFT)), "its screen is still there");
        assert!(self.shows(ENTERED), "it had no screen of its own");
        let after = modes(&self.line);
        let of = |modes: &libc::termios| (modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag);
        assert_eq!(of(&after), of(&self.before), "the terminal's modes");
        status?.code()
    }
}

fn modes(line: &OwnedFd) -> libc::termios {
    // SAFETY: termios is plain numbers, for which all zeroes is a value.
    let mut modes: libc::termios = unsafe { zeroed() };
    // SAFETY: the descriptor is open and the modes are ours.
    let got = unsafe { libc::tcgetattr(line.as_raw_fd(), &mut modes) };
    assert_eq!(
        got,
        0,
        "the terminal's modes: {}",
        std::io::Error::last_os_error()
    );
    modes
}
