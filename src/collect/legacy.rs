//! Rules of the older ip_tables, which only its own tool can read: asked for only where it has a table loaded.

use crate::kernel::{Errno, Kernel};
use crate::model::{Family, Gap, Ruleset};
use crate::wire::iptables_save;

/// For each family, the list of its loaded tables and who prints their rules, first choice first. `iptables-save` may be
/// the nf_tables variant, which prints other rules.
const TOOLS: [(Family, &str, [&str; 2]); 2] = [
    (
        Family::Ip,
        "/proc/net/ip_tables_names",
        ["iptables-legacy-save -c", "iptables-save -c"],
    ),
    (
        Family::Ip6,
        "/proc/net/ip6_tables_names",
        ["ip6tables-legacy-save -c", "ip6tables-save -c"],
    ),
];

/// Adds them; where no table is loaded there are none, and no tool is run, since it would load one.
pub fn add(kernel: &mut dyn Kernel, ruleset: &mut Ruleset) -> Result<(), Gap> {
    for (family, names, tools) in TOOLS {
        let loaded = match kernel.read_file(names) {
            Ok(names) => !names.trim_ascii().is_empty(),
            Err(Errno::ENOENT | Errno::NOT_RECORDED) => false,
            Err(errno) => return Err(gap(names, &errno.to_string())),
        };
        if loaded {
            let text = save(kernel, tools).ok_or_else(|| gap(names, "neither tool could print them"))?;
            let parsed = iptables_save::parse(&String::from_utf8_lossy(&text), family)
                .map_err(|unread| gap(names, &unread.to_string()))?;
            ruleset.chains.extend(parsed.chains);
            ruleset.rules.extend(parsed.rules);
        }
    }
    Ok(())
}

fn save(kernel: &mut dyn Kernel, tools: [&str; 2]) -> Option<Vec<u8>> {
    tools.into_iter().find_map(|tool| kernel.run(tool).ok())
}

fn gap(names: &str, reason: &str) -> Gap {
    Gap::new(
        "ruleset",
        format!("{names} lists tables of legacy iptables: {reason}"),
        "apt-get install iptables; iptables-legacy-save -c   # as root, on the host itself",
    )
}
