//! What nft says when it refuses, with the place marked.

use super::lex::Span;

/// Why a text was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// After `Error: `.
    pub message: String,
    /// Marked by `^`; none where nothing is marked.
    pub span: Option<Span>,
    /// Marked by `~`.
    pub other: Option<Span>,
}

impl Failure {
    /// At a place.
    pub fn at(message: impl Into<String>, span: Span) -> Failure {
        Failure { message: message.into(), span: Some(span), other: None }
    }

    /// `syntax error, …`
    pub fn syntax(what: &str, span: Span) -> Failure {
        Failure::at(format!("syntax error, {what}"), span)
    }

    /// What the kernel says.
    pub fn kernel(errno: &str, span: Span) -> Failure {
        Failure::at(format!("Could not process rule: {errno}"), span)
    }

    /// The kernel said it.
    pub fn is_kernels(&self) -> bool {
        self.message.starts_with("Could not process rule")
    }

    /// What podwire cannot do and nft can.
    pub fn unsupported(what: &str, span: Span) -> Failure {
        Failure::at(format!("{what}: not supported by podwire"), span)
    }

    /// With another place marked by `~`.
    pub fn and(mut self, other: Span) -> Failure {
        self.other = Some(other);
        self
    }

    /// As nft prints it. `file`: the name of the file, which is then named with line and columns.
    pub fn text(&self, input: &str, file: Option<&str>) -> String {
        let Some(span) = self.span else { return format!("Error: {}\n", self.message) };
        let before = input.get(..span.from as usize).unwrap_or(input);
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let number = before.matches('\n').count() + 1;
        let rest = input.get(begin..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        let (from, to) = (span.from as usize - begin, (span.to as usize).saturating_sub(begin));
        let place = match file {
            Some(file) => format!("{file}:{number}:{}-{}: ", from + 1, to.max(from + 1)),
            None => String::new(),
        };
        let mut marks = String::new();
        let within = |span: Option<Span>, at: usize| {
            let at = begin + at;
            span.is_some_and(|span| (span.from as usize..span.to as usize).contains(&at))
        };
        let end = self.other.map_or(0, |other| (other.to as usize).saturating_sub(begin));
        for at in 0..to.max(end).min(line.len() + 1) {
            marks.push(match line.as_bytes().get(at) {
                _ if within(self.span, at) => '^',
                _ if within(self.other, at) => '~',
                Some(b'\t') => '\t',
                _ => ' ',
            });
        }
        format!("{place}Error: {}\n{line}\n{}\n", self.message, marks.trim_end_matches('\t'))
    }
}
