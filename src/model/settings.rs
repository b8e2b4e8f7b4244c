//! Sysctls by their dotted name, live or pasted.

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
