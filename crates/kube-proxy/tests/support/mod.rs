//! A table that understands what kube-proxy writes for `nft -f -`, as knftables' `Fake` does.

mod kernel;
mod ours;

use std::collections::BTreeMap;
use std::rc::Rc;

use kube_proxy::nftables::Tables;

pub(crate) use kernel::Kernel;
pub(crate) use ours::Ours;

#[derive(Clone, Debug, Default, PartialEq)]
struct Container {
    properties: String,
    is_map: bool,
    /// Key, verdict, comment, in the order in which they were added.
    elements: Vec<(String, String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Chain {
    properties: String,
    rules: Vec<String>,
}

/// The table `ip kube-proxy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fake {
    table: Option<String>,
    chains: BTreeMap<String, Chain>,
    containers: BTreeMap<String, Container>,
    /// All transactions.
    pub(crate) log: Vec<String>,
    /// Does everything, too.
    pub(crate) kernel: Option<Rc<Kernel>>,
    /// So does this.
    pub(crate) ours: Option<Rc<Ours>>,
}

const MISSING: &str = "Error: No such file or directory";

impl Fake {
    /// All of it as `knftables.Fake.Dump` prints it.
    pub(crate) fn dump(&self) -> String {
        let mut lines = Vec::new();
        let line = |parts: &[&str]| {
            let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
            parts.join(" ")
        };
        lines.push(line(&["add table ip kube-proxy", self.table.as_deref().unwrap_or_default()]));
        for (name, chain) in &self.chains {
            lines.push(line(&["add chain ip kube-proxy", name, &chain.properties]));
        }
        for is_map in [false, true] {
            let kind = if is_map { "add map" } else { "add set" };
            for (name, container) in self.containers.iter().filter(|(_, c)| c.is_map == is_map) {
                lines.push(line(&[kind, "ip kube-proxy", name, &container.properties]));
            }
        }
        for (name, chain) in &self.chains {
            let rules = chain.rules.iter();
            lines.extend(rules.map(|rule| line(&["add rule ip kube-proxy", name, rule])));
        }
        for is_map in [false, true] {
            for (name, container) in self.containers.iter().filter(|(_, c)| c.is_map == is_map) {
                for (key, value, comment) in &container.elements {
                    let comment = if comment.is_empty() {
                        String::new()
                    } else {
                        format!("comment \"{comment}\"")
                    };
                    let value = if value.is_empty() { String::new() } else { format!(": {value}") };
                    lines.push(line(&[
                        "add element ip kube-proxy",
                        name,
                        "{",
                        key,
                        &comment,
                        &value,
                        "}",
                    ]));
                }
            }
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// What stands in the table, as [`Kernel::lines`] has it.
    pub(crate) fn lines(&self) -> Vec<String> {
        let chains = self.chains.iter();
        let mut lines: Vec<String> =
            chains.map(|(name, chain)| format!("chain {name} {}", chain.rules.len())).collect();
        for (name, container) in &self.containers {
            lines.push(format!("{} {name}", if container.is_map { "map" } else { "set" }));
            let elements = container.elements.iter();
            lines.extend(elements.map(|(key, value, _)| format!("element {name} {key} {value}")));
        }
        lines.sort();
        lines
    }

    fn command(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.splitn(6, ' ').collect();
        let [verb, object, family, table, rest @ ..] = words.as_slice() else {
            return Err(format!("Error: syntax error: {line}"));
        };
        assert_eq!((*family, *table), ("ip", "kube-proxy"), "{line}");
        let name = rest.first().copied().unwrap_or_default().to_string();
        let tail = rest.get(1).copied().unwrap_or_default().to_string();
        if (*verb, *object) == ("add", "table") {
            self.table.get_or_insert([name, tail].join(" "));
            return Ok(());
        }
        if self.table.is_none() {
            return Err(MISSING.to_string());
        }
        match (*verb, *object) {
            ("add", "chain") => {
                let chain = self.chains.entry(name).or_default();
                if chain.properties.is_empty() {
                    chain.properties = tail;
                } else {
                    assert!(tail.is_empty() || tail == chain.properties, "{line}");
                }
            }
            ("flush", "chain") => self.chains.get_mut(&name).ok_or(MISSING)?.rules.clear(),
            ("delete", "chain") => {
                self.chains.remove(&name).ok_or(MISSING)?;
                if self.refers(&name) {
                    return Err(
                        "Error: Could not process rule: Device or resource busy".to_string()
                    );
                }
            }
            ("add", "rule") => {
                for word in tail.split(['@', ' ']).zip(tail.split(['@', ' ']).skip(1)) {
                    if ["jump", "goto"].contains(&word.0) && !self.chains.contains_key(word.1) {
                        return Err(MISSING.to_string());
                    }
                }
                for set in tail.split(' ').filter_map(|word| word.strip_prefix('@')) {
                    self.containers.get(set).ok_or(MISSING)?;
                }
                self.chains.get_mut(&name).ok_or(MISSING)?.rules.push(tail);
            }
            ("add", "set" | "map") => {
                let new =
                    Container { properties: tail, is_map: *object == "map", elements: Vec::new() };
                let known = self.containers.entry(name).or_insert_with(|| new.clone());
                // Another time for its elements is no other set.
                let kind = |set: &Container| {
                    (set.is_map, set.properties.split(" timeout ").next().map(str::to_string))
                };
                assert_eq!(kind(known), kind(&new), "{line}");
                known.properties = new.properties;
            }
            ("flush", "set" | "map") => {
                self.containers.get_mut(&name).ok_or(MISSING)?.elements.clear()
            }
            ("delete", "set" | "map") => {
                self.containers.remove(&name).ok_or(MISSING)?;
                if self.refers(&format!("@{name}")) {
                    return Err(
                        "Error: Could not process rule: Device or resource busy".to_string()
                    );
                }
            }
            ("add" | "delete", "element") => self.element(*verb == "add", &name, &tail)?,
            _ => return Err(format!("Error: syntax error: {line}")),
        }
        Ok(())
    }

    fn refers(&self, name: &str) -> bool {
        let mut rules = self.chains.values().flat_map(|chain| &chain.rules);
        let mut elements = self.containers.values().flat_map(|container| &container.elements);
        rules.any(|rule| rule.split(' ').any(|word| word == name))
            || elements.any(|(_, value, _)| value.split(' ').any(|word| word == name))
    }

    fn element(&mut self, is_new: bool, name: &str, text: &str) -> Result<(), String> {
        let text = text.strip_prefix("{ ").and_then(|t| t.strip_suffix(" }")).ok_or("braces")?;
        let (text, value) = text.split_once(" : ").unwrap_or((text, ""));
        let (key, comment) = text.split_once(" comment ").unwrap_or((text, ""));
        let comment = comment.trim_matches('"');
        if let Some(chain) = value.strip_prefix("goto ") {
            self.chains.get(chain).ok_or(MISSING)?;
        }
        let elements = &mut self.containers.get_mut(name).ok_or(MISSING)?.elements;
        let at = elements.iter().position(|(known, ..)| known == key);
        match (is_new, at) {
            (true, None) => elements.push((key.into(), value.into(), comment.into())),
            (true, Some(_)) => return Err("Error: Could not process rule: File exists".into()),
            (false, Some(at)) => drop(elements.remove(at)),
            (false, None) => return Err(MISSING.into()),
        }
        Ok(())
    }
}

impl Tables for Fake {
    fn run(&mut self, lines: &str) -> Result<(), String> {
        let mut next = self.clone();
        for line in lines.lines() {
            next.command(line).map_err(|error| format!("{error}: {line}"))?;
        }
        next.log.push(lines.to_string());
        *self = next;
        if let Some(kernel) = &self.kernel {
            let result = kernel.run(lines);
            assert_eq!(result, Ok(()), "{lines}");
            assert_eq!(kernel.lines(), self.lines(), "{lines}");
        }
        if let Some(ours) = &self.ours {
            let result = ours.run(lines);
            assert_eq!(result, Ok(()), "{lines}");
            assert_eq!(ours.lines(), self.lines(), "{lines}");
        }
        Ok(())
    }

    fn chains(&self) -> Vec<(Rc<str>, usize)> {
        let chains = self.chains.iter();
        chains.map(|(name, chain)| (name.as_str().into(), chain.rules.len())).collect()
    }

    fn sets(&self) -> Vec<Rc<str>> {
        let sets = self.containers.iter().filter(|(_, container)| !container.is_map);
        sets.map(|(name, _)| name.as_str().into()).collect()
    }

    fn elements(&self, container: &str) -> Option<Vec<(String, String)>> {
        let elements = &self.containers.get(container)?.elements;
        Some(elements.iter().map(|(key, value, _)| (key.clone(), value.clone())).collect())
    }
}
