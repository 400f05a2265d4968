//! What people paste without seeing it: what is odd about a line of a manifest.

use base::tree::BTreeMap;

/// The lines of a text on which there is something odd, and what. A line that is odd may still be right, so
/// this is only told where something is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints(BTreeMap<u32, &'static str>);

const TAB: &str = "there is a tab in the indentation; YAML wants spaces";
const SPACE: &str = "there is a character that looks like a space and is none (a non-breaking space?); type it anew";
const QUOTES: &str = "there are typographic quotes; YAML wants \" or '";
const DASH: &str = "there is a dash that is no hyphen; type - anew";
const TEMPLATE: &str = "{{ … }} belongs to a template; render it first, as `helm template` does";
const VARIABLE: &str = "${…} is left over; put the value in first, as `envsubst` does";
const PLACEHOLDER: &str = "<…> stands for a value; put it in";

impl Hints {
    /// Looks through a text.
    pub fn of(text: &str) -> Hints {
        let odd = |(number, line): (u32, &str)| odd(line).map(|what| (number, what));
        Hints(base::order::map((1..).zip(text.split('\n')).filter_map(odd)))
    }

    /// What is odd about a line, or the one before it: some mistakes are noticed only then.
    pub fn at(&self, line: u32) -> Option<&'static str> {
        let before = line.saturating_sub(1);
        self.0.get(&line).or_else(|| self.0.get(&before)).copied()
    }

    /// What is odd about the first such line of some.
    pub fn within(&self, first: u32, last: u32) -> Option<&'static str> {
        let (line, what) = self.0.range_from(&first).next()?;
        (*line <= last.max(first)).then_some(*what)
    }
}

fn odd(line: &str) -> Option<&'static str> {
    let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
    if line.get(..indent).is_some_and(|indent| indent.contains('\t')) {
        return Some(TAB);
    }
    if !line.is_ascii() {
        let found = line.chars().find_map(|c| match c {
            '\u{a0}'
            | '\u{2000}'..='\u{200d}'
            | '\u{202f}'
            | '\u{2060}'
            | '\u{3000}'
            | '\u{feff}' => Some(SPACE),
            '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' => Some(QUOTES),
            '\u{2010}'..='\u{2015}' | '\u{2212}' => Some(DASH),
            _ => None,
        });
        if found.is_some() {
            return found;
        }
    }
    if line.contains("{{") {
        return Some(TEMPLATE);
    }
    if line.contains("${") {
        return Some(VARIABLE);
    }
    let (_, rest) = line.split_once('<')?;
    let (inside, _) = rest.split_once('>')?;
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | ',' | '/');
    let is_name = inside.starts_with(char::is_alphabetic) && inside.trim() == inside;
    (is_name && inside.chars().all(is_word)).then_some(PLACEHOLDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_lines() {
        for (line, hint) in [
            ("  name: web", None),
            ("  # 1 < 2 > 0: fine", None),
            (" \tname: web", Some(TAB)),
            ("name:\u{a0}web", Some(SPACE)),
            ("name: “web”", Some(QUOTES)),
            ("– name: web", Some(DASH)),
            ("replicas: {{ .Values.replicas }}", Some(TEMPLATE)),
            ("image: ${IMAGE}", Some(VARIABLE)),
            ("name: <your-name>", Some(PLACEHOLDER)),
            ("name: Zoë", None),
        ] {
            assert_eq!(Hints::of(line).at(1), hint, "{line}");
        }
    }
}
