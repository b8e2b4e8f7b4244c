//! ctlens: who holds the half-open connections, the firewall, the proxy or the backend?
//!
//! A conntrack entry is not a connection attempt. A client that gives up after 0.3 s leaves an entry that the
//! firewall keeps for `nf_conntrack_tcp_timeout_syn_sent`, 120 s by default: 300 failing attempts a second are 90
//! sockets and 36,000 entries. Half-open entries whose originator is gone are *held*, the others *live*. Where the
//! large majority is held, the firewall's timeout is the bottleneck, and who leaves the SYNs unanswered is its
//! *trigger*, named separately. Where entries are about as many as live attempts, the firewall holds nothing, and
//! the side that does not answer is the bottleneck. What could not be seen is a gap, never a zero.
//!
//! ```text
//!    what the machine says                what we think                 what people see
//!  ┌──────────────────────────┐   ┌────────────────────────────┐   ┌───────────────────────┐
//!  │ kernel ─bytes─► wire ─► collect ══Snapshot══► evidence ─► diagnose ══Report══► render  │
//!  │  live │ replay                                    └─────► tune               ► tui    │
//!  │  record│ script                                                                        │
//!  └──────────────────────────┘   └────────────────────────────┘   └───────────────────────┘
//!             I/O wing                        pure wing                      cli joins both
//! ```
//!
//! Five hops: bytes → [`model::Flow`] → [`model::Snapshot`] → [`evidence::Evidence`] → [`diagnose::Report`] → output.
//! A module uses only what stands on a lower floor and is named in its last column; `tests/architecture.rs` holds this.
//!
//! | floor | module | what it does | uses |
//! |---|---|---|---|
//! | 0 | `model` | nouns in the kernel's words: plain data | |
//! | 1 | `wire` | bytes and text to nouns and back; any input gives a value or an error | `model` |
//! | 1 | `kernel` | the only door to the outside: carries bytes, understands none | `model` |
//! | 2 | `collect` | asks through `kernel`, decodes with `wire`; what is missing becomes a gap | `model` `wire` `kernel` |
//! | 2 | `evidence` | what snapshots and entries imply: rates, ages, who owns what | `model` |
//! | 3 | `diagnose` | a closed list of rules over evidence, one file each, and the verdict | `model` `evidence` |
//! | 3 | `tune` | timeouts from measured traffic, and a simulator of the table | `model` `evidence` |
//! | 4 | `render` | report in, bytes out: text and JSON | `model` `evidence` `diagnose` `tune` |
//! | 5 | `tui` | screens and plots: state, keys, drawing | `model` `evidence` `diagnose` `tune` `render` |
//! | 6 | `cli` | words in, exit code out | all |
//!
//! All but `kernel` and `cli` are pure: no file, clock, thread, socket or `unsafe`. The same input gives the same bytes.
//!
//! # Facts of the kernel that shape the design
//!
//! - A SYN_SENT entry proves that this host let the SYN out and that no SYN/ACK or RST came back to conntrack
//!   (`nf_conntrack_proto_tcp.c`). A RST deletes it; an ICMP error does not.
//! - Since 5.14 a repeated SYN renews nothing, so age = timeout − `CTA_TIMEOUT`, and one dump gives arrivals a second.
//!   In SYN_RECV it does: each SYN that is answered once more starts the timeout anew.
//! - ctnetlink fills each 32 KiB of a dump with softirqs off (`ctnetlink_dump_table`): a dump that matches little of a
//!   full hash stalls packets for a third of a second. `collect::plan` decides what is harmless.
//! - The hash is keyed and random: the first k entries of a dump are a random sample of the table.
//! - `nf_conntrack_count` includes expired entries until they are collected; a dump skips and collects them.
//! - `nf_conntrack_max` is one value for the host, compared with each namespace's own count.
//! - A kernel ignores a filter attribute that it does not know, and compares IPv6 addresses of `CTA_FILTER` the wrong way
//!   round (5.10 to 6.19): what comes is always filtered again here.
//! - An entry is in the table only when its first packet left its last hook: what a rule drops before that leaves no
//!   entry, and what clashes there with another entry is `insert_failed`.
//! - Source NAT needs a free port for each destination of its own; the entries that hold them are not evicted for it.
//! - Events cost the traffic: 9.2 µs of CPU for a new flow where nobody listens, 15.9 where somebody does (6.18), and no
//!   entry that is older than the first listener sends any (`nf_conntrack_events=2`). `cli::watch` listens while it is calm.
//! - DESTROY tells why: a timeout that is left was cut short (by a RST, early_drop, a reused tuple, or a netlink port).
//! - A timeout's change holds for entries that come, or that a packet touches, afterwards. An nft `ct timeout` is frozen when
//!   it is made, and only an unconfirmed entry takes one.
//! - What looks never changes the host; `cli::apply` alone does, through `kernel::Change`.
//! - A namespace without a rule that needs conntrack has no table: that is "not tracking", not "healthy".

pub mod cli;
pub mod collect;
pub mod diagnose;
pub mod evidence;
pub mod kernel;
pub mod model;
pub mod render;
pub mod tui;
pub mod tune;
pub mod wire;
