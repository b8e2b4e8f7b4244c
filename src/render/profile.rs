//! A profile as a document: `ctlens.profile/1`, which `apply` and `simulate` read back.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::model::{Profile, Target, Timer, proto};

#[derive(Serialize)]
pub struct ProfileDoc {
    timeouts: BTreeMap<&'static str, u32>,
    max: Option<u64>,
    buckets: Option<u64>,
    sysctls: BTreeMap<String, String>,
    targets: Vec<TargetDoc>,
}

#[derive(Serialize)]
struct TargetDoc {
    proto: &'static str,
    dst: IpAddr,
    dport: Option<u16>,
    timeouts: BTreeMap<&'static str, u32>,
}

impl From<&Profile> for ProfileDoc {
    fn from(profile: &Profile) -> ProfileDoc {
        ProfileDoc {
            timeouts: named(&profile.timeouts),
            max: profile.max,
            buckets: profile.buckets,
            sysctls: profile.others.clone(),
            targets: profile.targets.iter().map(target).collect(),
        }
    }
}

fn target(target: &Target) -> TargetDoc {
    TargetDoc {
        proto: proto::name(target.proto).unwrap_or("tcp"),
        dst: target.dst,
        dport: target.dport,
        timeouts: named(&target.timeouts),
    }
}

fn named(timeouts: &BTreeMap<Timer, u32>) -> BTreeMap<&'static str, u32> {
    timeouts
        .iter()
        .map(|(timer, secs)| (timer.name(), *secs))
        .collect()
}
