//! The lines of a paste with their numbers, without those that say nothing.

/// Blank lines, comments and shell prompts are passed over. A clone looks ahead.
#[derive(Clone)]
pub struct Lines<'a> {
    inner: std::iter::Enumerate<std::str::Lines<'a>>,
    /// The text does not end with the end of a line.
    cut: bool,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Lines<'a> {
        let text = text.trim_start_matches('\u{feff}');
        Lines {
            inner: text.lines().enumerate(),
            cut: !text.ends_with('\n'),
        }
    }

    pub fn peek(&self) -> Option<(usize, &'a str)> {
        self.clone().next()
    }

    /// The next line is the last one, and its end is missing.
    pub fn ends_cut(&self) -> bool {
        self.cut && self.clone().nth(1).is_none()
    }
}

impl<'a> Iterator for Lines<'a> {
    /// Counted from 1.
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<(usize, &'a str)> {
        let (index, line) = self.inner.find(|(_, line)| !is_silent(line))?;
        Some((index + 1, line))
    }
}

fn is_silent(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line.starts_with(';') || is_prompt(line)
}

/// `$ conntrack -C`, `root@fw:~# ss -s`, `[root@fw ~]# ss -s`
fn is_prompt(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or("");
    let ends = ["# ", "$ "].iter().any(|end| line.contains(end)) || line.ends_with(['#', '$']);
    line.starts_with("$ ") || first.contains('@') && ends
}
