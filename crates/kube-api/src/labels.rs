//! Label selectors (`apimachinery/pkg/labels`).

use base::Items as _;
use base::tree::BTreeMap;
use std::fmt;

use crate::meta::LabelSelector;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// All of these must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Labels that must be there with these values. Without any, everything is selected.
    pub fn of_labels(labels: &Labels) -> Selector {
        let requirement = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            test: Test::In(vec![value.clone()]),
        };
        Selector(labels.iter().map(requirement).collect())
    }

    /// A selector as objects have it. Without any requirement, everything is selected.
    pub fn of(selector: &LabelSelector) -> Selector {
        let mut all = selector.match_labels.as_ref().map(Selector::of_labels).unwrap_or_default();
        for expression in selector.match_expressions.items() {
            let values = || expression.values.clone().unwrap_or_default();
            let test = match expression.operator.as_str() {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::DoesNotExist,
                // Validation lets no other operator in.
                _ => continue,
            };
            all.0.push(Requirement { key: expression.key.clone(), test });
        }
        all
    }

    /// What people type after `-l`: `app=web,tier!=db,env in (a,b),!canary,zone`.
    pub fn parse(text: &str) -> Result<Selector, BadSelector> {
        let parts = split_outside_parentheses(text);
        let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
        parts.map(parse_requirement).collect::<Result<_, _>>().map(Selector)
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: Option<&Labels>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.and_then(|labels| labels.get(&requirement.key));
            match &requirement.test {
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Test::Exists => value.is_some(),
                Test::DoesNotExist => value.is_none(),
            }
        })
    }

    /// Nothing is required.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSelector(String);

impl fmt::Display for BadSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unable to parse requirement: {}", self.0)
    }
}

fn split_outside_parentheses(text: &str) -> Vec<String> {
    let (mut parts, mut current, mut depth) = (Vec::new(), String::new(), 0);
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut current));
                continue;
            }
            _ => {}
        }
        current.push(c);
    }
    parts.push(current);
    parts
}

fn parse_requirement(part: &str) -> Result<Requirement, BadSelector> {
    let requirement = |key: &str, test| Requirement { key: key.trim().to_string(), test };
    let parsed = if let Some(key) = part.strip_prefix('!') {
        requirement(key, Test::DoesNotExist)
    } else if let Some((key, value)) = part.split_once("!=") {
        requirement(key, Test::NotIn(vec![value.trim().to_string()]))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        requirement(key, Test::In(vec![value.trim().to_string()]))
    } else if let Some((key, rest)) = part.split_once(char::is_whitespace) {
        let (word, set) = rest.trim().split_once('(').unwrap_or((rest.trim(), ""));
        if matches!(rest.trim(), "in" | "notin") {
            return Err(BadSelector("found '' expected: '('".to_string()));
        }
        let Some(set) = set.trim().strip_suffix(')') else {
            return Err(BadSelector(format!(
                "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                rest.trim()
            )));
        };
        let values = set.split(',').map(|value| value.trim().to_string()).collect();
        match word.trim() {
            "in" => requirement(key, Test::In(values)),
            "notin" => requirement(key, Test::NotIn(values)),
            other => {
                return Err(BadSelector(format!(
                    "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                )));
            }
        }
    } else {
        requirement(part, Test::Exists)
    };
    if parsed.key.is_empty() {
        return Err(BadSelector(
            "found '', expected: !, identifier, or 'end of string'".to_string(),
        ));
    }
    Ok(parsed)
}

impl fmt::Display for Selector {
    /// As kubectl shows it: `app=web,tier in (a,b)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Requirement { key, test }) in self.0.iter().enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            match test {
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", values.concat())?,
                Test::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Test::NotIn(values) if values.len() == 1 => {
                    write!(f, "{key}!={}", values.concat())?
                }
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Test::Exists => f.write_str(key)?,
                Test::DoesNotExist => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_that_people_type() {
        let labels: Labels = [("app", "web"), ("tier", "front")]
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .into();
        for (text, matches) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app!=web", false),
            ("zone!=a", true),
            ("app in (web, db)", true),
            ("app notin (web,db)", false),
            ("app", true),
            ("!app", false),
            ("zone", false),
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.matches(Some(&labels)), matches, "{text}");
            assert_eq!(Selector::parse(&selector.to_string()), Ok(selector), "{text}");
        }
        for bad in ["=a", "app ~ b", "app in a"] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
    }
}
