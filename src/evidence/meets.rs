//! Whether a rule meets certain packets, as far as is known of both.

use std::net::IpAddr;

use crate::model::{Condition, Family, FilterRule, Match, proto};

/// What is known of packets, and of their ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Packets {
    pub src: Option<IpAddr>,
    pub sport: Option<u16>,
    pub dst: Option<IpAddr>,
    pub dport: Option<u16>,
    /// Bits of `ct state` that they may have; 0: not told.
    pub state: u32,
    /// IP protocol number; absent: TCP.
    pub proto: Option<u8>,
}

/// Whether a rule meets certain packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meets {
    No,
    /// It asks something that is not known of them, or not understood.
    Perhaps,
    Yes,
}

/// Whether the rule meets such packets, as far as its own conditions tell.
pub fn meets(rule: &FilterRule, packets: &Packets) -> Meets {
    let of_family = |addr: Option<IpAddr>| match (rule.family, addr) {
        (Family::Ip, Some(addr)) => addr.is_ipv4(),
        (Family::Ip6, Some(addr)) => addr.is_ipv6(),
        (Family::Arp, _) => false,
        _ => true,
    };
    if !of_family(packets.src.or(packets.dst)) {
        return Meets::No;
    }
    let each = rule.when.iter().map(|condition| asks(condition, packets));
    each.min().unwrap_or(Meets::Yes)
}

fn asks(condition: &Condition, packets: &Packets) -> Meets {
    match answer(&condition.what, packets) {
        None => Meets::Perhaps,
        Some(yes) if yes != condition.not => Meets::Yes,
        Some(_) => Meets::No,
    }
}

/// `None`: what is known of the packets does not tell.
fn answer(what: &Match, packets: &Packets) -> Option<bool> {
    match what {
        Match::Source(addr, bits) => packets.src.map(|src| within(src, *addr, *bits)),
        Match::Destination(addr, bits) => packets.dst.map(|dst| within(dst, *addr, *bits)),
        Match::SourcePorts(low, high) => packets.sport.map(|port| (*low..=*high).contains(&port)),
        Match::DestinationPorts(low, high) => packets.dport.map(|port| (*low..=*high).contains(&port)),
        Match::Protocol(number) => Some(*number == packets.proto.unwrap_or(proto::TCP)),
        Match::State(bits) => match packets.state {
            0 => None,
            state => Some(state & bits != 0),
        },
        Match::AnyOf { of, .. } => {
            let all = |one: &Vec<Match>| agree(one.iter().map(|what| answer(what, packets)), false);
            agree(of.iter().map(all), true)
        }
        Match::InputInterface(_) | Match::OutputInterface(_) | Match::Limit | Match::Other(_) => None,
    }
}

/// The `decisive` answer where anybody gives it, else nothing where anybody does not know, else the other one.
fn agree(answers: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let mut known = true;
    for answer in answers {
        match answer {
            Some(answer) if answer == decisive => return Some(decisive),
            Some(_) => {}
            None => known = false,
        }
    }
    known.then_some(!decisive)
}

/// Whether an address is in a prefix of its own family.
pub fn within(addr: IpAddr, prefix: IpAddr, bits: u8) -> bool {
    let keep = |all: u32| all.saturating_sub(bits.into());
    match (addr, prefix) {
        (IpAddr::V4(a), IpAddr::V4(p)) => {
            let differ = u32::from(a) ^ u32::from(p);
            differ.checked_shr(keep(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(p)) => {
            let differ = u128::from(a) ^ u128::from(p);
            differ.checked_shr(keep(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Engine};

    fn rule(when: Vec<Match>) -> FilterRule {
        FilterRule {
            engine: Engine::NfTables,
            family: Family::Inet,
            table: "t".into(),
            chain: "c".into(),
            handle: None,
            number: 1,
            when: when
                .into_iter()
                .map(|what| Condition { not: false, what })
                .collect(),
            then: Action::Drop,
            counter: None,
            text: String::new(),
        }
    }

    #[test]
    fn what_is_not_known_is_perhaps() {
        let packets = Packets {
            dst: Some("10.9.1.3".parse().unwrap()),
            dport: Some(80),
            ..Packets::default()
        };
        let of = |when: Vec<Match>| meets(&rule(when), &packets);
        assert_eq!(of(vec![]), Meets::Yes);
        assert_eq!(of(vec![Match::DestinationPorts(1, 1023)]), Meets::Yes);
        assert_eq!(of(vec![Match::DestinationPorts(443, 443)]), Meets::No);
        assert_eq!(
            of(vec![Match::Destination("10.9.0.0".parse().unwrap(), 16)]),
            Meets::Yes
        );
        assert_eq!(of(vec![Match::Destination("::".parse().unwrap(), 0)]), Meets::No);
        assert_eq!(of(vec![Match::Limit, Match::Protocol(6)]), Meets::Perhaps);
        let any_of = |of: Vec<Vec<Match>>| Match::AnyOf {
            set: String::new(),
            of,
        };
        let (http, https) = (Match::DestinationPorts(80, 80), Match::DestinationPorts(443, 443));
        let two = any_of(vec![vec![https.clone()], vec![http.clone()]]);
        assert_eq!(of(vec![two]), Meets::Yes);
        assert_eq!(
            of(vec![any_of(vec![vec![https.clone()], vec![Match::Limit]])]),
            Meets::Perhaps
        );
        assert_eq!(
            of(vec![any_of(vec![vec![http.clone(), Match::Protocol(17)]])]),
            Meets::No
        );
        assert_eq!(of(vec![any_of(vec![vec![http, Match::Limit]])]), Meets::Perhaps);
        assert_eq!(of(vec![any_of(Vec::new())]), Meets::No);
        assert_eq!(
            of(vec![Match::Other("fib".into()), Match::Protocol(17)]),
            Meets::No
        );
    }
}
