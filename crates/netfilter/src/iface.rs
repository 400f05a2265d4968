//! Interface names and the patterns that match them.

use std::fmt;

/// Longest interface name in bytes (`IFNAMSIZ` less the final zero).
pub const IFNAME_MAX: usize = 15;

/// The name of an interface, comparable in one step. Empty where a packet has no such interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IfName([u8; IFNAME_MAX + 1]);

impl IfName {
    /// No interface.
    pub const NONE: IfName = IfName([0; IFNAME_MAX + 1]);

    /// The name; bytes beyond the fifteenth are cut off, as a kernel would refuse them.
    pub fn new(name: &str) -> IfName {
        let mut bytes = [0; IFNAME_MAX + 1];
        for (to, from) in bytes.iter_mut().take(IFNAME_MAX).zip(name.bytes()) {
            *to = from;
        }
        IfName(bytes)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        // A cut inside a character leaves a shorter, valid text.
        let bytes = self.0.get(..len).unwrap_or_default();
        match std::str::from_utf8(bytes) {
            Ok(name) => name,
            Err(error) => std::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default())
                .unwrap_or_default(),
        }
    }

    /// There is no interface.
    pub fn is_none(&self) -> bool {
        self.0[0] == 0
    }

    #[inline]
    fn bits(&self) -> u128 {
        u128::from_le_bytes(self.0)
    }

    /// The name as one number, its first letter highest.
    #[inline]
    pub(crate) fn value(&self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// The name as two numbers, for mixing into a key.
    #[inline]
    pub(crate) fn words(&self) -> [u64; 2] {
        let bits = self.bits();
        [bits as u64, (bits >> 64) as u64]
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What `-i` and `-o` take: a name, or the beginning of one followed by `+`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfPattern {
    name: IfName,
    mask: u128,
    is_prefix: bool,
}

impl IfPattern {
    /// `eth0`, `veth+` or `+`.
    pub fn new(text: &str) -> IfPattern {
        let (name, is_prefix) = match text.strip_suffix('+') {
            Some(prefix) => (IfName::new(prefix), true),
            None => (IfName::new(text), false),
        };
        let compared = if is_prefix { name.as_str().len() as u32 * 8 } else { 128 };
        let mask = if compared >= 128 { u128::MAX } else { (1 << compared) - 1 };
        IfPattern { name, mask, is_prefix }
    }

    /// The name, where only this one is meant.
    pub(crate) fn whole(&self) -> Option<IfName> {
        (!self.is_prefix).then_some(self.name)
    }

    /// The bits of a name that are looked at, as [`IfName::words`] has them.
    pub(crate) fn mask_words(&self) -> [u64; 2] {
        [self.mask as u64, (self.mask >> 64) as u64]
    }

    /// Whether every interface is meant, and none too.
    pub fn is_any(&self) -> bool {
        self.mask == 0
    }

    /// Whether an interface of this name is meant.
    pub fn matches(&self, name: IfName) -> bool {
        (name.bits() ^ self.name.bits()) & self.mask == 0
    }
}

impl fmt::Display for IfPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, if self.is_prefix { "+" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, matches) in [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("eth0", "eth", false),
            ("eth0", "", false),
            ("veth+", "veth3f2a", true),
            ("veth+", "veth", true),
            ("veth+", "vet", false),
            ("+", "anything", true),
            ("+", "", true),
            ("fifteen-letters", "fifteen-letters", true),
        ] {
            assert_eq!(
                IfPattern::new(pattern).matches(IfName::new(name)),
                matches,
                "{pattern} {name}"
            );
            assert_eq!(IfPattern::new(pattern).to_string(), pattern);
        }
    }

    #[test]
    fn a_name_cut_inside_a_character_stays_text() {
        assert_eq!(IfName::new("interface-name-é").as_str(), "interface-name-");
        assert_eq!(IfName::new("").as_str(), "");
    }
}
