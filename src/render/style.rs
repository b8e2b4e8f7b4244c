//! Colours: the only place that knows escape codes.

/// How text for people is dressed; what it says is the same either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
}

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
