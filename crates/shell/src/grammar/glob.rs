//! Patterns: `*`, `?`, `[a-z]`, as bash and `fnmatch` read them.

/// A pattern in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Char(char),
    Class { not: bool, ranges: Vec<(char, char)> },
}

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<Part>);

impl Glob {
    /// Reads a pattern. Characters that are marked as quoted stand for themselves.
    pub fn new(chars: &[(char, bool)]) -> Glob {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some((c, quoted)) = chars.get(at).copied() {
            at += 1;
            let part = match c {
                c if quoted => Part::Char(c),
                '*' => Part::Any,
                '?' => Part::One,
                '[' => match class(chars.get(at..).unwrap_or_default()) {
                    Some((class, used)) => {
                        at += used;
                        class
                    }
                    None => Part::Char('['),
                },
                '\\' => match chars.get(at) {
                    Some((escaped, _)) => {
                        at += 1;
                        Part::Char(*escaped)
                    }
                    None => Part::Char('\\'),
                },
                c => Part::Char(c),
            };
            // Two stars are one.
            if part != Part::Any || parts.last() != Some(&Part::Any) {
                parts.push(part);
            }
        }
        Glob(parts)
    }

    /// Reads a pattern in which nothing is quoted.
    pub fn plain(text: &str) -> Glob {
        Glob::new(&text.chars().map(|c| (c, false)).collect::<Vec<_>>())
    }

    /// There is something in it that does not stand for itself.
    pub fn is_pattern(&self) -> bool {
        self.0.iter().any(|part| !matches!(part, Part::Char(_)))
    }

    /// The whole text fits.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        self.fits(&text)
    }

    /// Iterative with one point to go back to, so that no pattern takes long.
    fn fits(&self, text: &[char]) -> bool {
        let (mut part, mut at) = (0, 0);
        let mut back: Option<(usize, usize)> = None;
        loop {
            let step = match (self.0.get(part), text.get(at)) {
                (None, None) => return true,
                (Some(Part::Any), _) => {
                    back = Some((part, at));
                    part += 1;
                    continue;
                }
                (Some(wanted), Some(c)) => wanted.takes(*c),
                (None, Some(_)) | (Some(_), None) => false,
            };
            if step {
                part += 1;
                at += 1;
                continue;
            }
            match back {
                Some((star, from)) if from < text.len() => {
                    back = Some((star, from + 1));
                    (part, at) = (star + 1, from + 1);
                }
                _ => return false,
            }
        }
    }

    /// Length in bytes of the shortest or longest beginning that fits.
    pub fn prefix(&self, text: &str, longest: bool) -> Option<usize> {
        let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        let mut fitting = ends.filter(|end| self.matches(text.get(..*end).unwrap_or_default()));
        if longest { fitting.next_back() } else { fitting.next() }
    }

    /// Where the shortest or longest end that fits begins.
    pub fn suffix(&self, text: &str, longest: bool) -> Option<usize> {
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        let mut fitting =
            starts.filter(|start| self.matches(text.get(*start..).unwrap_or_default()));
        if longest { fitting.next() } else { fitting.next_back() }
    }
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Part::Any => false,
            Part::One => true,
            Part::Char(wanted) => *wanted == c,
            Part::Class { not, ranges } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *not
            }
        }
    }
}

/// The inside of `[…]`, and how many characters it takes with its end.
fn class(chars: &[(char, bool)]) -> Option<(Part, usize)> {
    let mut at = 0;
    let first = chars.first()?.0;
    let not = first == '!' || first == '^';
    if not {
        at += 1;
    }
    let mut ranges = Vec::new();
    let begin = at;
    loop {
        let c = chars.get(at)?.0;
        if c == ']' && at > begin {
            return Some((Part::Class { not, ranges }, at + 1));
        }
        let is_range = chars.get(at + 1).is_some_and(|(dash, _)| *dash == '-')
            && chars.get(at + 2).is_some_and(|(end, _)| *end != ']');
        if let Some((last, _)) = chars.get(at + 2).filter(|_| is_range) {
            ranges.push((c, *last));
            at += 3;
        } else {
            ranges.push((c, c));
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[", "[", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(Glob::plain(pattern).matches(text), fits, "{pattern} {text}");
        }
        let slow = format!("{}b", "a*".repeat(50));
        assert!(!Glob::plain(&slow).matches(&"a".repeat(500)));
    }

    #[test]
    fn beginnings_and_ends() {
        let glob = Glob::plain("*/");
        assert_eq!((glob.prefix("a/b/c", false), glob.prefix("a/b/c", true)), (Some(2), Some(4)));
        let glob = Glob::plain(".*");
        assert_eq!((glob.suffix("a.b.c", false), glob.suffix("a.b.c", true)), (Some(3), Some(1)));
        assert_eq!(glob.prefix("abc", false), None);
    }
}
