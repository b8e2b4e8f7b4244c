//! Lines of at most 80 columns: prose wrapped by words under a hanging indent, commands never broken.
//!
//! All text becomes plain ASCII here, so nothing that a program or a pasted file calls itself reaches the terminal as
//! an escape code.

use super::style::{Paint, Style};

pub const WIDTH: usize = 80;
const ITEM_HANG: usize = 4;
/// Remedies that begin so are to be typed as they are.
const COMMANDS: [&str; 9] = [
    "cat",
    "conntrack",
    "ctlens",
    "ip",
    "iptables-save",
    "modprobe",
    "nft",
    "ss",
    "sysctl",
];

pub struct Page {
    out: String,
    style: Style,
}

impl Page {
    pub fn new(style: &Style) -> Page {
        Page {
            out: String::new(),
            style: style.clone(),
        }
    }

    /// A section's first line, after an empty one.
    pub fn heading(&mut self, text: &str) {
        self.gap();
        self.text("", text, Paint::Plain);
    }

    pub fn gap(&mut self) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
    }

    /// Prose behind `lead`; further lines hang under its first word.
    pub fn text(&mut self, lead: &str, text: &str, paint: Paint) {
        self.wrapped(wrap(lead, lead.len(), text), paint);
    }

    /// One of a list: further lines hang deeper than the first.
    pub fn item(&mut self, text: &str, paint: Paint) {
        self.wrapped(wrap("  ", ITEM_HANG, text), paint);
    }

    fn wrapped(&mut self, lines: Vec<String>, paint: Paint) {
        for line in lines {
            self.out.push_str(&self.style.paint(paint, &line));
            self.out.push('\n');
        }
    }

    /// Prose whose first word carries the colour.
    pub fn accent(&mut self, lead: &str, word: &str, rest: &str, paint: Paint) {
        let lines = wrap(lead, lead.len() + 2, &format!("{word}{rest}"));
        for (index, line) in lines.iter().enumerate() {
            match line.strip_prefix(lead).and_then(|line| line.strip_prefix(word)) {
                Some(rest) if index == 0 => {
                    self.out.push_str(lead);
                    self.out.push_str(&self.style.paint(paint, word));
                    self.out.push_str(rest);
                }
                _ => self.out.push_str(line),
            }
            self.out.push('\n');
        }
    }

    /// A command for the host that was looked at.
    pub fn command(&mut self, indent: &str, command: &str) {
        self.copyable(indent, &self.style.on_host(command));
    }

    /// What to do about something: a command where it is one, else a sentence.
    pub fn remedy(&mut self, remedy: &str) {
        let first = remedy.trim_start_matches("sudo ").split_whitespace().next();
        if first.is_some_and(|word| COMMANDS.contains(&word)) {
            self.command("  ", remedy);
        } else {
            self.text("  -> ", remedy, Paint::Plain);
        }
    }

    /// A command of ctlens' own that looks at the same source again.
    pub fn again(&mut self, indent: &str, command: &str) {
        self.copyable(indent, &self.style.looking_again(command));
    }

    /// On a line of its own, whatever its length, so that it can be copied; a comment at its end goes below.
    fn copyable(&mut self, indent: &str, command: &str) {
        let command = ascii(command);
        let (command, comment) = match command.split_once("   # ") {
            Some((command, comment)) => (command, Some(comment)),
            None => (command.as_str(), None),
        };
        self.out.push_str(indent);
        self.out.push_str("$ ");
        self.out.push_str(command.trim_end());
        self.out.push('\n');
        if let Some(comment) = comment {
            let below = " ".repeat(indent.len() + 2);
            self.text(&below, &format!("({comment})"), Paint::Dim);
        }
    }

    /// Lines that are laid out already.
    pub fn lines(&mut self, lines: &str) {
        self.out.push_str(lines);
    }

    pub fn paint(&self, paint: Paint, text: &str) -> String {
        self.style.paint(paint, text)
    }

    pub fn finish(self) -> String {
        self.out
    }
}

fn wrap(lead: &str, hang: usize, text: &str) -> Vec<String> {
    wrapped(WIDTH, lead, hang, text)
}

/// Lines of at most `width` columns: the first behind `lead`, the others behind as many spaces as `hang` says, which are
/// fewer than `width`.
pub fn wrapped(width: usize, lead: &str, hang: usize, text: &str) -> Vec<String> {
    let hang = " ".repeat(hang);
    let mut lines = Vec::new();
    let mut line = lead.to_string();
    let mut begun = false;
    for word in words(&ascii(text)) {
        if begun && line.len() + 1 + word.len() > width {
            lines.push(std::mem::replace(&mut line, hang.clone()));
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        let mut rest = word.as_str();
        while line.len() + rest.len() > width {
            let (head, tail) = rest.split_at(width - line.len());
            line.push_str(head);
            lines.push(std::mem::replace(&mut line, hang.clone()));
            rest = tail;
        }
        line.push_str(rest);
        begun = true;
    }
    lines.push(line);
    lines
}

/// Words, a unit together with its figure.
fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let unit = matches!(word.trim_end_matches([',', ';', ':', '.', ')']), "%" | "s" | "ms");
        match out.last_mut() {
            Some(figure) if unit && figure.ends_with(|c: char| c.is_ascii_digit()) => {
                figure.push(' ');
                figure.push_str(word);
            }
            _ => out.push(word.to_string()),
        }
    }
    out
}

/// Plain ASCII without control characters, for serial consoles.
pub fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            ' '..='~' => c,
            '\n' | '\t' => ' ',
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_wrap_under_the_lead_and_keep_their_units() {
        let text = "x".repeat(60) + " and the table is 12.5 % full";
        let lines = wrap("  1. ", 5, &text);
        assert!(
            lines[0].starts_with("  1. xxx") && lines[0].ends_with("and the table"),
            "{lines:?}"
        );
        assert_eq!(lines[1], "     is 12.5 % full");
        let lines = wrap("", 0, &("y".repeat(77) + " 12 %, then more"));
        assert_eq!(lines[1], "12 %, then more");
        let lines = wrap("  ", 2, &"z".repeat(200));
        assert!(
            lines.iter().all(|l| l.len() <= WIDTH) && lines.len() == 3,
            "{lines:?}"
        );
    }

    #[test]
    fn commands_stay_whole_and_comments_go_below() {
        let mut page = Page::new(&Style::default());
        let long = format!("conntrack -L {}", "--option ".repeat(20));
        page.command("  ", &format!("{long}   # look at src="));
        assert_eq!(
            page.finish(),
            format!("  $ {}\n    (look at src=)\n", long.trim_end())
        );
    }

    #[test]
    fn what_others_call_themselves_is_no_escape_code() {
        let mut page = Page::new(&Style::default());
        page.text("", "evil\x1b[31mname\u{202e} caf\u{e9}", Paint::Plain);
        assert_eq!(page.finish(), "evil?[31mname? caf?\n");
    }

    proptest::proptest! {
        #[test]
        fn any_text_fits(text in ".{0,300}", lead in " {0,6}") {
            for line in wrap(&lead, lead.len(), &text) {
                proptest::prop_assert!(line.len() <= WIDTH && line.bytes().all(|b| (b' '..=b'~').contains(&b)));
            }
        }
    }
}
