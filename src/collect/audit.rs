//! Settings for an audit: of a running kernel and what stands around them, or of files in the order in which they apply.

use std::collections::BTreeSet;

use super::presence::{Presence, text};
use super::ruleset::ruleset;
use super::sockets::sockets;
use crate::kernel::Kernel;
use crate::model::{Ruleset, Setting, SocketState};
use crate::wire::paste::settings_file;

/// Ports of listeners that are remembered.
const MAX_PORTS: usize = 4_096;

/// What an audit of a running kernel reads; it asks for no privilege.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditedHost {
    pub settings: Vec<Setting>,
    pub release: Option<String>,
    /// `MemTotal`.
    pub memory_bytes: Option<u64>,
    /// Only where they can be read.
    pub rules: Option<Ruleset>,
    /// Ports on which TCP sockets listen, in order.
    pub listening: Option<Vec<u16>>,
}

/// Of `names`, the settings that this kernel has; `host` stands for their file.
pub fn audited_host(kernel: &mut dyn Kernel, names: &[&str], host: &str) -> AuditedHost {
    let mut settings = Vec::new();
    for name in names {
        if let Some(value) = text(kernel, &format!("/proc/sys/{}", name.replace('.', "/"))) {
            settings.push(Setting {
                file: host.to_string(),
                line: 0,
                name: (*name).to_string(),
                value: value.split_whitespace().collect::<Vec<_>>().join(" "),
                in_force: true,
            });
        }
    }
    let presence = Presence::read(kernel);
    let rules = (presence.conntrack && presence.net_admin)
        .then(|| ruleset(kernel, &presence, false).ok())
        .flatten();
    AuditedHost {
        settings,
        memory_bytes: text(kernel, "/proc/meminfo").as_deref().and_then(memory_bytes),
        rules,
        listening: listening(kernel, &presence),
        release: presence.release,
    }
}

/// `MemTotal:       24592108 kB`
fn memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn listening(kernel: &mut dyn Kernel, presence: &Presence) -> Option<Vec<u16>> {
    let mut ports = BTreeSet::new();
    sockets(kernel, presence, &[SocketState::Listen], &mut |socket| {
        if ports.len() < MAX_PORTS && !socket.tuple.src.is_loopback() {
            ports.insert(socket.tuple.sport);
        }
    })
    .ok()?;
    Some(ports.into_iter().collect())
}

/// The settings of a file's text, or why it has none. A line that is no setting has no name, and its text for value.
pub fn file_settings(text: &str, name: &str) -> Result<Vec<Setting>, String> {
    if let Some(index) = text.lines().position(|line| line.contains('\0')) {
        return Err(format!("line {}: this is no text", index + 1));
    }
    let file = settings_file(text);
    if file.settings.lines.is_empty() {
        return Err(match file.unread.first() {
            Some((line, _)) => {
                format!("line {line}: this is no setting, and none follows: a line is `name = value`")
            }
            None => "it has no settings: a line is `name = value`".to_string(),
        });
    }
    let in_force = file.settings.in_force;
    let setting = |line: usize, name_of: String, value: String| Setting {
        file: name.to_string(),
        line,
        name: name_of,
        value,
        in_force,
    };
    let mut out: Vec<Setting> = file
        .settings
        .lines
        .into_iter()
        .map(|line| setting(line.line, line.name, line.value))
        .collect();
    out.extend(
        file.unread
            .into_iter()
            .map(|(line, text)| setting(line, String::new(), text)),
    );
    out.sort_by_key(|setting| setting.line);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_options_of_modules_and_lines_that_are_none() {
        let text = "# tuned\nnet.ipv4.tcp_syncookies = 1\nvm/swappiness=0\nnet.core.somaxconn 128\n\
                    options nf_conntrack hashsize=65536\nblacklist nouveau\n-net.ipv4.conf.eth0.rp_filter\n";
        let got = file_settings(text, "f").unwrap();
        let got: Vec<_> = got
            .iter()
            .map(|s| (s.line, s.name.as_str(), s.value.as_str()))
            .collect();
        assert_eq!(
            got,
            [
                (2, "net.ipv4.tcp_syncookies", "1"),
                (3, "vm.swappiness", "0"),
                (4, "", "net.core.somaxconn 128"),
                (5, "options nf_conntrack hashsize", "65536"),
            ]
        );
        assert!(file_settings("hello\n", "f").unwrap_err().contains("line 1"));
        assert!(file_settings("# nothing\n", "f").is_err());
    }

    #[test]
    fn what_a_kernel_printed_is_in_force() {
        let text = "net.netfilter.nf_conntrack_count = 5\nnet.netfilter.nf_conntrack_max = 262144\n";
        assert!(
            file_settings(text, "f")
                .unwrap()
                .iter()
                .all(|setting| setting.in_force)
        );
    }

    #[test]
    fn memory_in_kib() {
        assert_eq!(
            memory_bytes("MemTotal:       24592108 kB\nMemFree: 1 kB\n"),
            Some(24_592_108 * 1024)
        );
        assert_eq!(memory_bytes("MemFree: 1 kB\n"), None);
    }
}
