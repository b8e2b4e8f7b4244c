//! A network namespace of a test's own, which goes with the thread that made it.
#![allow(dead_code)] // each test file uses a part of it

pub mod loader;
pub mod table;

use std::process::{Command, Stdio};
use std::thread;

use ctlens::kernel::{Channel, Job, Kernel, Live};
use ctlens::wire::netlink;

/// Runs `test` inside; says so and does nothing where no namespace can be made.
pub fn inside(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            // SAFETY: unshare takes a flag and changes this thread only, which ends with the test.
            #[allow(unsafe_code)]
            let made = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            if made == 0 {
                test();
            } else {
                println!(
                    "skipped: no network namespace can be made: {}",
                    std::io::Error::last_os_error()
                );
            }
        });
        if let Err(panic) = run.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs a program in this thread's namespace; what it printed, or why it failed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// One message of an answer.
#[derive(Clone, Debug)]
pub struct Message {
    pub kind: u16,
    pub flags: u16,
    pub payload: Vec<u8>,
    /// As it came, header included.
    pub whole: Vec<u8>,
}

/// Asks the kernel, and gives the answer up to its end; a refusal as its error number.
pub fn ask(request: Vec<u8>) -> Result<Vec<Message>, i32> {
    let mut live = Live::open(None).expect("no namespace is entered");
    let (mut out, mut refused) = (Vec::new(), None);
    let mut sink = |datagram: &[u8]| {
        let mut at = 0;
        for message in netlink::messages(datagram) {
            let message = message.expect("the kernel's netlink is well-formed");
            match netlink::ending(&message) {
                Some(netlink::Ending::Refused(errno)) => refused = Some(errno),
                Some(_) => {}
                None => {
                    let length = 16 + message.payload.len();
                    out.push(Message {
                        kind: message.kind,
                        flags: message.flags,
                        payload: message.payload.to_vec(),
                        whole: datagram[at..at + length].to_vec(),
                    });
                    at += length.next_multiple_of(4);
                    continue;
                }
            }
            return std::ops::ControlFlow::Break(());
        }
        std::ops::ControlFlow::Continue(())
    };
    let mut jobs = [Job::new(Channel::Netfilter, request, &mut sink)];
    live.request(&mut jobs);
    let [job] = jobs;
    job.result.expect("an answer of this kernel");
    refused.map_or(Ok(out), Err)
}
