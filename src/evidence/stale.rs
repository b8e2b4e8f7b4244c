//! Unreplied entries that an older ruleset mapped, and that today's would send elsewhere.

use std::net::SocketAddr;

use super::Direction;
use super::redirections::{Judged, Redirections};
use super::ruleset::RulesetFacts;
use super::sampling::Sample;
use crate::model::{Estimate, Flow, proto};

/// An entry whose reply comes from elsewhere than today's rules send its packets to.
#[derive(Clone, Debug, PartialEq)]
pub struct StaleNat {
    /// Unreplied entries whose mapping the rules would not give now.
    pub entries: Estimate,
    /// Of these, the ones whose client still sends.
    pub renewed: Estimate,
    /// The first of them that was renewed, or else of all.
    pub example: Flow,
    pub goes_to: SocketAddr,
    pub should_go_to: SocketAddr,
    /// The rule that says so.
    pub rule: String,
}

/// Looks for entries that an older ruleset mapped.
#[derive(Default)]
pub struct StaleTally {
    /// Absent where they were not read, or only in part.
    rules: Option<Redirections>,
    found: Option<StaleNat>,
    entries: u64,
    renewed: u64,
    /// Entries whose client still sends, and of which it cannot be told whether the rules would map them elsewhere.
    untold: u64,
}

/// Renewed so lately, the client is still at it.
const RENEWED_SECS: u32 = 5;

/// What is known of whether an entry's client still sends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sends {
    /// Since its timeout was set.
    pub since_set_secs: Option<u32>,
    /// Since it began, where the entry itself says so.
    pub stamped_secs: Option<u32>,
    /// A repeated SYN sets the timeout anew (kernels before 5.14).
    pub syn_renews: bool,
    /// The wire showed its SYN again.
    pub syn_again: bool,
}

impl StaleTally {
    pub fn new(rules: Option<&RulesetFacts>) -> StaleTally {
        StaleTally {
            rules: rules.and_then(Redirections::of),
            ..StaleTally::default()
        }
    }

    /// Whether the entry may be one of those that are looked for.
    pub fn asks_for(&self, flow: &Flow) -> bool {
        !flow.status.seen_reply()
            && matches!(flow.proto, proto::TCP | proto::UDP)
            && self
                .rules
                .as_ref()
                .is_some_and(|rules| rules.aim_at(flow.orig.dst))
    }

    pub fn add(&mut self, flow: &Flow, direction: Direction, sends: Sends) {
        let Some(rules) = &self.rules else { return };
        let renewed = still_sends(flow, sends);
        let (to, rule) = match rules.judge(flow, direction) {
            Judged::Fits => return,
            Judged::Untold => return self.untold += u64::from(renewed),
            Judged::Elsewhere { to, rule } => (to, rule),
        };
        let goes = SocketAddr::new(flow.reply.src, flow.reply.sport);
        let found = self.found.get_or_insert_with(|| StaleNat {
            entries: Estimate::default(),
            renewed: Estimate::default(),
            example: *flow,
            goes_to: goes,
            should_go_to: to,
            rule: rule.to_string(),
        });
        // The same one whatever order they come in.
        let earlier = (renewed, std::cmp::Reverse(flow.orig))
            > (self.renewed > 0, std::cmp::Reverse(found.example.orig));
        self.entries += 1;
        self.renewed += u64::from(renewed);
        if earlier {
            (found.example, found.goes_to, found.should_go_to) = (*flow, goes, to);
            found.rule = rule.to_string();
        }
    }

    /// `None` where it cannot be told.
    pub fn finish(self, sample: Sample) -> Option<Option<StaleNat>> {
        let rules = self.rules.as_ref()?;
        // A sample meets only some of the entries: it cannot say that there is none.
        let missed = self.untold > 0 || sample.is_part() && !rules.is_empty();
        let found = self.found.map(|found| StaleNat {
            entries: sample.estimate(self.entries),
            renewed: sample.estimate(self.renewed),
            ..found
        });
        (self.renewed > 0 || !missed).then_some(found)
    }
}

/// Whether packets of the client came a moment ago, and not just the first one.
fn still_sends(flow: &Flow, sends: Sends) -> bool {
    let lately = sends.since_set_secs.is_some_and(|secs| secs <= RENEWED_SECS);
    if flow.proto == proto::TCP {
        return sends.syn_again || sends.syn_renews && lately;
    }
    // Each datagram sets the timeout anew, and so does the first.
    let first = flow.packets.is_some_and(|packets| packets[0] <= 1)
        || sends.stamped_secs.is_some_and(|secs| secs <= RENEWED_SECS);
    lately && !first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Action, At, Chain, Condition, Engine, Family, FilterRule, Hook, Mapping, Match, Ruleset, Status,
        Tuple,
    };

    fn nat_rule(when: Vec<Match>, then: Action) -> FilterRule {
        FilterRule {
            engine: Engine::NfTables,
            family: Family::Ip,
            table: "nat".into(),
            chain: "pre".into(),
            handle: Some(1),
            number: 1,
            when: when
                .into_iter()
                .map(|what| Condition { not: false, what })
                .collect(),
            then,
            counter: None,
            text: "the rule".into(),
        }
    }

    fn chain(name: &str, hook: Option<Hook>) -> Chain {
        Chain {
            engine: Engine::NfTables,
            family: Family::Ip,
            table: "nat".into(),
            name: name.into(),
            at: hook.map(|hook| At { hook, priority: -100 }),
            drops: false,
            counter: None,
        }
    }

    fn facts(rules: Vec<FilterRule>) -> RulesetFacts {
        let chains = vec![
            chain("pre", Some(Hook::Prerouting)),
            chain("out", Some(Hook::Output)),
            chain("aside", None),
        ];
        let all = Ruleset {
            chains,
            rules,
            ..Ruleset::default()
        };
        RulesetFacts::between(None, all)
    }

    fn to(addr: &str, port: Option<u16>) -> Mapping {
        let addr = addr.parse().unwrap();
        Mapping {
            addresses: Some((addr, addr)),
            ports: port.map(|port| (port, port)),
            ..Mapping::default()
        }
    }

    fn flow(reply_src: &str, sport: u16) -> Flow {
        let orig = Tuple {
            src: "10.0.0.9".parse().unwrap(),
            dst: "10.0.0.1".parse().unwrap(),
            sport: 5353,
            dport: 53,
        };
        let mut reply = orig.inverted();
        (reply.src, reply.sport) = (reply_src.parse().unwrap(), sport);
        Flow {
            orig,
            reply,
            proto: proto::UDP,
            ..Flow::default()
        }
    }

    const LATELY: Sends = Sends {
        since_set_secs: Some(1),
        stamped_secs: None,
        syn_renews: false,
        syn_again: false,
    };

    /// `None`: not told.
    fn judged(rules: Vec<FilterRule>, flow: &Flow, direction: Direction) -> Option<Option<StaleNat>> {
        let mut tally = StaleTally::new(Some(&facts(rules)));
        if tally.asks_for(flow) {
            tally.add(flow, direction, LATELY);
        }
        tally.finish(Sample::all(1))
    }

    fn accuses(rules: Vec<FilterRule>, flow: &Flow) -> bool {
        judged(rules, flow, Direction::Forward).flatten().is_some()
    }

    fn dns() -> Vec<Match> {
        vec![
            Match::Destination("10.0.0.1".parse().unwrap(), 32),
            Match::Protocol(proto::UDP),
            Match::DestinationPorts(53, 53),
        ]
    }

    fn moves() -> FilterRule {
        nat_rule(dns(), Action::Dnat(to("10.1.0.7", Some(5300))))
    }

    fn of_client() -> Vec<Match> {
        vec![Match::Source("10.0.0.9".parse().unwrap(), 32)]
    }

    #[test]
    fn an_older_mapping_is_found() {
        let mut tally = StaleTally::new(Some(&facts(vec![moves()])));
        for flow in [flow("10.0.0.1", 53), flow("10.1.0.7", 5300)] {
            tally.add(&flow, Direction::Forward, LATELY);
        }
        let got = tally.finish(Sample::all(2)).unwrap().unwrap();
        assert_eq!((got.entries.value, got.renewed.value), (1.0, 1.0));
        assert_eq!(got.should_go_to.to_string(), "10.1.0.7:5300");
        let mut answered = flow("10.0.0.1", 53);
        answered.status = Status(Status::SEEN_REPLY);
        assert!(!accuses(vec![moves()], &answered), "somebody answers there");
        let mut of_tcp = flow("10.0.0.1", 53);
        of_tcp.proto = proto::TCP;
        assert!(!accuses(vec![moves()], &of_tcp), "the rule is for UDP");
    }

    #[test]
    fn a_rule_that_the_packets_do_not_come_to_accuses_nobody() {
        let old = flow("10.0.0.1", 53);
        for (what, before) in [
            ("accept", Action::Accept),
            ("return", Action::Return),
            ("redirect", Action::Redirect(to("0.0.0.0", Some(99)))),
            ("another target", Action::Other("NETMAP".into())),
            ("a jump to nowhere", Action::Jump("BALANCE".into())),
        ] {
            let first = nat_rule(of_client(), before);
            assert!(!accuses(vec![first, moves()], &old), "{what}");
        }
        let noted = nat_rule(of_client(), Action::Other("LOG".into()));
        assert!(accuses(vec![noted, moves()], &old), "it is only noted");
        let others = nat_rule(
            vec![Match::Source("10.0.0.8".parse().unwrap(), 32)],
            Action::Accept,
        );
        assert!(accuses(vec![others, moves()], &old), "others are accepted");
        let mut aside = moves();
        aside.chain = "aside".into();
        assert!(!accuses(vec![aside.clone()], &old), "nobody jumps there");
        let for_others = nat_rule(
            vec![Match::Source("10.0.0.8".parse().unwrap(), 32)],
            Action::Jump("aside".into()),
        );
        assert!(!accuses(vec![for_others, aside.clone()], &old), "only others do");
        let for_it = nat_rule(of_client(), Action::Jump("aside".into()));
        assert!(accuses(vec![for_it, aside], &old), "it is sent there");
    }

    #[test]
    fn each_hook_judges_its_own_packets() {
        let old = flow("10.0.0.1", 53);
        let direction = |rules: &[FilterRule], direction| judged(rules.to_vec(), &old, direction);
        let mut at_output = moves();
        at_output.chain = "out".into();
        let found = |got: Option<Option<StaleNat>>| got.flatten().is_some();
        assert!(found(direction(&[moves()], Direction::In)));
        assert_eq!(direction(&[moves()], Direction::Out), Some(None));
        assert!(found(direction(&[at_output.clone()], Direction::Out)));
        assert_eq!(direction(&[at_output.clone()], Direction::Forward), Some(None));
        assert_eq!(
            direction(&[moves()], Direction::Unknown),
            None,
            "which way is not known"
        );
        assert!(
            found(direction(&[moves(), at_output], Direction::Unknown)),
            "either way"
        );
    }

    #[test]
    fn what_cannot_be_told_is_not_clear() {
        let mut odd = dns();
        odd.push(Match::InputInterface("eth0".into()));
        let perhaps = nat_rule(odd, Action::Dnat(to("10.1.0.8", None)));
        let old = flow("10.0.0.1", 53);
        assert_eq!(
            judged(vec![perhaps.clone(), moves()], &old, Direction::Forward),
            None
        );
        let there = flow("10.1.0.8", 53);
        assert_eq!(
            judged(vec![perhaps, moves()], &there, Direction::Forward),
            Some(None)
        );
        let spread = Mapping {
            unknown: true,
            ..Mapping::default()
        };
        let map = nat_rule(dns(), Action::Dnat(spread));
        assert!(!accuses(vec![map], &old));
        let part = Ruleset {
            partial: true,
            ..facts(vec![moves()]).ruleset
        };
        let tally = StaleTally::new(Some(&RulesetFacts::between(None, part)));
        assert_eq!(tally.finish(Sample::all(1)), None, "a rule may be missing");
        let sampled = Sample::fresh(1000, 1_000_000);
        let tally = StaleTally::new(Some(&facts(vec![moves()])));
        assert_eq!(tally.finish(sampled), None, "it may be among those not met");
        let tally = StaleTally::new(Some(&facts(Vec::new())));
        assert_eq!(tally.finish(sampled), Some(None), "no rule redirects anything");
    }

    #[test]
    fn a_first_packet_renews_nothing() {
        let mut flow = flow("10.0.0.1", 53);
        assert!(still_sends(&flow, LATELY));
        flow.packets = Some([1, 0]);
        assert!(!still_sends(&flow, LATELY), "it has sent one packet");
        flow.packets = Some([7, 0]);
        assert!(still_sends(&flow, LATELY));
        let born = Sends {
            stamped_secs: Some(3),
            ..LATELY
        };
        assert!(!still_sends(&flow, born), "it began 3 s ago");
        flow.proto = proto::TCP;
        assert!(!still_sends(&flow, LATELY), "SYN_SENT is not renewed");
        let renews = Sends {
            syn_renews: true,
            ..LATELY
        };
        assert!(still_sends(&flow, renews));
        let again = Sends {
            syn_again: true,
            since_set_secs: Some(60),
            ..LATELY
        };
        assert!(still_sends(&flow, again));
    }
}
