//! The items of a list that may be missing.

use std::slice;

/// A list that may be missing, and then has no items. `.iter().flatten()` does the same in ten times the code,
/// anew for every type and use.
pub trait Items<'a, T> {
    /// Its items.
    fn items(self) -> slice::Iter<'a, T>;
}

impl<'a, T> Items<'a, T> for &'a Option<Vec<T>> {
    fn items(self) -> slice::Iter<'a, T> {
        self.as_deref().unwrap_or_default().iter()
    }
}

impl<'a, T> Items<'a, T> for Option<&'a Vec<T>> {
    fn items(self) -> slice::Iter<'a, T> {
        self.map(Vec::as_slice).unwrap_or_default().iter()
    }
}

impl<'a, T> Items<'a, T> for Option<&'a [T]> {
    fn items(self) -> slice::Iter<'a, T> {
        self.unwrap_or_default().iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_list_has_no_items() {
        let (none, some) = (None::<Vec<u8>>, Some(vec![1, 2]));
        assert_eq!((none.items().len(), some.items().len()), (0, 2));
        assert_eq!((none.as_ref().items().len(), some.as_ref().items().len()), (0, 2));
        assert_eq!((none.as_deref().items().len(), some.as_deref().items().len()), (0, 2));
    }
}
