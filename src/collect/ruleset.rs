//! The packet filter's rules, read as they are: no counter is reset, no module loaded.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::ask::{Refusal, ask, refused};
use super::legacy;
use super::presence::Presence;
use crate::kernel::{Channel, Errno, Kernel};
use crate::model::{Action, FilterRule, Gap, Ruleset, TimeoutPolicy};
use crate::wire::Malformed;
use crate::wire::netlink::Message;
use crate::wire::nf_tables::{self, Element, ElementValue, Lookup, ObjectKind, RawRule, rule_words};

/// A ruleset that keeps changing is read so often.
const TRIES: usize = 3;
/// Rules kept; what is beyond may be anything.
const MAX_RULES: usize = 50_000;
/// Sets whose elements are read, and elements of one set that become conditions.
const MAX_SETS: usize = 64;
const MAX_ELEMENTS: usize = 256;

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
    out.partial |= partial;
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
    known: BTreeMap<(&'static str, String, String), Option<Vec<Element>>>,
}

impl Sets {
    /// The rule, or one for each element of the sets it asks, where these are few and plain.
    fn resolve(&mut self, kernel: &mut dyn Kernel, raw: RawRule, out: &mut Vec<FilterRule>) {
        let RawRule { rule, lookups, .. } = raw;
        let decides = matches!(
            rule.then,
            Action::Drop | Action::Reject | Action::Notrack | Action::Snat(_) | Action::Dnat(_)
        );
        let lookup = match &lookups[..] {
            [one] if self.whole && (one.verdicts || decides) && !rule.when[one.at].not => one,
            _ => return out.push(rule),
        };
        let key = (rule.family.name(), rule.table.clone(), lookup.set.clone());
        if !self.known.contains_key(&key) {
            let elements = (self.known.len() < MAX_SETS)
                .then(|| elements(kernel, &rule, lookup))
                .flatten();
            self.known.insert(key.clone(), elements);
        }
        match self.known.get(&key) {
            Some(Some(elements)) if (1..=MAX_ELEMENTS).contains(&elements.len()) => {
                spread(&rule, lookup, elements, out);
            }
            _ => out.push(rule),
        }
    }
}

fn elements(kernel: &mut dyn Kernel, rule: &FilterRule, lookup: &Lookup) -> Option<Vec<Element>> {
    let mut cut = false;
    let request = nf_tables::encode_elements(rule.family, &rule.table, &lookup.set);
    let lists = dump(kernel, request, &mut cut, |message| {
        nf_tables::is_elements(message.kind).then(|| nf_tables::decode_elements(message.payload))
    });
    let mut all: Vec<Element> = lists.ok().filter(|_| !cut)?.into_iter().flatten().collect();
    // An interval's end sorts before an element that begins there.
    all.sort_by(|a, b| a.key.cmp(&b.key).then(b.ends.cmp(&a.ends)));
    Some(all)
}

/// One rule for each element: all share the rule's own counter, which says nothing of any one of them.
fn spread(rule: &FilterRule, lookup: &Lookup, elements: &[Element], out: &mut Vec<FilterRule>) {
    for (index, element) in elements.iter().enumerate().filter(|(_, element)| !element.ends) {
        let end = elements.get(index + 1).filter(|next| next.ends);
        let high = end.map_or_else(|| element.key.clone(), |end| before(&end.key));
        let mut one = rule.clone();
        one.when[lookup.at].what = lookup.matching(&element.key, &high);
        if let ElementValue::Verdict(action) = &element.value {
            one.then = action.clone();
        }
        out.push(one);
    }
}

/// The value before this one, in network order.
fn before(key: &[u8]) -> Vec<u8> {
    let mut out = key.to_vec();
    for byte in out.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            break;
        }
    }
    out
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
