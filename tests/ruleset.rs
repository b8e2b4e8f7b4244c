//! Rulesets of real tools, loaded into namespaces of the tests' own and read back.

mod netns;

use ctlens::collect::{self, Presence};
use ctlens::evidence::{Packets, RulesetFacts, Stopper, inward};
use ctlens::kernel::Live;
use ctlens::model::{Action, Ruleset};

const NFT: &str = r#"
table inet filter {
    counter seen { }
    set few { type inet_service; elements = { 22, 25 }; }
    ct timeout fast {
        protocol tcp;
        l3proto ip;
        policy = { syn_sent : 20 };
    }
    chain input {
        type filter hook input priority filter; policy drop;
        ct state vmap { established : accept, invalid : drop }
        iifname "lo" accept
        ip saddr 10.0.0.0/8 tcp dport 80 counter drop
        ip6 daddr fd00::/64 tcp dport 1000-2000 counter name "seen" drop
        tcp dport { 443, 8080-8090 } counter jump more
        tcp dport != @few drop
        ip saddr 10.9.0.0-10.9.0.8 drop
        ip daddr . tcp dport { 10.9.1.3 . 80, 10.9.2.0/24 . 81 } drop
        tcp dport { 1, 2, 3, 4, 5 } accept
        udp sport < 1024 accept
        meta mark 7 drop
        limit rate 5/second reject
    }
    chain more { ct state new,untracked counter drop; }
    chain raw { type filter hook prerouting priority raw; tcp sport 8080 notrack; }
}
table ip nat {
    chain pre { type nat hook prerouting priority dstnat;
        ip daddr 10.0.0.1 tcp dport 80 dnat to 10.1.0.7:8080
        udp dport 53 dnat to numgen random mod 2 map { 0 : 10.1.0.8, 1 : 10.1.0.9 };
    }
    chain post { type nat hook postrouting priority srcnat;
        oifname "eth*" ip saddr 10.2.0.0/16 meta l4proto tcp masquerade to :5000-5999 fully-random
        meta l4proto udp snat to 192.0.2.1-192.0.2.4:1024-65535;
    }
}
"#;

/// Loads rules with the tool that is called, and hands on what is read of them.
fn loaded(
    tool: &str,
    load: impl FnOnce() -> Result<String, String> + Send,
    check: impl FnOnce(Ruleset) + Send,
) {
    netns::inside(|| {
        if let Err(why) = netns::run(tool, &["--version"]) {
            println!("skipped: {tool}: {why}");
            return;
        }
        load().expect("the rules are good ones");
        let mut live = Live::open(None).expect("no namespace is entered");
        let presence = Presence::read(&mut live);
        check(collect::ruleset(&mut live, &presence, true).expect("root may read it"));
    });
}

fn texts<'a>(ruleset: &'a Ruleset, chain: &str) -> Vec<&'a str> {
    let rules = ruleset.rules.iter().filter(|rule| rule.chain == chain);
    rules.map(|rule| rule.text.as_str()).collect()
}

#[test]
fn nft_rules_are_read_as_they_were_written() {
    loaded(
        "nft",
        || netns::run("nft", &[NFT]),
        |ruleset| {
            assert_eq!(
                texts(&ruleset, "input"),
                [
                    "ct state invalid drop",
                    "ct state established accept",
                    "iifname \"lo\" accept",
                    "ip saddr 10.0.0.0/8 tcp dport 80 drop",
                    "ip6 daddr fd00::/64 tcp dport 1000-2000 drop",
                    "tcp dport { 443, 8080-8090 } jump more",
                    "tcp dport != @few drop",
                    "ip saddr { 10.9.0.0/29, 10.9.0.8 } drop",
                    "ip daddr . tcp dport { 10.9.1.3 . 80, 10.9.2.0/24 . 81 } drop",
                    "tcp dport { 1, 2, 3, 4, … } accept",
                    "udp sport 0-1023 accept",
                    "[meta] drop",
                    "limit … reject",
                ],
            );
        },
    );
}

#[test]
fn what_translates_addresses_says_where_to() {
    loaded(
        "nft",
        || netns::run("nft", &[NFT]),
        |ruleset| {
            assert_eq!(
                texts(&ruleset, "pre"),
                [
                    "ip daddr 10.0.0.1 tcp dport 80 dnat to 10.1.0.7:8080",
                    "udp dport 53 [@__map0] dnat to …"
                ]
            );
            assert_eq!(
                texts(&ruleset, "post"),
                [
                    "oifname \"eth*\" ip saddr 10.2.0.0/16 meta l4proto tcp masquerade to :5000-5999",
                    "meta l4proto udp snat to 192.0.2.1-192.0.2.4:1024-65535"
                ]
            );
            let facts = RulesetFacts::between(None, ruleset);
            let mappings: Vec<_> = facts.source_nat().map(|(_, mapping)| *mapping).collect();
            assert_eq!(
                (mappings[0].ports, mappings[0].fully_random),
                (Some((5000, 5999)), true)
            );
            let drops: Vec<&str> = facts
                .rules(|action| *action == Action::Drop, inward)
                .map(|(_, rule)| rule.text.as_str())
                .collect();
            assert!(drops.contains(&"ct state new,untracked drop"), "{drops:?}");
            let stops = facts.stops(inward, &Packets::default());
            let policies = stops.iter().filter(|stop| matches!(stop.by, Stopper::Policy(_)));
            assert_eq!(policies.count(), 1, "{stops:?}");
            assert_eq!(facts.ruleset.timeout_policies[0].name, "fast");
        },
    );
}

#[test]
fn counters_are_read_and_left_alone() {
    loaded(
        "nft",
        || netns::run("nft", &[NFT]),
        |first| {
            let counted = first.rules.iter().filter(|rule| rule.counter.is_some()).count();
            assert!(counted >= 3, "{:?}", first.rules);
            let shown =
                || netns::run("nft", &["list", "counter", "inet", "filter", "seen"]).expect("it is there");
            let before = shown();
            let mut live = Live::open(None).expect("no namespace is entered");
            let presence = Presence::read(&mut live);
            assert_eq!(
                collect::ruleset(&mut live, &presence, true).expect("again"),
                first
            );
            assert_eq!(shown(), before);
        },
    );
}

#[test]
fn iptables_over_nf_tables_is_read_too() {
    const RULES: [&str; 6] = [
        "-A INPUT -s 10.0.0.0/8 -p tcp --dport 80 -j DROP",
        "-A INPUT -m conntrack --ctstate INVALID -j DROP",
        "-A INPUT -p tcp -m multiport --dports 22,25 -j REJECT",
        "-A OUTPUT -d 10.9.1.3/32 -p tcp --dport 80 -j DROP",
        "-t nat -A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports 5000-5999",
        "-t nat -A PREROUTING -d 10.0.0.1/32 -p tcp --dport 80 -j DNAT --to-destination 10.1.0.7:8080",
    ];
    let load = || {
        for rule in RULES {
            let words: Vec<&str> = rule.split_whitespace().collect();
            netns::run("iptables-nft", &words)?;
        }
        Ok(String::new())
    };
    loaded("iptables-nft", load, |ruleset| {
        let input = texts(&ruleset, "INPUT");
        assert_eq!(input[0], "ip saddr 10.0.0.0/8 tcp dport 80 drop");
        assert_eq!(input[1], "ct state invalid drop");
        assert!(input[2].ends_with("reject"), "{input:?}");
        assert_eq!(texts(&ruleset, "OUTPUT"), ["ip daddr 10.9.1.3 tcp dport 80 drop"]);
        assert_eq!(
            texts(&ruleset, "POSTROUTING"),
            ["oifname \"eth0\" meta l4proto tcp masquerade to :5000-5999"],
        );
        assert_eq!(
            texts(&ruleset, "PREROUTING"),
            ["ip daddr 10.0.0.1 tcp dport 80 dnat to 10.1.0.7:8080"]
        );
        assert!(ruleset.rules.iter().all(|rule| rule.counter.is_some()));
    });
}
