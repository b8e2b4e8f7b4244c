//! Sysctls by their dotted name, live or pasted.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// `net.ipv4.ip_forward` → `1`. Values are trimmed text; runs of white space are one space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(pub BTreeMap<String, String>);

impl Settings {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.trim().parse().ok()
    }

    /// A value of two numbers, such as `net.ipv4.ip_local_port_range`.
    pub fn pair(&self, name: &str) -> Option<(u64, u64)> {
        let mut words = self.get(name)?.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    }
}

/// The name that current kernels have for a setting of conntrack: up to 4.8 there were `net.ipv4.netfilter.ip_conntrack_*`
/// too (CONFIG_NF_CONNTRACK_PROC_COMPAT), and `net.ipv4.ip_conntrack_max`. Other names are their own.
pub fn current_name(name: &str) -> Cow<'_, str> {
    let legacy = name
        .strip_prefix("net.ipv4.netfilter.ip_conntrack_")
        .or_else(|| name.strip_prefix("net.ipv4.ip_conntrack_"));
    match legacy {
        Some(rest) => Cow::Owned(format!("net.netfilter.nf_conntrack_{rest}")),
        // An alias that still exists.
        None if name == "net.nf_conntrack_max" => Cow::Borrowed("net.netfilter.nf_conntrack_max"),
        None => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_names_have_heirs() {
        for (old, new) in [
            (
                "net.ipv4.netfilter.ip_conntrack_max",
                "net.netfilter.nf_conntrack_max",
            ),
            ("net.ipv4.ip_conntrack_max", "net.netfilter.nf_conntrack_max"),
            ("net.nf_conntrack_max", "net.netfilter.nf_conntrack_max"),
            (
                "net.ipv4.netfilter.ip_conntrack_tcp_timeout_syn_recv",
                "net.netfilter.nf_conntrack_tcp_timeout_syn_recv",
            ),
            ("net.ipv4.ip_forward", "net.ipv4.ip_forward"),
        ] {
            assert_eq!(current_name(old), new);
        }
    }
}
