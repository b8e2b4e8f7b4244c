//! A profile for the tool that sets it: files and commands that these tools read as they are.

use std::net::IpAddr;

use crate::model::{Profile, Target, proto};

/// nftables' table that has the policies; nothing else is in it.
pub const NFT_TABLE: &str = "ctlens";
/// After destination NAT (NF_IP_PRI_NAT_DST, -100), so that a rule sees where a flow really goes; its entry is not yet
/// confirmed then, and only such a one takes a policy.
const PRIORITY: i32 = -90;

fn commented(head: &str) -> String {
    head.lines().map(|line| format!("# {line}\n")).collect()
}

/// A file for /etc/sysctl.d.
pub fn sysctl_text(profile: &Profile, head: &str) -> String {
    let mut out = commented(head);
    for (name, value) in profile.sysctls() {
        out.push_str(&format!("{name} = {value}\n"));
    }
    out
}

/// A file for nft -f. It makes its table anew: a changed `ct timeout` of the same name would be taken in silence and do
/// nothing.
pub fn nft_text(profile: &Profile, head: &str) -> String {
    let mut out = commented(head);
    out.push_str(&format!(
        "table inet {NFT_TABLE}\ndelete table inet {NFT_TABLE}\n"
    ));
    out.push_str(&format!("table inet {NFT_TABLE} {{\n"));
    for (number, target) in profile.targets.iter().enumerate() {
        out.push_str(&format!(
            "\tct timeout {} {{\n\t\tprotocol {}\n\t\tl3proto {}\n\t\tpolicy = {{ {} }}\n\t}}\n",
            policy_name(number),
            protocol(target),
            by_family(target, "ip", "ip6"),
            nft_policy(target),
        ));
    }
    for hook in ["prerouting", "output"] {
        out.push_str(&format!(
            "\tchain {hook} {{\n\t\ttype filter hook {hook} priority {PRIORITY}; policy accept;\n"
        ));
        for (number, target) in profile.targets.iter().enumerate() {
            let family = by_family(target, "ip", "ip6");
            let port = target
                .dport
                .map_or(format!("meta l4proto {}", protocol(target)), |port| {
                    format!("{} dport {port}", protocol(target))
                });
            out.push_str(&format!(
                "\t\t{family} daddr {} {port} ct timeout set \"{}\"\n",
                target.dst,
                policy_name(number)
            ));
        }
        out.push_str("\t}\n");
    }
    out.push_str("}\n");
    out
}

fn by_family(target: &Target, four: &'static str, six: &'static str) -> &'static str {
    match target.dst {
        IpAddr::V4(_) => four,
        IpAddr::V6(_) => six,
    }
}

fn policy_name(number: usize) -> String {
    format!("{NFT_TABLE}-{}", number + 1)
}

fn protocol(target: &Target) -> &'static str {
    proto::name(target.proto).unwrap_or("tcp")
}

/// nftables' names of the timers (src/parser_bison.y, timeout_states of tcp and udp).
fn nft_policy(target: &Target) -> String {
    let states = target
        .timeouts
        .iter()
        .map(|(timer, secs)| format!("{} : {secs}", state(timer.name())));
    states.collect::<Vec<_>>().join(", ")
}

/// A protocol's timers without its own name.
fn state(name: &str) -> &str {
    match name {
        "udp" => "unreplied",
        "udp_stream" => "replied",
        "max_retrans" => "retrans",
        "unacknowledged" => "unack",
        other => other,
    }
}

/// Commands of nfct(8) that make the policies; what is there by these names goes first.
pub fn nfct_text(profile: &Profile, head: &str) -> String {
    let mut out = commented(head);
    for (number, target) in profile.targets.iter().enumerate() {
        let name = policy_name(number);
        let family = by_family(target, "inet", "inet6");
        let states = target.timeouts.iter().map(|(timer, secs)| {
            let state = match timer.name() {
                // nfct's own word (libnetfilter_cttimeout, timeout.c).
                "unacknowledged" => "unacknowledged",
                other => state(other),
            };
            format!("{state} {secs}")
        });
        out.push_str(&format!(
            "nfct add timeout {name} {family} {} {}\n",
            protocol(target),
            states.collect::<Vec<_>>().join(" ")
        ));
    }
    out
}

/// The same, and the rules that give flows these policies. Rules of the raw table stand before destination NAT.
pub fn iptables_text(profile: &Profile, head: &str) -> String {
    let mut out = nfct_text(profile, head);
    for (number, target) in profile.targets.iter().enumerate() {
        let command = by_family(target, "iptables", "ip6tables");
        let port = target
            .dport
            .map_or(String::new(), |port| format!(" --dport {port}"));
        for chain in ["PREROUTING", "OUTPUT"] {
            out.push_str(&format!(
                "{command} -t raw -A {chain} -p {} -d {}{port} -j CT --timeout {}\n",
                protocol(target),
                target.dst,
                policy_name(number)
            ));
        }
    }
    out
}

/// Variables for a playbook, and in a comment the task that takes them.
pub fn ansible_text(profile: &Profile, head: &str) -> String {
    let mut out = format!("---\n{}", commented(head));
    out.push_str(concat!(
        "# - name: conntrack\n",
        "#   ansible.posix.sysctl: { name: \"{{ item.key }}\", value: \"{{ item.value }}\", sysctl_set: true }\n",
        "#   loop: \"{{ ctlens_sysctl | dict2items }}\"\n",
    ));
    let sysctls = profile.sysctls();
    if sysctls.is_empty() {
        out.push_str("ctlens_sysctl: {}\n");
        return out;
    }
    out.push_str("ctlens_sysctl:\n");
    for (name, value) in sysctls {
        out.push_str(&format!("  {name}: \"{}\"\n", value.replace('"', "")));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::Timer;

    fn profile() -> Profile {
        let target = |number, dst: &str, timer, secs| Target {
            proto: number,
            dst: dst.parse().expect("an address"),
            dport: Some(80),
            timeouts: BTreeMap::from([(timer, secs)]),
        };
        Profile {
            timeouts: BTreeMap::from([(Timer::SynSent, 10)]),
            targets: vec![
                target(proto::TCP, "10.9.1.3", Timer::SynSent, 10),
                target(proto::UDP, "fd00::3", Timer::Udp, 12),
            ],
            ..Profile::default()
        }
    }

    #[test]
    fn each_tool_has_its_words() {
        let profile = profile();
        assert_eq!(
            sysctl_text(&profile, "by ctlens"),
            "# by ctlens\nnet.netfilter.nf_conntrack_tcp_timeout_syn_sent = 10\n"
        );
        let nft = nft_text(&profile, "");
        assert!(nft.contains("policy = { syn_sent : 10 }") && nft.contains("policy = { unreplied : 12 }"));
        assert_eq!(
            nft.matches("ip6 daddr fd00::3 udp dport 80 ct timeout set \"ctlens-2\"")
                .count(),
            2
        );
        assert!(nfct_text(&profile, "").contains("nfct add timeout ctlens-2 inet6 udp unreplied 12\n"));
        let iptables = iptables_text(&profile, "");
        assert!(
            iptables
                .contains("iptables -t raw -A OUTPUT -p tcp -d 10.9.1.3 --dport 80 -j CT --timeout ctlens-1")
        );
        assert!(
            ansible_text(&profile, "x")
                .contains("  net.netfilter.nf_conntrack_tcp_timeout_syn_sent: \"10\"\n")
        );
    }
}
