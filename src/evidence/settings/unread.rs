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
    for (index, setting) in context.all().filter(|(_, setting)| setting.name.is_empty()) {
        let why = "sysctl takes lines of the form `name = value`, and passes this one over";
        let said = Said::of(index, why);
        let meant = setting.value.split_once(char::is_whitespace);
        out.push(match meant.filter(|(name, _)| name.starts_with("net.")) {
            Some((name, value)) => said.write(format!("{name} = {}", value.trim())),
            None => said.delete(),
        });
    }
}
