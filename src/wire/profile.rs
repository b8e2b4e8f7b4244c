//! Profiles as text: a file of sysctl.d, or the JSON of `recommend`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use super::paste::settings_file;
use crate::model::{Profile, Target, Timer, current_name, proto};

/// Above it the kernel's own arithmetic ends: 2^31 milliseconds, at 1,000 jiffies a second.
pub const MOST_SECS: u32 = 2_147_483;

/// Why a text is no profile.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProfileError {
    #[error(
        "line {line}: {text:?} is no setting; a profile has lines such as \
             net.netfilter.nf_conntrack_tcp_timeout_syn_sent = 20"
    )]
    NoSetting { line: usize, text: String },
    #[error(
        "{name} is no setting of conntrack: a profile has names that begin with net.netfilter.nf_conntrack_"
    )]
    NotConntrack { name: String },
    #[error("{name} = {value}: {why}")]
    Value {
        name: String,
        value: String,
        why: &'static str,
    },
    #[error("{name}: no timeout has this name; there are {}", names())]
    NoTimer { name: String },
    #[error("no profile: {0}")]
    Json(String),
    #[error("there is nothing in it to set")]
    Empty,
}

fn names() -> String {
    Timer::ALL.map(Timer::name).join(", ")
}

const SECONDS: &str = "a timeout is a number of seconds, 1 to 2,147,483";
const NUMBER: &str = "not a number above 0";

/// A file of sysctl.d, or a JSON document that is a profile or has one.
pub fn decode_profile(text: &str) -> Result<Profile, ProfileError> {
    let profile = match text.trim_start().starts_with('{') {
        true => from_json(text)?,
        false => from_sysctls(text)?,
    };
    match profile.is_empty() {
        true => Err(ProfileError::Empty),
        false => Ok(profile),
    }
}

/// The fills, 0 to 1, at which to change to the spike's profile and back, of a document of `recommend --adaptive`.
pub fn decode_switch(text: &str) -> Result<(f64, f64), ProfileError> {
    #[derive(Deserialize)]
    struct Doc {
        adaptive: Option<Adaptive>,
    }
    #[derive(Deserialize)]
    struct Adaptive {
        switch: Fills,
    }
    #[derive(Deserialize)]
    struct Fills {
        up: f64,
        down: f64,
    }
    let doc: Doc = serde_json::from_str(text).map_err(|error| ProfileError::Json(error.to_string()))?;
    let fills = doc
        .adaptive
        .map(|adaptive| (adaptive.switch.up, adaptive.switch.down));
    fills
        .filter(|(up, down)| 0.0 < *down && down <= up && *up <= 1.0)
        .ok_or_else(|| {
            ProfileError::Json(
                "it has no two profiles: ctlens recommend --adaptive --format json".to_string(),
            )
        })
}

/// `syn_sent=20`, as `--set` takes it.
pub fn decode_timeout(text: &str) -> Result<(Timer, u32), ProfileError> {
    let (name, value) = text.split_once('=').ok_or_else(|| ProfileError::NoTimer {
        name: text.to_string(),
    })?;
    let name = name.trim();
    let timer = Timer::from_name(name)
        .or_else(|| Timer::from_sysctl(name))
        .ok_or_else(|| ProfileError::NoTimer {
            name: name.to_string(),
        })?;
    Ok((timer, secs(name, value)?))
}

fn secs(name: &str, value: &str) -> Result<u32, ProfileError> {
    let value = value.trim();
    match value.parse() {
        Ok(secs @ 1..=MOST_SECS) => Ok(secs),
        _ => Err(refused(name, value, SECONDS)),
    }
}

fn number(name: &str, value: &str) -> Result<u64, ProfileError> {
    match value.trim().parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err(refused(name, value, NUMBER)),
    }
}

fn refused(name: &str, value: &str, why: &'static str) -> ProfileError {
    ProfileError::Value {
        name: name.to_string(),
        value: value.to_string(),
        why,
    }
}

fn from_sysctls(text: &str) -> Result<Profile, ProfileError> {
    let file = settings_file(text);
    if let Some((line, text)) = file.unread.into_iter().next() {
        return Err(ProfileError::NoSetting { line, text });
    }
    let mut out = Profile::default();
    for line in &file.settings.lines {
        set(&mut out, &line.name, &line.value)?;
    }
    Ok(out)
}

/// One sysctl.
fn set(profile: &mut Profile, name: &str, value: &str) -> Result<(), ProfileError> {
    let name = current_name(name);
    let rest = name.strip_prefix("net.netfilter.nf_conntrack_");
    match (Timer::from_sysctl(&name), rest) {
        (Some(timer), _) => {
            profile.timeouts.insert(timer, secs(&name, value)?);
        }
        (None, Some("max")) => profile.max = Some(number(&name, value)?),
        (None, Some("buckets")) => profile.buckets = Some(number(&name, value)?),
        (None, Some("count")) => return Err(refused(&name, value, "it only tells, and is not set")),
        (None, Some(_)) => {
            profile.others.insert(name.to_string(), value.to_string());
        }
        (None, None) => {
            return Err(ProfileError::NotConntrack {
                name: name.to_string(),
            });
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Doc {
    schema: Option<String>,
    /// Of a document that has a profile, and more.
    profile: Option<ProfileDoc>,
    #[serde(flatten)]
    own: ProfileDoc,
}

#[derive(Deserialize, Default)]
struct ProfileDoc {
    #[serde(default)]
    timeouts: BTreeMap<String, u32>,
    max: Option<u64>,
    buckets: Option<u64>,
    #[serde(default)]
    sysctls: BTreeMap<String, String>,
    #[serde(default)]
    targets: Vec<TargetDoc>,
}

#[derive(Deserialize)]
struct TargetDoc {
    proto: String,
    dst: IpAddr,
    dport: Option<u16>,
    timeouts: BTreeMap<String, u32>,
}

/// Documents that have a profile.
const SCHEMAS: [&str; 2] = ["ctlens.profile/1", "ctlens.recommend/1"];

fn from_json(text: &str) -> Result<Profile, ProfileError> {
    let doc: Doc = serde_json::from_str(text).map_err(|error| ProfileError::Json(error.to_string()))?;
    match doc.schema.as_deref() {
        Some(schema) if !SCHEMAS.contains(&schema) => {
            return Err(ProfileError::Json(format!(
                "its schema is {schema}, not {}",
                SCHEMAS.join(" or ")
            )));
        }
        _ => {}
    }
    from_doc(doc.profile.unwrap_or(doc.own))
}

fn from_doc(doc: ProfileDoc) -> Result<Profile, ProfileError> {
    let mut out = Profile {
        timeouts: timers(&doc.timeouts)?,
        ..Profile::default()
    };
    for (name, value) in &doc.sysctls {
        set(&mut out, name, value)?;
    }
    for (name, size, into) in [
        ("max", doc.max, &mut out.max),
        ("buckets", doc.buckets, &mut out.buckets),
    ] {
        if let Some(size) = size {
            *into = Some(number(name, &size.to_string())?);
        }
    }
    for target in doc.targets {
        let number = [proto::TCP, proto::UDP]
            .into_iter()
            .find(|number| proto::name(*number) == Some(target.proto.as_str()))
            .ok_or_else(|| refused("proto", &target.proto, "a target is of tcp or udp"))?;
        out.targets.push(Target {
            proto: number,
            dst: target.dst,
            dport: target.dport,
            timeouts: timers(&target.timeouts)?,
        });
    }
    Ok(out)
}

fn timers(named: &BTreeMap<String, u32>) -> Result<BTreeMap<Timer, u32>, ProfileError> {
    let one = |(name, value): (&String, &u32)| {
        let timer = Timer::from_name(name).ok_or_else(|| ProfileError::NoTimer { name: name.clone() })?;
        Ok((timer, secs(name, &value.to_string())?))
    };
    named.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_sysctl_d() {
        let got = decode_profile(
            "# calm\nnet.netfilter.nf_conntrack_tcp_timeout_syn_sent = 20\nnet/netfilter/nf_conntrack_max=131072\n\
             net.netfilter.nf_conntrack_tcp_loose = 0\n",
        )
        .expect("it is one");
        assert_eq!(got.timeouts, BTreeMap::from([(Timer::SynSent, 20)]));
        assert_eq!(got.max, Some(131_072));
        assert_eq!(got.sysctls().len(), 3);
    }

    #[test]
    fn documents() {
        let got = decode_profile(
            r#"{"schema": "ctlens.profile/1", "timeouts": {"udp": 15}, "targets":
               [{"proto": "tcp", "dst": "10.9.1.3", "dport": 80, "timeouts": {"syn_sent": 10}}]}"#,
        )
        .expect("it is one");
        assert_eq!(got.timeouts, BTreeMap::from([(Timer::Udp, 15)]));
        assert_eq!(got.targets[0].dport, Some(80));
        let inside =
            r#"{"schema": "ctlens.recommend/1", "states": [], "profile": {"timeouts": {"udp": 15}}}"#;
        assert_eq!(decode_profile(inside).map(|p| p.timeouts), Ok(got.timeouts));
    }

    #[test]
    fn what_is_none_is_refused_in_a_line() {
        for (text, says) in [
            ("net.ipv4.ip_forward = 1", "is no setting of conntrack"),
            ("hello", "line 1"),
            ("", "nothing in it"),
            ("net.netfilter.nf_conntrack_udp_timeout = 0", "number of seconds"),
            ("net.netfilter.nf_conntrack_max = 0", "above 0"),
            ("{", "no profile"),
            (r#"{"timeouts": {"syn": 1}}"#, "there are syn_sent"),
            (r#"{"schema": "ctlens.report/1"}"#, "its schema is"),
        ] {
            let error = decode_profile(text).expect_err(text).to_string();
            assert!(error.contains(says) && !error.contains('\n'), "{text}: {error}");
        }
        let two = r#"{"adaptive": {"switch": {"up": 0.6, "down": 0.36}, "calm": {}, "spike": {}}}"#;
        assert_eq!(decode_switch(two), Ok((0.6, 0.36)));
        assert!(decode_switch("{}").is_err() && decode_switch(&two.replace("0.36", "0.7")).is_err());
        assert_eq!(decode_timeout("syn_sent=20"), Ok((Timer::SynSent, 20)));
        assert!(decode_timeout("syn_sent").is_err() && decode_timeout("udp=-1").is_err());
    }
}
