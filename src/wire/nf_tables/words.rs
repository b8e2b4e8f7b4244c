//! A rule in the words of nft, in short: enough to find it by.

use crate::model::{Action, Condition, FilterRule, Mapping, Match, ct_state, proto};

/// `ip daddr 10.0.0.1 tcp dport 80 drop`
pub fn rule_words(rule: &FilterRule) -> String {
    let ports = |c: &Condition| matches!(c.what, Match::SourcePorts(..) | Match::DestinationPorts(..));
    let asks_ports = rule.when.iter().any(ports);
    let protocol = rule.when.iter().find_map(|condition| match condition.what {
        Match::Protocol(number) if asks_ports && !condition.not => Some(name_of(number)),
        _ => None,
    });
    let mut words = Vec::new();
    for condition in &rule.when {
        match (&condition.what, &protocol) {
            // Said with the ports.
            (Match::Protocol(_), Some(_)) => {}
            (_, Some(protocol)) if ports(condition) => {
                words.push(format!("{protocol} {}", condition_words(condition)))
            }
            _ => words.push(condition_words(condition)),
        }
    }
    let then = action(&rule.then);
    if !then.is_empty() {
        words.push(then);
    }
    words.join(" ")
}

fn name_of(number: u8) -> String {
    proto::name(number).map_or(number.to_string(), str::to_string)
}

fn condition_words(condition: &Condition) -> String {
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
    match &condition.what {
        Match::Source(addr, 0) if addr.is_unspecified() => {
            format!(
                "meta nfproto {not}{}",
                if addr.is_ipv6() { "ipv6" } else { "ipv4" }
            )
        }
        Match::Source(addr, bits) => format!("{} saddr {not}{}", family(addr), prefix(addr, *bits)),
        Match::Destination(addr, bits) => format!("{} daddr {not}{}", family(addr), prefix(addr, *bits)),
        Match::SourcePorts(low, high) => format!("sport {not}{}", span(*low, *high)),
        Match::DestinationPorts(low, high) => format!("dport {not}{}", span(*low, *high)),
        Match::Protocol(number) => format!("meta l4proto {not}{}", name_of(*number)),
        Match::InputInterface(name) => format!("iifname {not}\"{name}\""),
        Match::OutputInterface(name) => format!("oifname {not}\"{name}\""),
        Match::State(bits) => format!("ct state {not}{}", states(*bits)),
        Match::Limit => "limit …".to_string(),
        Match::Other(name) => format!("[{name}]"),
    }
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
