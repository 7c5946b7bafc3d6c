//! A short list that needs no memory of its own for the usual case of one.

use std::ops::{Deref, DerefMut};

/// A short list, of the parts of a place for instance. It reads like a slice; a list of one, as nearly
/// all are, is made without allocating, which would be a good tenth of a task's whole life.
#[derive(Clone)]
pub struct Parts<T>(List<T>);

#[derive(Clone)]
enum List<T> {
    One(T),
    /// None, or several.
    Many(Vec<T>),
}

impl<T> Parts<T> {
    /// No part.
    #[must_use]
    pub const fn none() -> Self {
        Self(List::Many(Vec::new()))
    }

    /// One part.
    #[must_use]
    pub const fn one(part: T) -> Self {
        Self(List::One(part))
    }

    /// Adds a part behind the others.
    pub fn push(&mut self, part: T) {
        match &mut self.0 {
            List::Many(parts) if parts.is_empty() => self.0 = List::One(part),
            List::Many(parts) => parts.push(part),
            List::One(_) => {
                if let List::One(first) = std::mem::replace(&mut self.0, List::Many(Vec::new())) {
                    self.0 = List::Many(vec![first, part]);
                }
            }
        }
    }

    /// All of them, in order, each made into something else.
    pub(crate) fn map<U>(self, mut each: impl FnMut(T) -> U) -> Parts<U> {
        Parts(match self.0 {
            List::One(part) => List::One(each(part)),
            List::Many(parts) => List::Many(parts.into_iter().map(each).collect()),
        })
    }
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self::none()
    }
}

impl<T> From<Vec<T>> for Parts<T> {
    fn from(mut parts: Vec<T>) -> Self {
        match parts.len() {
            1 => parts.pop().map_or_else(Self::none, Self::one),
            _ => Self(List::Many(parts)),
        }
    }
}

impl<T> FromIterator<T> for Parts<T> {
    fn from_iter<I: IntoIterator<Item = T>>(parts: I) -> Self {
        let mut all = Self::none();
        parts.into_iter().for_each(|part| all.push(part));
        all
    }
}

impl<T> IntoIterator for Parts<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self.0 {
            List::One(part) => (Some(part), Vec::new()),
            List::Many(parts) => (None, parts),
        };
        one.into_iter().chain(many)
    }
}

impl<T> Deref for Parts<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            List::One(part) => std::slice::from_ref(part),
            List::Many(parts) => parts,
        }
    }
}

impl<T> DerefMut for Parts<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            List::One(part) => std::slice::from_mut(part),
            List::Many(parts) => parts,
        }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Parts<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: PartialEq> PartialEq for Parts<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Parts<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_parts_keeps_its_order() {
        for count in 0..4 {
            let mut parts: Parts<i32> = (0..count).collect();
            assert_eq!(matches!(parts.0, List::One(_)), count == 1);
            assert_eq!(parts, Parts::from((0..count).collect::<Vec<_>>()));
            parts.push(count);
            assert_eq!(*parts, *(0..=count).collect::<Vec<_>>());
            let doubled: Vec<_> = (0..=count).map(|part| part * 2).collect();
            assert_eq!(parts.map(|part| part * 2).into_iter().collect::<Vec<_>>(), doubled);
        }
    }
}
