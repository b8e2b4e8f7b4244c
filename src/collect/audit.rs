//! Settings for an audit: of a running kernel, or of files in the order in which they apply.

use crate::kernel::Kernel;
use crate::model::Setting;
use crate::wire::paste::{self, Part};

use super::presence::text;

/// Of the running kernel, those of `names` that it has.
pub fn kernel_settings(kernel: &mut dyn Kernel, names: &[&str], host: &str) -> Vec<Setting> {
    let mut out = Vec::new();
    for name in names {
        if let Some(value) = text(kernel, &format!("/proc/sys/{}", name.replace('.', "/"))) {
            out.push(Setting {
                file: host.to_string(),
                line: 0,
                name: (*name).to_string(),
                value: value.split_whitespace().collect::<Vec<_>>().join(" "),
                in_force: true,
            });
        }
    }
    out
}

/// The settings of a file's text, or why it has none.
pub fn file_settings(text: &str, name: &str) -> Result<Vec<Setting>, String> {
    let parts = paste::parse(text, name).map_err(|unread| unread.to_string())?;
    let mut out = Vec::new();
    for part in parts {
        if let Part::Settings(settings) = part {
            out.extend(settings.lines.into_iter().map(|line| Setting {
                file: name.to_string(),
                line: line.line,
                name: line.name,
                value: line.value,
                in_force: settings.in_force,
            }));
        }
    }
    if out.is_empty() {
        return Err("it has no settings: a line is `name = value`".to_string());
    }
    Ok(out)
}
