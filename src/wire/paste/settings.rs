//! sysctl.conf, files of sysctl.d, `sysctl -a`, and `grep . /proc/sys/…`.

use super::lines::Lines;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingLine {
    pub line: usize,
    /// With dots, whichever separator was used.
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub lines: Vec<SettingLine>,
    /// What a running kernel printed, as opposed to what a file asks for.
    pub in_force: bool,
}

/// The directories of /proc/sys.
const ROOTS: [&str; 12] = [
    "abi", "crypto", "debug", "dev", "fs", "fscache", "kernel", "lnet", "net", "sunrpc", "user", "vm",
];
/// Nobody sets these, because nobody can: what has one of them was printed by a kernel.
const READ_ONLY: [&str; 8] = [
    "fs.file-nr",
    "fs.inode-nr",
    "kernel.osrelease",
    "kernel.ostype",
    "net.ipv4.netfilter.ip_conntrack_count",
    "net.ipv4.tcp_available_congestion_control",
    "net.ipv4.tcp_available_ulp",
    "net.netfilter.nf_conntrack_count",
];
/// So many settings in the order of their names, all as `name = value`, are the output of `sysctl -a | grep …`.
const SORTED: usize = 8;

pub fn opens(line: &str) -> bool {
    setting(line).is_some() || is_complaint(line)
}

pub fn read(lines: &mut Lines) -> Settings {
    let mut out = Settings::default();
    let mut spaced = true;
    while let Some((number, line)) = lines.peek().filter(|(_, line)| opens(line)) {
        lines.next();
        let Some((name, value)) = setting(line) else {
            continue;
        };
        spaced &= line.contains(" = ");
        out.lines.push(SettingLine {
            line: number,
            name,
            value,
        });
    }
    let sorted = out.lines.len() >= SORTED && out.lines.is_sorted_by(|a, b| a.name < b.name);
    let kernel_only = |line: &SettingLine| READ_ONLY.contains(&line.name.as_str());
    out.in_force = out.lines.iter().any(kernel_only) || spaced && sorted;
    out
}

/// A file of settings, whose every line shall be one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsFile {
    pub settings: Settings,
    /// Lines that are none, with their numbers.
    pub unread: Vec<(usize, String)>,
}

/// sysctl.conf, a file of sysctl.d, `sysctl -a`; and of modprobe.d what concerns conntrack, whose options become settings
/// named `options nf_conntrack hashsize`.
pub fn settings_file(text: &str) -> SettingsFile {
    let mut out = SettingsFile::default();
    let mut lines = Lines::new(text);
    out.settings = read(&mut lines);
    for (number, line) in lines {
        if let Some((name, value)) = setting(line) {
            out.settings.lines.push(SettingLine {
                line: number,
                name,
                value,
            });
        } else if let Some(options) = module_options(line) {
            out.settings
                .lines
                .extend(options.into_iter().map(|(name, value)| SettingLine {
                    line: number,
                    name,
                    value,
                }));
        } else if !is_complaint(line) && !is_excluded(line) {
            out.unread.push((number, line.trim().to_string()));
        }
    }
    out
}

const MODPROBE: [&str; 7] = [
    "alias",
    "blacklist",
    "config",
    "install",
    "remove",
    "softdep",
    "options",
];
const MODULES: [&str; 2] = ["nf_conntrack", "ip_conntrack"];

/// `options nf_conntrack hashsize=65536`; nothing for other lines of modprobe.d, and `None` where it is none.
fn module_options(line: &str) -> Option<Vec<(String, String)>> {
    let mut words = line.split_whitespace();
    let word = words.next().filter(|word| MODPROBE.contains(word))?;
    let module = words.next()?.replace('-', "_");
    if word != "options" || !MODULES.contains(&module.as_str()) {
        return Some(Vec::new());
    }
    let option = |word: &str| {
        let (key, value) = word.split_once('=')?;
        Some((format!("options {module} {key}"), value.to_string()))
    };
    Some(words.filter_map(option).collect())
}

/// `-net.ipv4.conf.eth0.*`: systemd-sysctl leaves it out of earlier patterns.
fn is_excluded(line: &str) -> bool {
    let name = line.trim_start().strip_prefix('-');
    name.is_some_and(|name| setting(&format!("{name}=")).is_some())
}

/// `net.ipv4.tcp_rmem=4096 87380 16777216`, `-net/ipv4/ip_forward = 1`, `/proc/sys/net/ipv4/ip_forward:1`
fn setting(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let (name, value) = match line.strip_prefix("/proc/sys/") {
        Some(rest) => rest.split_once(':')?,
        None => line.split_once('=')?,
    };
    // A leading dash: sysctl shall not mind if it fails.
    let name = dotted(name.trim().trim_start_matches('-').trim_start());
    let (root, rest) = name.split_once('.')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/*:@".contains(&b);
    if !ROOTS.contains(&root) || rest.is_empty() || !name.bytes().all(plain) {
        return None;
    }
    Some((name, value.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// sysctl(8): the separator that comes first is the separator, the other one stands for itself.
fn dotted(name: &str) -> String {
    let slashes = name
        .find(['.', '/'])
        .is_some_and(|at| name.as_bytes()[at] == b'/');
    if !slashes {
        return name.to_string();
    }
    let swap = |c: char| match c {
        '/' => '.',
        '.' => '/',
        c => c,
    };
    name.chars().map(swap).collect()
}

/// What sysctl says of a name that it cannot read.
fn is_complaint(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("sysctl: ")
        || line.starts_with("error: \"")
        || line.starts_with("error: permission denied")
}
