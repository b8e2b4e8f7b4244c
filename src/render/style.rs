//! How text is dressed: colours (the only place that knows escape codes), and commands that reach the right namespace.

use std::borrow::Cow;

/// How text for people is dressed; what it says is the same either way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
    /// Options that point ctlens at the same namespace again: `--netns edge`.
    pub again: String,
    /// What runs a command where was looked: `ip netns exec edge`.
    pub inside: String,
}

/// Settings that only the initial namespace may write.
const GLOBAL: [&str; 2] = ["nf_conntrack_max", "nf_conntrack_buckets"];
const COMMENT: &str = "   # ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Plain,
    /// At fault, or damage.
    Red,
    /// Nothing found.
    Green,
    /// Undecided.
    Yellow,
    /// Secondary.
    Dim,
}

impl Style {
    /// A command for the host that was looked at, as it is typed outside its namespace.
    pub fn on_host(&self, command: &str) -> String {
        if self.inside.is_empty() || GLOBAL.iter().any(|name| command.contains(name)) {
            command.to_string()
        } else if own(command).is_some() {
            self.looking_again(command)
        } else if is_compound(command) {
            // Without a shell of its own only its first part would run inside.
            format!("{} sh -c {}", self.inside, shell_quoted(command))
        } else {
            format!("{} {command}", self.inside)
        }
    }

    /// A command of ctlens' own that looks at the same source, where it looks at one.
    pub fn looking_again(&self, command: &str) -> String {
        let looks = own(command).is_some_and(|rest| !rest.starts_with("explain"));
        if self.again.is_empty() || !looks {
            return command.to_string();
        }
        let (command, comment) = match command.split_once(COMMENT) {
            Some((command, comment)) => (command, format!("{COMMENT}{comment}")),
            None => (command, String::new()),
        };
        format!("{command} {}{comment}", self.again)
    }

    pub fn paint(&self, paint: Paint, text: &str) -> String {
        // Select Graphic Rendition, ECMA-48.
        let code = match paint {
            Paint::Plain => return text.to_string(),
            _ if !self.colour || text.is_empty() => return text.to_string(),
            Paint::Red => "1;31",
            Paint::Green => "32",
            Paint::Yellow => "33",
            Paint::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A word as a shell reads it back unchanged.
pub fn shell_quoted(word: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:@+/=%,".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

/// What follows ctlens' own name.
fn own(command: &str) -> Option<&str> {
    command.trim_start_matches("sudo ").strip_prefix("ctlens ")
}

/// Several commands in one line; what stands in quotes is one word.
fn is_compound(command: &str) -> bool {
    let unquoted: String = command.split('\'').step_by(2).collect();
    unquoted.contains(';') || unquoted.contains("&&") || unquoted.starts_with('(')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_a_shell_would_read_are_quoted() {
        for plain in [
            "edge",
            "/proc/4/ns/net",
            "--net=/proc/4/ns/net",
            "a-b_c.pcapng.zst",
        ] {
            assert_eq!(shell_quoted(plain), plain);
        }
        assert_eq!(shell_quoted("$(id)"), "'$(id)'");
        assert_eq!(shell_quoted("a b"), "'a b'");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
        assert_eq!(shell_quoted(""), "''");
        assert_eq!(shell_quoted("~root"), "'~root'");
    }

    #[test]
    fn commands_reach_the_namespace_that_was_looked_at() {
        let style = Style {
            again: "--netns edge".to_string(),
            inside: "ip netns exec edge".to_string(),
            ..Style::default()
        };
        assert_eq!(style.on_host("ss -ltnp"), "ip netns exec edge ss -ltnp");
        assert_eq!(
            style.on_host("ctlens diagnose --tap 12s"),
            "ctlens diagnose --tap 12s --netns edge"
        );
        let global = "sysctl -w net.netfilter.nf_conntrack_max=9";
        assert_eq!(style.on_host(global), global);
        assert_eq!(
            style.looking_again("ctlens status   # x"),
            "ctlens status --netns edge   # x"
        );
        assert_eq!(
            style.looking_again("ctlens explain CT001"),
            "ctlens explain CT001"
        );
        assert_eq!(style.on_host("a; b"), "ip netns exec edge sh -c 'a; b'");
        assert_eq!(style.on_host("nft 'a; b'"), "ip netns exec edge nft 'a; b'");
        assert_eq!(Style::default().on_host("ss -ltnp"), "ss -ltnp");
    }
}
