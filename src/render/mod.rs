//! Report in, bytes out: text for people, JSON for programs. Never prints and never looks anything up.

mod audit;
mod columns;
mod diagnose;
mod event;
mod explain;
mod figures;
mod flow;
mod json;
mod page;
mod status;
mod style;
mod top;
mod verdict;

pub use audit::{audit_sarif, audit_text};
pub use diagnose::diagnose_text;
pub use event::{EVENT_SCHEMA, event_json, event_text, lost_json, lost_text};
pub use explain::{causes_text, explain_text};
pub use flow::{FLOW_SCHEMA, flow_json, flow_text};
pub use json::{document, report_json};
pub use status::status_text;
pub use style::{Style, shell_quoted};
pub use top::{TOP_SCHEMA, top_json, top_text};
