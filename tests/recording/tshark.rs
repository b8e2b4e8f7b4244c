//! Wireshark's own reader makes sense of the packets.

use std::path::Path;
use std::process::Command;

use ctlens::kernel::{Channel, Errno, Heard, Job, Kernel, Record, Source};
use ctlens::model::Moment;
use ctlens::wire::ctnetlink::{DumpFilter, encode_dump};

use crate::fake::{Fake, Place, tap};

/// A table of one entry, and one packet on the wire.
struct OneEntry(Fake);

impl Kernel for OneEntry {
    fn now(&mut self) -> Moment {
        self.0.now()
    }
    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        self.0.read_file(path)
    }
    fn read_dir(&mut self, path: &str, part: &str) -> Result<Vec<u8>, Errno> {
        self.0.read_dir(path, part)
    }
    fn request(&mut self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            let mut datagram = entry();
            let done = [
                &20u32.to_ne_bytes()[..],
                &3u16.to_ne_bytes(),
                &[2, 0],
                &[1, 0, 0, 0],
                &[0; 8],
            ];
            datagram.extend(done.concat());
            let _ = (job.sink)(&datagram);
            job.result = Ok(());
        }
    }
    fn listen(
        &mut self,
        _sources: &[Source],
        _deadline: Moment,
        each: &mut dyn FnMut(usize, &[u8]) -> std::ops::ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        let sll2 = [8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
        let ip = [0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let tcp = [
            0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0,
        ];
        let _ = each(0, &[&sll2[..], &ip, &tcp].concat());
        Ok(Heard::default())
    }
}

/// IPCTNL_MSG_CT_NEW with the original tuple 10.0.0.1:40000 > 10.0.0.2:80.
fn entry() -> Vec<u8> {
    let attribute = |kind: u16, value: &[u8]| {
        let mut out = (4 + value.len() as u16).to_ne_bytes().to_vec();
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    };
    let nested = |kind: u16, parts: &[Vec<u8>]| attribute(0x8000 | kind, &parts.concat());
    let addresses = nested(1, &[attribute(1, &[10, 0, 0, 1]), attribute(2, &[10, 0, 0, 2])]);
    let ports = [
        attribute(1, &[6]),
        attribute(2, &40000u16.to_be_bytes()),
        attribute(3, &80u16.to_be_bytes()),
    ];
    let tuple = nested(1, &[addresses, nested(2, &ports)]);
    let payload = [&[2, 0, 0, 0][..], &tuple, &attribute(7, &120u32.to_be_bytes())].concat();
    let header = [
        (16 + payload.len() as u32).to_ne_bytes(),
        [0, 1, 2, 0],
        [1, 0, 0, 0],
        [0; 4],
    ];
    [header.concat(), payload].concat()
}

fn write(path: &Path) {
    let mut record = Record::new(Box::new(OneEntry(Fake::default())), path, "status").unwrap();
    record.now();
    let _ = record.read_file("/proc/sys/net/netfilter/nf_conntrack_max");
    let mut sink = |_: &[u8]| std::ops::ControlFlow::Break(());
    let mut jobs = [Job::new(
        Channel::Netfilter,
        encode_dump(&DumpFilter::default()),
        &mut sink,
    )];
    record.request(&mut jobs);
    record
        .listen(&[tap(1)], Moment::default(), &mut |_, _| {
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    record.finish().unwrap();
}

/// Rows of the fields asked for; `None` where there is no tshark.
fn tshark(path: &Path, filter: &str, fields: &[&str]) -> Option<Vec<String>> {
    let mut command = Command::new("tshark");
    command
        .arg("-n")
        .arg("-r")
        .arg(path)
        .args(["-Y", filter, "-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: tshark is not installed");
            return None;
        }
        output => output.expect("tshark runs"),
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("text");
    Some(text.lines().map(str::to_string).collect())
}

const TIME: &str = "1790000001.000000007";

#[test]
fn tshark_reads_requests_and_entries() {
    let place = Place::new();
    let path = place.file("r.pcapng");
    write(&path);
    let fields = [
        "frame.time_epoch",
        "frame.comment",
        "netlink.family",
        "netlink.hdr_type",
        "netlink-netfilter.nfct_tuple.ip.ip_addr",
        "netlink-netfilter.nfct_tuple.proto.dst_port",
        "netlink-netfilter.ct_attr.timeout",
    ];
    let Some(rows) = tshark(&path, "netlink", &fields) else {
        return;
    };
    // A dump request (IPCTNL_MSG_CT_GET), then the entry (IPCTNL_MSG_CT_NEW) and NLMSG_DONE in one datagram.
    assert_eq!(
        rows,
        [
            format!("{TIME}|ctlens 0.0|0x000c|0x0101|||"),
            format!("{TIME}|ctlens 0.0|0x000c|0x0100,0x0003|10.0.0.1,10.0.0.2|80|120"),
        ]
    );
}

#[test]
fn tshark_reads_tapped_packets() {
    let place = Place::new();
    let path = place.file("r.pcapng");
    write(&path);
    let fields = [
        "frame.time_epoch",
        "frame.comment",
        "sll.ifindex",
        "ip.src",
        "tcp.dstport",
        "tcp.flags",
    ];
    let Some(rows) = tshark(&path, "tcp", &fields) else {
        return;
    };
    assert_eq!(rows, [format!("{TIME}|ctlens 1.0|2|10.0.0.1|80|0x0002")]);
}

#[test]
fn tshark_shows_the_rest_as_custom_blocks() {
    let place = Place::new();
    let path = place.file("r.pcapng");
    write(&path);
    let Some(rows) = tshark(&path, "frame.cb_pen == 32473", &["frame.number"]) else {
        return;
    };
    // about, now, file, answered, listen, heard, closed
    assert_eq!(rows.len(), 7, "{rows:?}");
}
