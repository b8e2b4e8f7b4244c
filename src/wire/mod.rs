//! Bytes and text to nouns and back. Total: any input gives a value or an error.

pub mod ct_change;
pub mod ct_events;
mod ct_tuple;
pub mod ctnetlink;
pub mod ctnetlink_stats;
pub mod cttimeout;
pub mod inet_diag;
pub mod iptables_save;
pub mod netlink;
pub mod nf_tables;
pub mod packet;
pub mod paste;
pub mod proc_tcp;
pub mod procfs;
pub mod profile;
pub mod route;

/// What was wrong with the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// The number at `at`, in network byte order.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The number at `at`, in this machine's byte order.
fn ne16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn ne32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
