//! A rule in the words of nft, in short: enough to find it by.

use crate::model::{Action, Condition, FilterRule, Mapping, Match, ct_state, proto};

/// `ip daddr 10.0.0.1 tcp dport 80 drop`
pub fn rule_words(rule: &FilterRule) -> String {
    let protocol = rule.when.iter().find_map(|condition| match condition.what {
        Match::Protocol(number) if !condition.not => Some(name_of(number)),
        _ => None,
    });
    let protocol = protocol.filter(|_| rule.when.iter().any(|c| asks(&c.what, &is_port)));
    let addressed = rule.when.iter().any(|c| asks(&c.what, &is_address));
    let mut words = Vec::new();
    for condition in &rule.when {
        match &condition.what {
            // Said with the ports, and with the addresses.
            Match::Protocol(_) if protocol.is_some() => {}
            Match::Source(_, 0) if addressed && !condition.not => {}
            _ => words.push(condition_words(condition, protocol.as_deref())),
        }
    }
    let then = action(&rule.then);
    if !then.is_empty() {
        words.push(then);
    }
    words.join(" ")
}

fn is_port(what: &Match) -> bool {
    matches!(what, Match::SourcePorts(..) | Match::DestinationPorts(..))
}

fn is_address(what: &Match) -> bool {
    matches!(what, Match::Source(_, 1..) | Match::Destination(..))
}

/// Whether it is, or has, one of that kind.
fn asks(what: &Match, is: &dyn Fn(&Match) -> bool) -> bool {
    match what {
        Match::AnyOf { of, .. } => of.iter().flatten().any(|one| asks(one, is)),
        other => is(other),
    }
}

fn name_of(number: u8) -> String {
    proto::name(number).map_or(number.to_string(), str::to_string)
}

/// `protocol`: whose ports they are.
fn condition_words(condition: &Condition, protocol: Option<&str>) -> String {
    let not = if condition.not { "!= " } else { "" };
    let family = |addr: &std::net::IpAddr| if addr.is_ipv6() { "ip6" } else { "ip" };
    let prefix = |addr: &std::net::IpAddr, bits: u8| {
        let whole = if addr.is_ipv6() { 128 } else { 32 };
        if bits == whole {
            addr.to_string()
        } else {
            format!("{addr}/{bits}")
        }
    };
    let ports = |end: &str, low: u16, high: u16| {
        let protocol = protocol.map_or(String::new(), |name| format!("{name} "));
        format!("{protocol}{end} {not}{}", span(low, high))
    };
    match &condition.what {
        Match::Source(addr, 0) if addr.is_unspecified() => {
            format!(
                "meta nfproto {not}{}",
                if addr.is_ipv6() { "ipv6" } else { "ipv4" }
            )
        }
        Match::Source(addr, bits) => format!("{} saddr {not}{}", family(addr), prefix(addr, *bits)),
        Match::Destination(addr, bits) => format!("{} daddr {not}{}", family(addr), prefix(addr, *bits)),
        Match::SourcePorts(low, high) => ports("sport", *low, *high),
        Match::DestinationPorts(low, high) => ports("dport", *low, *high),
        Match::Protocol(number) => format!("meta l4proto {not}{}", name_of(*number)),
        Match::InputInterface(name) => format!("iifname {not}\"{name}\""),
        Match::OutputInterface(name) => format!("oifname {not}\"{name}\""),
        Match::State(bits) => format!("ct state {not}{}", states(*bits)),
        Match::AnyOf { set, of } => any_of(not, set, of, protocol),
        Match::Limit => "limit …".to_string(),
        Match::Other(name) => format!("[{name}]"),
    }
}

/// Elements that are written out.
const SHOWN: usize = 4;

/// `dport { 80, 8080 }`, `ip saddr @bad`, `ip daddr . dport { 10.9.1.3 . 80 }`
fn any_of(not: &str, set: &str, of: &[Vec<Match>], protocol: Option<&str>) -> String {
    let split = |what: &Match| {
        let plain = Condition {
            not: false,
            what: what.clone(),
        };
        let words = condition_words(&plain, protocol);
        match words.rsplit_once(' ') {
            Some((field, value)) => (field.to_string(), value.to_string()),
            None => (String::new(), words),
        }
    };
    let joined = |one: &[Match]| -> (String, String) {
        let (fields, values): (Vec<_>, Vec<_>) = one.iter().map(split).unzip();
        (fields.join(" . "), values.join(" . "))
    };
    let first = of.first().map_or(String::new(), |one| joined(one).0);
    if !set.is_empty() {
        return format!("{first} {not}@{set}").trim_start().to_string();
    }
    let mut values: Vec<String> = of.iter().take(SHOWN).map(|one| joined(one).1).collect();
    if of.len() > SHOWN {
        values.push("…".to_string());
    }
    format!("{first} {not}{{ {} }}", values.join(", "))
}

fn span(low: u16, high: u16) -> String {
    if low == high {
        low.to_string()
    } else {
        format!("{low}-{high}")
    }
}

fn states(bits: u32) -> String {
    let names = [
        (ct_state::INVALID, "invalid"),
        (ct_state::ESTABLISHED, "established"),
        (ct_state::RELATED, "related"),
        (ct_state::NEW, "new"),
        (ct_state::UNTRACKED, "untracked"),
    ];
    let set: Vec<&str> = names
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    set.join(",")
}

fn action(action: &Action) -> String {
    match action {
        Action::Accept => "accept".to_string(),
        Action::Drop => "drop".to_string(),
        Action::Reject => "reject".to_string(),
        Action::Notrack => "notrack".to_string(),
        Action::Snat(mapping) => format!("snat{}", target(mapping)),
        Action::Dnat(mapping) => format!("dnat{}", target(mapping)),
        Action::Masquerade(mapping) => format!("masquerade{}", target(mapping)),
        Action::Redirect(mapping) => format!("redirect{}", target(mapping)),
        Action::Timeout(name) => format!("ct timeout set \"{name}\""),
        Action::Synproxy => "synproxy".to_string(),
        Action::Offload(name) => format!("flow add @{name}"),
        Action::Jump(chain) => format!("jump {chain}"),
        Action::Goto(chain) => format!("goto {chain}"),
        Action::Return => "return".to_string(),
        Action::Other(name) => name.clone(),
    }
}

fn target(mapping: &Mapping) -> String {
    if mapping.unknown {
        return " to …".to_string();
    }
    let addresses = mapping.addresses.map(|(low, high)| match low == high {
        true => low.to_string(),
        false => format!("{low}-{high}"),
    });
    let ports = mapping.ports.map(|(low, high)| format!(":{}", span(low, high)));
    match (addresses, ports) {
        (None, None) => String::new(),
        (addresses, ports) => format!(
            " to {}{}",
            addresses.unwrap_or_default(),
            ports.unwrap_or_default()
        ),
    }
}
