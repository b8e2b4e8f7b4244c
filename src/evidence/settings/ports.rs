//! Local ports: those of servers, of listeners, and of NAT.

use super::{Context, Lint, Said, Severity};
use crate::model::Action;

pub const LINTS: &[Lint] = &[
    Lint {
        code: "AU013",
        title: "outgoing connections take ports of servers",
        severity: Severity::Note,
        source: "Documentation/networking/ip-sysctl.rst, ip_local_port_range and ip_local_reserved_ports",
        dead: false,
        check: low_ports,
    },
    Lint {
        code: "AU035",
        title: "a listener's port is not reserved",
        severity: Severity::Note,
        source: "Documentation/networking/ip-sysctl.rst, ip_local_reserved_ports",
        dead: false,
        check: listeners,
    },
    Lint {
        code: "AU023",
        title: "local and translated ports meet",
        severity: Severity::Warning,
        source: "net/netfilter/nf_nat_core.c, nf_nat_used_tuple(): it looks at entries, not at sockets",
        dead: false,
        check: ports_meet,
    },
];

const RANGE: &str = "net.ipv4.ip_local_port_range";
const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";
/// Most servers' ports are below this.
const SERVERS_BELOW: u64 = 10_000;
/// Fewer ports than this are too few to advise.
const LEAST_PORTS: u64 = 10_000;
/// Ports named in one remark.
const MAX_NAMED: usize = 5;

fn low_ports(context: &Context, out: &mut Vec<Said>) {
    let (Some(index), Some((low, high))) = (context.index(RANGE), context.pair(RANGE)) else {
        return;
    };
    let reserved = context.get(RESERVED).is_some_and(|set| !set.value.is_empty());
    if low < SERVERS_BELOW && !reserved {
        let why = format!(
            "an outgoing connection may take the port of a server from {low} on before it starts; begin higher, or name \
             them in ip_local_reserved_ports"
        );
        let said = Said::of(index, why);
        out.push(match high > SERVERS_BELOW + LEAST_PORTS {
            true => said.write(format!("{RANGE} = 10240 {high}")),
            false => said,
        });
    }
}

/// Whether `8080,9000-9100` holds the port.
fn holds(set: &str, port: u16) -> bool {
    set.split(',').any(|part| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
            (Ok(low), Ok(high)) => (low..=high).contains(&port),
            _ => false,
        }
    })
}

fn listeners(context: &Context, out: &mut Vec<Said>) {
    let (Some(index), Some((low, high)), Some(listening)) = (
        context.index(RANGE),
        context.pair(RANGE),
        context.around.listening,
    ) else {
        return;
    };
    let reserved = context.get(RESERVED).map_or("", |set| set.value.as_str());
    let bare: Vec<String> = listening
        .iter()
        .filter(|port| (low..=high).contains(&u64::from(**port)) && !holds(reserved, **port))
        .map(u16::to_string)
        .collect();
    if bare.is_empty() {
        return;
    }
    let named = bare[..bare.len().min(MAX_NAMED)].join(", ");
    let more = bare.len().saturating_sub(MAX_NAMED);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let why = format!(
        "listeners have ports in it ({named}{rest}): while one restarts, an outgoing connection may take its port"
    );
    let said = Said::of(index, why);
    out.push(match (more, reserved) {
        (0, "") => said.write(format!("{RESERVED} = {}", bare.join(","))),
        (0, have) => said.write(format!("{RESERVED} = {have},{}", bare.join(","))),
        _ => said,
    });
}

fn ports_meet(context: &Context, out: &mut Vec<Said>) {
    let (Some(index), Some((low, high)), Some(rules)) =
        (context.index(RANGE), context.pair(RANGE), context.around.rules)
    else {
        return;
    };
    let meeting = rules.rules.iter().find_map(|rule| {
        let (Action::Snat(mapping) | Action::Masquerade(mapping)) = &rule.then else {
            return None;
        };
        let (from, to) = mapping.ports.map(|(from, to)| (u64::from(from), u64::from(to)))?;
        (from <= high && to >= low).then_some((rule, from, to))
    });
    let Some((rule, from, to)) = meeting else { return };
    let why = format!(
        "`{}` translates to ports that this host's own connections take too: each side finds fewer, and one may get what \
         a socket of the other has",
        rule.text
    );
    let said = Said::of(index, why);
    let below = (low, from.saturating_sub(1));
    let above = (to + 1, high);
    let apart = [below, above]
        .into_iter()
        .filter(|(low, high)| high.saturating_sub(*low) >= LEAST_PORTS)
        .max_by_key(|(low, high)| high - low);
    out.push(match apart {
        Some((low, high)) => said.write(format!("{RANGE} = {low} {high}")),
        None => said,
    });
}
