//! The routes back to who sends, asked one by one for a few of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::ControlFlow;

use super::ask::ask;
use super::sources::number;
use crate::kernel::{Channel, Kernel};
use crate::wire::route;

/// Interfaces whose reverse path filter is read.
const MAX_INTERFACES: usize = 64;
const CONF: &str = "/proc/sys/net/ipv4/conf";

/// Whether any interface drops what comes in by another way than the route back.
pub fn strict(kernel: &mut dyn Kernel) -> bool {
    let all = number(kernel, &format!("{CONF}/all/rp_filter")).unwrap_or(0);
    if all > 1 {
        return false;
    }
    let names = kernel.read_dir(CONF, "").unwrap_or_default();
    let names = String::from_utf8_lossy(&names).into_owned();
    let own = |name: &&str| !matches!(*name, "all" | "default" | "lo");
    names
        .lines()
        .filter(own)
        .take(MAX_INTERFACES)
        .any(|name| rp_filter(kernel, name).is_some_and(|filter| filter.max(all) == 1))
}

/// The larger of the interface's own setting and that for all is in force (IN_DEV_RPFILTER).
pub fn rp_filter(kernel: &mut dyn Kernel, interface: &str) -> Option<u64> {
    let all = number(kernel, &format!("{CONF}/all/rp_filter"))?;
    let own = number(kernel, &format!("{CONF}/{interface}/rp_filter"))?;
    Some(all.max(own))
}

/// Names of interfaces by their index; empty where they were refused.
pub fn interfaces(kernel: &mut dyn Kernel) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    let request = route::encode_links();
    let _ = ask(
        kernel,
        Channel::Route,
        request,
        Vec::new(),
        true,
        &mut |message| {
            if route::is_link(message.kind)
                && let Ok((index, name)) = route::decode_link(message.payload)
            {
                names.insert(index, name);
            }
            ControlFlow::Continue(())
        },
    );
    names
}

/// The interface that a packet to this address would leave by.
pub fn route_by(kernel: &mut dyn Kernel, to: IpAddr) -> Option<u32> {
    let mut by = None;
    let request = route::encode_route(to);
    let _ = ask(
        kernel,
        Channel::Route,
        request,
        Vec::new(),
        false,
        &mut |message| {
            if route::is_route(message.kind) {
                by = route::decode_route(message.payload).ok().flatten();
            }
            ControlFlow::Break(())
        },
    );
    by
}
