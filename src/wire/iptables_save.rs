//! The text of `iptables-save -c`. Options that are not understood become conditions that nobody can judge.

use std::net::IpAddr;

use crate::model::{
    Action, At, Chain, Condition, Engine, Family, FilterRule, Hook, Mapping, Match, Ruleset, Tally, ct_state,
    proto,
};

/// Lines that are read.
const MAX_LINES: usize = 200_000;

/// Where and why a text is no output of iptables-save.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Unread {
    pub line: usize,
    pub reason: &'static str,
}

/// Whether a text begins as iptables-save's does.
pub fn opens(line: &str) -> bool {
    let table = line.strip_prefix('*').unwrap_or("");
    ["filter", "nat", "mangle", "raw", "security"].contains(&table.trim())
}

/// `family`: which of iptables-save and ip6tables-save printed it.
pub fn parse(text: &str, family: Family) -> Result<Ruleset, Unread> {
    let mut out = Ruleset::default();
    let mut table = String::new();
    for (index, line) in text.lines().enumerate() {
        let unread = |reason| Unread {
            line: index + 1,
            reason,
        };
        if index == MAX_LINES {
            return Err(unread("too many lines"));
        }
        let line = line.trim();
        match line.chars().next() {
            None | Some('#') => {}
            Some('*') => table = line[1..].trim().to_string(),
            Some(':') => {
                let chain = chain(line, &table, family).ok_or_else(|| unread("not a chain"))?;
                out.chains.push(chain);
            }
            Some('[' | '-') => {
                let rule = rule(line, &table, family).ok_or_else(|| unread("not a rule"))?;
                out.rules.push(rule);
            }
            _ if line == "COMMIT" => table.clear(),
            _ => return Err(unread("neither a table, a chain nor a rule")),
        }
    }
    Ok(out)
}

/// `:INPUT DROP [12:720]`, `:mine - [0:0]`
fn chain(line: &str, table: &str, family: Family) -> Option<Chain> {
    let mut words = line[1..].split_whitespace();
    let (name, policy) = (words.next()?, words.next()?);
    Some(Chain {
        engine: Engine::Legacy,
        family,
        table: table.to_string(),
        name: name.to_string(),
        at: at(table, name),
        drops: policy == "DROP",
        counter: words.next().and_then(counter).filter(|_| policy != "-"),
    })
}

/// Priorities of include/uapi/linux/netfilter_ipv4.h (enum nf_ip_hook_priorities).
fn at(table: &str, chain: &str) -> Option<At> {
    let hook = match chain {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Output,
        "POSTROUTING" => Hook::Postrouting,
        _ => return None,
    };
    let priority = match (table, hook) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", Hook::Prerouting | Hook::Output) => -100,
        ("nat", _) => 100,
        ("security", _) => 50,
        _ => 0,
    };
    Some(At { hook, priority })
}

/// `[12:720]`
fn counter(word: &str) -> Option<Tally> {
    let (packets, bytes) = word.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some(Tally {
        packets: packets.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}

/// `[3:180] -A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 80 -j DROP`
fn rule(line: &str, table: &str, family: Family) -> Option<FilterRule> {
    let mut words = line.split_whitespace().peekable();
    let tally = words.peek().and_then(|word| counter(word));
    if tally.is_some() {
        words.next();
    }
    if words.next()? != "-A" {
        return None;
    }
    let chain = words.next()?.to_string();
    let rest: Vec<&str> = words.collect();
    let (when, then) = Options::read(&rest);
    Some(FilterRule {
        engine: Engine::Legacy,
        family,
        table: table.to_string(),
        chain,
        handle: None,
        number: 0,
        when,
        then,
        counter: tally,
        text: rest.join(" "),
    })
}

#[derive(Default)]
struct Options {
    when: Vec<Condition>,
    target: String,
    goes: bool,
    mapping: Mapping,
    notrack: bool,
    timeout: Option<String>,
}

impl Options {
    fn read(words: &[&str]) -> (Vec<Condition>, Action) {
        let mut out = Options::default();
        let (mut at, mut not) = (0, false);
        while let Some(word) = words.get(at) {
            if *word == "!" {
                (not, at) = (true, at + 1);
                continue;
            }
            let value = words.get(at + 1).copied().unwrap_or("");
            at += out.option(word, value, not);
            not = false;
        }
        let action = out.action();
        (out.when, action)
    }

    /// Returns how many words it took.
    fn option(&mut self, word: &str, value: &str, not: bool) -> usize {
        let what = match word {
            "-s" => prefix(value).map(|(addr, bits)| Match::Source(addr, bits)),
            "-d" => prefix(value).map(|(addr, bits)| Match::Destination(addr, bits)),
            "-i" => Some(Match::InputInterface(value.replace('+', "*"))),
            "-o" => Some(Match::OutputInterface(value.replace('+', "*"))),
            "-p" => protocol(value).map(Match::Protocol),
            "--sport" | "--sports" => port_list(value, Match::SourcePorts),
            "--dport" | "--dports" => port_list(value, Match::DestinationPorts),
            "--state" | "--ctstate" => states(value).map(Match::State),
            "--limit" => Some(Match::Limit),
            "-m" | "--comment" | "--reject-with" | "--limit-burst" | "--to-ports" | "--to-source"
            | "--to-destination" | "-j" | "-g" | "--timeout" | "--notrack" | "--random"
            | "--random-fully" | "--persistent" => {
                return self.target_option(word, value);
            }
            _ => None,
        };
        let what = what.unwrap_or_else(|| Match::Other(word.to_string()));
        self.when.push(Condition { not, what });
        // An unknown flag without a value must not swallow the option after it.
        if value.starts_with('-') || value.is_empty() {
            1
        } else {
            2
        }
    }

    fn target_option(&mut self, word: &str, value: &str) -> usize {
        match word {
            "-j" | "-g" => {
                self.target = value.to_string();
                self.goes = word == "-g";
            }
            "--to-ports" => self.mapping.ports = ports(value, '-'),
            "--to-source" | "--to-destination" => self.mapping = target(value),
            "--timeout" => self.timeout = Some(value.to_string()),
            "--notrack" => self.notrack = true,
            "--random-fully" => self.mapping.fully_random = true,
            _ => {}
        }
        match word {
            "--notrack" | "--random" | "--random-fully" | "--persistent" => 1,
            _ => 2,
        }
    }

    fn action(&mut self) -> Action {
        let name = std::mem::take(&mut self.target);
        match name.as_str() {
            "ACCEPT" => Action::Accept,
            "DROP" => Action::Drop,
            "REJECT" => Action::Reject,
            "RETURN" => Action::Return,
            "SNAT" => Action::Snat(self.mapping),
            "DNAT" => Action::Dnat(self.mapping),
            "MASQUERADE" => Action::Masquerade(self.mapping),
            "REDIRECT" => Action::Redirect(self.mapping),
            "SYNPROXY" => Action::Synproxy,
            "NOTRACK" => Action::Notrack,
            "CT" if self.notrack => Action::Notrack,
            "CT" => match self.timeout.take() {
                Some(policy) => Action::Timeout(policy),
                None => Action::Other(name),
            },
            "LOG" | "MARK" | "CONNMARK" | "TCPMSS" | "NFLOG" | "NFQUEUE" | "AUDIT" | "CHECKSUM" | "" => {
                Action::Other(name)
            }
            _ if self.goes => Action::Goto(name),
            _ => Action::Jump(name),
        }
    }
}

fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (addr, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let addr: IpAddr = addr.parse().ok()?;
    let whole = if addr.is_ipv6() { 128 } else { 32 };
    let bits = match bits {
        None => whole,
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= whole)?,
    };
    Some((addr, bits))
}

fn protocol(name: &str) -> Option<u8> {
    let known = (0..=255u8).find(|number| proto::name(*number) == Some(name));
    known.or_else(|| match name {
        "ipv6-icmp" => Some(proto::ICMPV6),
        other => other.parse().ok(),
    })
}

/// `80,443,8000:8010`
fn port_list(text: &str, what: fn(u16, u16) -> Match) -> Option<Match> {
    let list = text
        .split(',')
        .map(|one| ports(one, ':').map(|(low, high)| what(low, high)));
    Match::any_of(list.collect::<Option<Vec<Match>>>()?)
}

/// `80`, `1024:65535`
fn ports(text: &str, between: char) -> Option<(u16, u16)> {
    match text.split_once(between) {
        None => text.parse().ok().map(|port| (port, port)),
        Some((low, high)) => Some((low.parse().ok()?, high.parse().ok()?)),
    }
}

fn states(text: &str) -> Option<u32> {
    let bit = |name: &str| match name {
        "INVALID" => Some(ct_state::INVALID),
        "ESTABLISHED" => Some(ct_state::ESTABLISHED),
        "RELATED" => Some(ct_state::RELATED),
        "NEW" => Some(ct_state::NEW),
        "UNTRACKED" => Some(ct_state::UNTRACKED),
        _ => None,
    };
    text.split(',').try_fold(0, |bits, name| Some(bits | bit(name)?))
}

/// `10.0.0.1-10.0.0.9:1024-65535`, `[fd00::1]:80`
fn target(text: &str) -> Mapping {
    let unknown = Mapping {
        unknown: true,
        ..Mapping::default()
    };
    let (addresses, span) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((addresses, rest)) => (addresses, rest.strip_prefix(':')),
        None if text.matches(':').count() > 1 => (text, None),
        None => text.split_once(':').map_or((text, None), |(a, p)| (a, Some(p))),
    };
    let (low, high) = addresses.split_once('-').unwrap_or((addresses, addresses));
    let addresses = match (low.parse(), high.parse()) {
        (Ok(low), Ok(high)) => Some((low, high)),
        _ if addresses.is_empty() => None,
        _ => return unknown,
    };
    match span.map(|span| ports(span, '-')) {
        Some(None) => unknown,
        ports => Mapping {
            addresses,
            ports: ports.flatten(),
            ..Mapping::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Generated by iptables-save v1.8.9
*nat
:PREROUTING ACCEPT [1:60]
[7:420] -A PREROUTING -d 10.0.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.0.7:8080
[0:0] -A POSTROUTING -o eth+ -j MASQUERADE --to-ports 5000-5999 --random-fully
COMMIT
*filter
:INPUT DROP [12:720]
:mine - [0:0]
[3:180] -A INPUT ! -s 10.0.0.0/8 -p tcp -m conntrack --ctstate NEW,RELATED -m hashlimit --hashlimit-above 5/sec -j mine
[1:60] -A mine -m state --state INVALID -j DROP
COMMIT
";

    #[test]
    fn tables_chains_rules_and_their_counters() {
        let got = parse(TEXT, Family::Ip).unwrap();
        assert_eq!(got.chains.len(), 3);
        assert_eq!(
            (got.chains[1].drops, got.chains[1].counter.map(|c| c.packets)),
            (true, Some(12))
        );
        assert_eq!(got.chains[2].at, None);
        let Action::Dnat(mapping) = &got.rules[0].then else {
            panic!("{:?}", got.rules[0])
        };
        assert_eq!(mapping.ports, Some((8080, 8080)));
        assert_eq!(got.rules[0].counter.map(|c| c.packets), Some(7));
        let Action::Masquerade(mapping) = &got.rules[1].then else {
            panic!("{:?}", got.rules[1])
        };
        assert!(mapping.fully_random && mapping.ports == Some((5000, 5999)));
        assert_eq!(got.rules[2].then, Action::Jump("mine".into()));
        assert!(got.rules[2].when[0].not);
        assert!(
            got.rules[2]
                .when
                .iter()
                .any(|c| c.what == Match::Other("--hashlimit-above".into()))
        );
        assert_eq!(got.rules[3].when[0].what, Match::State(ct_state::INVALID));
    }

    #[test]
    fn what_is_no_ruleset_is_an_error_with_its_line() {
        assert_eq!(parse("*filter\nhello\n", Family::Ip).unwrap_err().line, 2);
        assert!(parse("*filter\n[1:1] hello\n", Family::Ip).is_err());
        assert!(parse(":x", Family::Ip).is_err());
    }
}
