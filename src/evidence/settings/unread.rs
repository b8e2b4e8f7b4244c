//! Lines that are no setting.

use super::{Context, Lint, Said, Severity};

pub const LINTS: &[Lint] = &[Lint {
    code: "AU038",
    title: "a line that sysctl does not understand",
    severity: Severity::Error,
    source: "sysctl.conf(5): a line is `name = value`, or begins with # or ;",
    dead: false,
    check: unread,
}];

fn unread(context: &Context, out: &mut Vec<Said>) {
    for (index, _) in context.all().filter(|(_, setting)| setting.name.is_empty()) {
        let why = "a line is `name = value`: sysctl says `syntax error`, and goes on with the next";
        out.push(Said::of(index, why).delete());
    }
}
