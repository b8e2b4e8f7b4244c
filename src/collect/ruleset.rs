//! The packet filter's rules, read as they are: no counter is reset, no module loaded.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::ask::{Refusal, ask, refused};
use super::legacy;
use super::presence::Presence;
use crate::kernel::{Channel, Errno, Kernel};
use crate::model::{Action, Condition, FilterRule, Gap, Ruleset, TimeoutPolicy};
use crate::wire::Malformed;
use crate::wire::netlink::Message;
use crate::wire::nf_tables::{self, Element, Lookup, ObjectKind, RawRule, rule_words};

/// A ruleset that keeps changing is read so often.
const TRIES: usize = 3;
/// Rules kept; what is beyond may be anything.
const MAX_RULES: usize = 50_000;
/// Sets whose elements are read, and elements of one set: a larger one may hold anything.
const MAX_SETS: usize = 256;
const MAX_ELEMENTS: usize = 4096;

const SOURCE: &str = "ruleset";
const REMEDY: &str = "nft list ruleset   # as root, on the host itself";

/// All rules of the namespace. `whole`: sets and flowtables too; else what counts packets.
pub fn ruleset(kernel: &mut dyn Kernel, presence: &Presence, whole: bool) -> Result<Ruleset, Gap> {
    let mut out = Ruleset::default();
    if !presence.lacks("nf_tables") {
        if !presence.net_admin {
            return Err(refused(SOURCE, Refusal::Refused(Errno::EPERM), REMEDY));
        }
        if !presence.has_nfnetlink("nf_tables") {
            return Err(Gap::new(
                SOURCE,
                "whether nf_tables is loaded cannot be told here, and looking loads no module",
                REMEDY,
            ));
        }
        native(kernel, whole, &mut out).map_err(|refusal| refused(SOURCE, refusal, REMEDY))?;
    }
    legacy::add(kernel, &mut out)?;
    number(&mut out.rules);
    Ok(out)
}

fn native(kernel: &mut dyn Kernel, whole: bool, out: &mut Ruleset) -> Result<(), Refusal> {
    let chains = nf_tables::encode_chains();
    let mut partial = false;
    out.chains = dump(kernel, chains, &mut partial, |message| {
        nf_tables::is_chain(message.kind).then(|| nf_tables::decode_chain(message.payload))
    })?;
    let raw = dump(kernel, nf_tables::encode_rules(), &mut partial, |message| {
        nf_tables::is_rule(message.kind).then(|| nf_tables::decode_rule(message.payload))
    })?;
    let objects = dump(kernel, nf_tables::encode_objects(), &mut partial, |message| {
        nf_tables::is_object(message.kind).then(|| nf_tables::decode_object(message.payload))
    })?;
    if whole {
        out.flowtables = dump(kernel, nf_tables::encode_flowtables(), &mut partial, |message| {
            nf_tables::is_flowtable(message.kind).then(|| nf_tables::decode_flowtable(message.payload))
        })
        // A kernel without flowtables knows no such request.
        .unwrap_or_default();
    }
    let mut sets = Sets {
        whole,
        partial: false,
        known: BTreeMap::new(),
    };
    for mut raw in raw {
        if let Some(name) = raw.counter_object.take() {
            let rule = &mut raw.rule;
            let same = objects
                .iter()
                .find(|o| o.name == name && o.table == rule.table && o.family == rule.family);
            if let Some(ObjectKind::Counter(tally)) = same.map(|object| object.kind) {
                rule.counter = Some(tally);
            }
        }
        sets.resolve(kernel, raw, &mut out.rules);
    }
    for rule in &mut out.rules {
        rule.text = rule_words(rule);
    }
    let policies = objects.into_iter().filter(|o| o.kind == ObjectKind::CtTimeout);
    out.timeout_policies = policies
        .map(|object| TimeoutPolicy {
            name: object.name,
            table: Some(object.table),
        })
        .collect();
    out.partial |= partial || sets.partial;
    Ok(())
}

/// Every noun of one dump; again where it changed meanwhile.
fn dump<T: Send>(
    kernel: &mut dyn Kernel,
    request: Vec<u8>,
    partial: &mut bool,
    decode: impl Fn(&Message<'_>) -> Option<Result<T, Malformed>> + Sync,
) -> Result<Vec<T>, Refusal> {
    let mut last = Refusal::Interrupted;
    for _ in 0..TRIES {
        let (mut out, mut cut) = (Vec::new(), false);
        let request = request.clone();
        let asked = ask(
            kernel,
            Channel::Netfilter,
            request,
            Vec::new(),
            true,
            &mut |message| {
                match decode(message) {
                    Some(Ok(_)) if out.len() == MAX_RULES => cut = true,
                    Some(Ok(noun)) => out.push(noun),
                    Some(Err(_)) => cut = true,
                    None => {}
                }
                ControlFlow::Continue(())
            },
        );
        match asked {
            Ok(()) => {
                *partial |= cut;
                return Ok(out);
            }
            // nfnetlink knows no such subsystem, or, up to 4.9, no objects: then there are none.
            Err(Refusal::Refused(Errno::EINVAL)) => return Ok(Vec::new()),
            Err(Refusal::Interrupted) => last = Refusal::Interrupted,
            Err(other) => return Err(other),
        }
    }
    Err(last)
}

/// Elements of sets, by family, table and name.
struct Sets {
    whole: bool,
    /// Where a map leads to was not read.
    partial: bool,
    known: BTreeMap<(&'static str, String, String), Option<Vec<Element>>>,
}

impl Sets {
    /// The rule with what its sets ask in their place; one for each element where these have verdicts or where it
    /// translates addresses.
    fn resolve(&mut self, kernel: &mut dyn Kernel, raw: RawRule, out: &mut Vec<FilterRule>) {
        let RawRule {
            mut rule, lookups, ..
        } = raw;
        let (mut spread_by, mut unread) = (None, false);
        let whole = self.whole;
        for lookup in lookups.iter().filter(|_| whole) {
            let Some(elements) = self.elements(kernel, &rule, &lookup.set) else {
                unread |= lookup.verdicts;
                continue;
            };
            let translates = matches!(rule.then, Action::Snat(_) | Action::Dnat(_));
            if lookup.verdicts || (translates && lookups.len() == 1 && !rule.when[lookup.at].not) {
                spread_by = Some((lookup, elements.clone()));
            } else if let Some(what) = lookup.any_of(elements) {
                rule.when[lookup.at].what = what;
            }
        }
        self.partial |= unread;
        match spread_by {
            Some((lookup, elements)) => spread(rule, lookup, &elements, out),
            None => out.push(rule),
        }
    }

    fn elements(&mut self, kernel: &mut dyn Kernel, rule: &FilterRule, set: &str) -> Option<&Vec<Element>> {
        let key = (rule.family.name(), rule.table.clone(), set.to_string());
        if !self.known.contains_key(&key) {
            let read = (self.known.len() < MAX_SETS).then(|| elements(kernel, rule, set));
            self.known.insert(key.clone(), read.flatten());
        }
        self.known.get(&key)?.as_ref()
    }
}

/// All elements of a set, in order; `None` where they are too many.
fn elements(kernel: &mut dyn Kernel, rule: &FilterRule, set: &str) -> Option<Vec<Element>> {
    let (mut all, mut cut) = (Vec::new(), false);
    let request = nf_tables::encode_elements(rule.family, &rule.table, set);
    let asked = ask(
        kernel,
        Channel::Netfilter,
        request,
        Vec::new(),
        true,
        &mut |message| {
            if nf_tables::is_elements(message.kind) {
                match nf_tables::decode_elements(message.payload) {
                    Ok(elements) => all.extend(elements),
                    Err(_) => cut = true,
                }
            }
            cut |= all.len() > MAX_ELEMENTS;
            if cut {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    );
    asked.ok().filter(|()| !cut)?;
    // An interval's end sorts before an element that begins there.
    all.sort_by(|a: &Element, b| a.key.cmp(&b.key).then(b.ends.cmp(&a.ends)));
    Some(all)
}

/// One rule for each element: all share the rule's own counter, which says nothing of any one of them.
fn spread(rule: FilterRule, lookup: &Lookup, elements: &[Element], out: &mut Vec<FilterRule>) {
    let Some(elements) = lookup.elements(elements) else {
        return out.push(rule);
    };
    for (mut asks, verdict) in elements {
        let mut one = rule.clone();
        if !asks.is_empty() {
            one.when[lookup.at].what = asks.remove(0);
        }
        one.when
            .extend(asks.into_iter().map(|what| Condition { not: false, what }));
        if let Some(action) = verdict {
            one.then = action;
        }
        out.push(one);
    }
}

/// Engine, family, table, chain.
type ChainKey = (u8, &'static str, String, String);

/// Each rule's place in its chain; rules made of one count as one.
fn number(rules: &mut [FilterRule]) {
    let mut counts: BTreeMap<ChainKey, (u32, Option<u64>)> = BTreeMap::new();
    for rule in rules {
        let key = (
            rule.engine as u8,
            rule.family.name(),
            rule.table.clone(),
            rule.chain.clone(),
        );
        let (count, last) = counts.entry(key).or_default();
        if rule.handle.is_none() || rule.handle != *last {
            *count += 1;
        }
        *last = rule.handle;
        rule.number = *count;
    }
}
