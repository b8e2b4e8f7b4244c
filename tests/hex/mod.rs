//! Annotated captures of fixtures/wire: bytes in hexadecimal, `#` begins a comment. Netlink speaks the byte order of its
//! host, and these hosts were little-endian: tests that read them are not built elsewhere.
#![allow(dead_code)] // each test file uses a part of it

use std::fs;
use std::path::PathBuf;

use ctlens::wire::netlink;

/// One netlink message of a capture.
#[derive(Clone, Debug)]
pub struct Message {
    pub kind: u16,
    pub flags: u16,
    pub port: u32,
    pub payload: Vec<u8>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire")
}

/// All captures whose names begin so, in order.
pub fn names(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("fixtures/wire is a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("a readable folder").file_name())
        .filter_map(|name| Some(name.to_str()?.strip_suffix(".hex")?.to_string()))
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no capture {prefix}*");
    names
}

pub fn bytes(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.hex"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let data = text.lines().map(|line| line.split('#').next().unwrap_or(""));
    data.flat_map(str::split_whitespace)
        .map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{name}: {byte} is no byte")))
        .collect()
}

pub fn messages(name: &str) -> Vec<Message> {
    let bytes = bytes(name);
    netlink::messages(&bytes)
        .map(|message| message.unwrap_or_else(|error| panic!("{name}: {error}")))
        .map(|message| Message {
            kind: message.kind,
            flags: message.flags,
            port: message.port,
            payload: message.payload.to_vec(),
        })
        .collect()
}

/// A capture of one message.
pub fn message(name: &str) -> Message {
    let mut all = messages(name);
    assert_eq!(all.len(), 1, "{name}");
    all.remove(0)
}
