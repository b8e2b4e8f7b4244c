//! Report in, bytes out: text for people, JSON for programs. Never prints and never looks anything up.

mod apply;
mod audit;
mod columns;
mod diagnose;
mod event;
mod explain;
mod figures;
mod flow;
mod frame;
mod json;
mod page;
mod profile;
mod recommend;
mod room;
mod simulate;
mod snippets;
mod status;
mod style;
mod top;
mod verdict;

pub use apply::{
    APPLY_SCHEMA, Applied, Flushed, SettingChange, applied_text, apply_json, apply_text, rollback_text,
};
pub use audit::{audit_sarif, audit_text};
pub use diagnose::diagnose_text;
pub use event::{EVENT_SCHEMA, event_json, event_text, lost_json, lost_text};
pub use explain::{causes_text, explain_text};
pub use figures::{compact, percent, rate};
pub use flow::{FLOW_SCHEMA, flow_json, flow_text};
pub use frame::{
    Frame, Heard, HolderDoc, Spread, WATCH_SCHEMA, Way, duration, flowing, frame_json, frame_line, heading,
    verdict,
};
pub use json::{document, report_json};
pub use page::wrapped;
pub use profile::ProfileDoc;
pub use recommend::{RECOMMEND_SCHEMA, Told, recommend_json, recommend_text};
pub use simulate::{Column, SIMULATE_SCHEMA, Simulation, simulate_json, simulate_text};
pub use snippets::{NFT_TABLE, ansible_text, iptables_text, nfct_text, nft_text, sysctl_text};
pub use status::status_text;
pub use style::{Paint, Style, shell_quoted};
pub use top::{TOP_SCHEMA, top_json, top_text};
