//! Sets of numbers as Jobs write them: `0,2-5,9` (`pkg/controller/job/indexed_job_utils.go`).

use base::tree::BTreeSet;
use std::fmt;

/// Numbers of a Job's Pods at most (`MaxInt32` upstream; a Job of more than these is not run in a lab).
const MAX: i32 = 100_000;

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexes(BTreeSet<i32>);

impl Indexes {
    /// What is not a number or a range of them is passed over.
    pub(crate) fn parse(text: &str) -> Indexes {
        let mut all = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
                for index in first.max(0)..=last.min(MAX) {
                    all.insert(index);
                }
            }
        }
        Indexes(all)
    }

    /// `false`: it was there already.
    pub(crate) fn insert(&mut self, index: i32) -> bool {
        self.0.insert(index)
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of the others are among them.
    pub(crate) fn count_of(&self, others: &Indexes) -> usize {
        others.0.iter().filter(|index| self.0.contains(index)).count()
    }

    pub(crate) fn contains(&self, index: i32) -> bool {
        self.0.contains(&index)
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(i32, i32)> = Vec::new();
        for index in &self.0 {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == *index => *last = *index,
                _ => runs.push((*index, *index)),
            }
        }
        for (at, (first, last)) in runs.iter().enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            match last - first {
                0 => write!(f, "{first}")?,
                // Two neighbours are not worth a dash.
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_numbers() {
        for (text, shown) in [
            ("", ""),
            ("3", "3"),
            ("0-2,5", "0-2,5"),
            ("5,0,1,2,7,8", "0-2,5,7,8"),
            ("x,-1,2", "2"),
            ("4-1", ""),
        ] {
            assert_eq!(Indexes::parse(text).to_string(), shown, "{text}");
        }
    }
}
