//! The real kernel: what a look in a namespace brings home comes back from its recording, byte for byte.

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use ctlens::collect::{self, Needs, Presence, Tracking, Wish};
use ctlens::kernel::{Errno, Heard, Job, Kernel, Live, Record, Sink, Source};
use ctlens::model::{Moment, SocketState};

use crate::fake::{Place, replay};

/// Set for the process that runs inside the namespace: the directory to leave its results in.
const INSIDE: &str = "CTLENS_RECORDING_TEST_DIR";
const RECORDINGS: [&str; 2] = ["plain.pcapng", "packed.zst"];
const CONNECTIONS: usize = 12;
/// At this pace, as long as the looks last.
const MOST_CONNECTIONS: usize = 4000;
const PACE: Duration = Duration::from_millis(5);

/// Notes every byte and result that passes, in order.
struct Witness<'a> {
    inner: &'a mut dyn Kernel,
    seen: String,
}

impl Witness<'_> {
    fn of(inner: &mut dyn Kernel) -> Witness<'_> {
        Witness {
            inner,
            seen: String::new(),
        }
    }

    fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.seen.push_str(&format!("{what}\n"));
    }
}

impl Kernel for Witness<'_> {
    fn now(&mut self) -> Moment {
        let moment = self.inner.now();
        self.note(format_args!("now {moment:?}"));
        moment
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        let result = self.inner.read_file(path);
        self.note(format_args!("file {path} {result:?}"));
        result
    }

    fn read_dir(&mut self, path: &str, part: &str) -> Result<Vec<u8>, Errno> {
        let result = self.inner.read_dir(path, part);
        self.note(format_args!("dir {path} {part} {result:?}"));
        result
    }

    fn request(&mut self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            let mut datagrams = Vec::new();
            let sink: &mut Sink<'_> = job.sink;
            let mut noting = |datagram: &[u8]| {
                datagrams.push(datagram.to_vec());
                sink(datagram)
            };
            let mut one = [Job::new(job.channel, job.request.clone(), &mut noting)];
            one[0].wider = job.wider.clone();
            self.inner.request(&mut one);
            job.result = one[0].result;
            self.note(format_args!("asked {:?} {:?}", job.request, job.result));
            self.note(format_args!("{datagrams:?}"));
        }
    }

    fn listen(
        &mut self,
        sources: &[Source],
        deadline: Moment,
        each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        let mut packets = Vec::new();
        let result = self.inner.listen(sources, deadline, &mut |source, packet| {
            packets.push((source, packet.to_vec()));
            each(source, packet)
        });
        self.note(format_args!("heard {} {result:?} {packets:?}", sources.len()));
        result
    }
}

/// What a diagnosis looks at, by way of the kernel given.
fn look(kernel: &mut dyn Kernel) -> (u64, usize) {
    let presence = Presence::read(kernel);
    assert_eq!(collect::tracking(kernel, &presence), Tracking::Yes);
    let mut segments = 0;
    let heard = collect::tap(kernel, 0.3, &mut |_| segments += 1);
    assert!(heard.is_ok(), "{heard:?}");
    let needs = Needs {
        sockets: true,
        addresses: true,
    };
    let snapshot = collect::snapshot(kernel, &presence, needs);
    let wish = Wish {
        exact: true,
        ..Wish::default()
    };
    let plan = collect::plan(&snapshot.limits, &wish, presence.doors());
    let (table, _) = collect::pass(
        kernel,
        &plan,
        &snapshot.limits,
        &mut |_| ControlFlow::Continue(()),
    )
    .expect("a table");
    let mut inodes = std::collections::BTreeSet::new();
    collect::sockets(kernel, &presence, &SocketState::ALL, &mut |socket| {
        inodes.insert(socket.inode);
    })
    .expect("sockets");
    inodes.remove(&0); // TIME_WAIT has none
    let (owners, _) = collect::owners(kernel, &inodes);
    // Those that come and go may be gone by now.
    assert!(owners.len() >= CONNECTIONS, "{owners:?}");
    let _ = kernel.read_file("/no/such/file");
    kernel.now();
    (table.dumped, segments)
}

#[test]
fn a_look_replays_byte_for_byte() {
    let place = Place::new();
    let netns = format!("ctrec{}", std::process::id());
    if !ip(&["netns", "add", &netns]) {
        println!("skipped: no namespace can be made here");
        return;
    }
    let inner = Command::new("ip")
        .args(["netns", "exec", &netns])
        .arg(env::current_exe().expect("this test"))
        .args(["--exact", "real::inside", "--nocapture"])
        .env(INSIDE, place.dir())
        .output();
    ip(&["netns", "delete", &netns]);
    let inner = inner.expect("ip runs");
    let told = String::from_utf8_lossy(&inner.stdout);
    assert!(
        inner.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&inner.stderr)
    );
    if told.contains("skipped:") {
        println!("{told}");
        return;
    }
    for name in RECORDINGS {
        let live = fs::read_to_string(place.file(name).with_extension("seen")).unwrap();
        let mut replayed = replay(&place.file(name));
        assert_eq!(replayed.cut(), None);
        let mut witness = Witness::of(&mut replayed);
        let (entries, segments) = look(&mut witness);
        assert!(
            entries >= CONNECTIONS as u64 && segments > 0,
            "{entries} {segments}"
        );
        let seen = witness.seen;
        assert!(seen == live, "{name}: {}", difference(&seen, &live));
    }
}

fn difference(a: &str, b: &str) -> String {
    let mut lines = a.lines().zip(b.lines());
    let first = lines.find(|(a, b)| a != b);
    first.map_or("one ends early".into(), |(a, b)| {
        format!("\n{:.300}\n{:.300}", a, b)
    })
}

fn ip(arguments: &[&str]) -> bool {
    let output = Command::new("ip").args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

/// Runs in the namespace, where a rule turns tracking on; does nothing as a test of its own.
#[test]
fn inside() {
    let Some(dir) = env::var_os(INSIDE) else {
        return;
    };
    let dir = Path::new(&dir);
    let rule = "table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }";
    let tracked = Command::new("nft")
        .arg(rule)
        .status()
        .is_ok_and(|status| status.success());
    if !ip(&["link", "set", "lo", "up"]) || !tracked {
        println!("skipped: nft cannot turn tracking on here");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let pair = || {
        (
            TcpStream::connect(address).expect("connects"),
            listener.accept().expect("accepts"),
        )
    };
    let held: Vec<_> = (0..CONNECTIONS).map(|_| pair()).collect();
    let (stop, stopped) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // Something for the tap to hear.
        scope.spawn(move || {
            for _ in 0..MOST_CONNECTIONS {
                drop(pair());
                if stopped.recv_timeout(PACE) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        });
        for name in RECORDINGS {
            let live = Live::open(None).expect("opens");
            let mut record = Record::new(Box::new(live), &dir.join(name), "a look").expect("begins");
            let mut witness = Witness::of(&mut record);
            look(&mut witness);
            fs::write(dir.join(name).with_extension("seen"), witness.seen).expect("kept");
            println!("{name}: {:?}", record.finish().expect("finishes"));
        }
        drop(stop);
    });
    drop(held);
}
