//! A short list that needs no memory of its own for the usual case of one.
//!
//! Nearly every place has one part; allocating for it would be a good tenth of a task's whole life.

use std::ops::{Deref, DerefMut};

/// The list.
#[derive(Debug)]
pub(crate) enum Parts<T> {
    One(T),
    /// None, or several.
    Many(Vec<T>),
}

impl<T> Parts<T> {
    pub(crate) fn push(&mut self, part: T) {
        match self {
            Self::Many(parts) => parts.push(part),
            Self::One(_) => {
                if let Self::One(first) = std::mem::replace(self, Self::Many(Vec::new())) {
                    *self = Self::Many(vec![first, part]);
                }
            }
        }
    }

    /// All of them made into something else. The result is allocated at its size.
    pub(crate) fn map<U>(self, mut each: impl FnMut(T) -> U) -> Vec<U> {
        match self {
            Self::One(part) => vec![each(part)],
            Self::Many(parts) => {
                let mut all = Vec::with_capacity(parts.len());
                all.extend(parts.into_iter().map(each));
                all
            }
        }
    }
}

impl<T> FromIterator<T> for Parts<T> {
    fn from_iter<I: IntoIterator<Item = T>>(parts: I) -> Self {
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next()) {
            (Some(only), None) => Self::One(only),
            (first, second) => {
                let mut all = Vec::with_capacity(2 + parts.size_hint().0);
                all.extend(first);
                all.extend(second);
                all.extend(parts);
                Self::Many(all)
            }
        }
    }
}

impl<T> Deref for Parts<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(part) => std::slice::from_ref(part),
            Self::Many(parts) => parts,
        }
    }
}

impl<T> DerefMut for Parts<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::One(part) => std::slice::from_mut(part),
            Self::Many(parts) => parts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_parts_keeps_its_order() {
        for count in 0..4 {
            let mut parts: Parts<i32> = (0..count).collect();
            assert_eq!(matches!(parts, Parts::One(_)), count == 1);
            parts.push(count);
            assert_eq!(*parts, *(0..=count).collect::<Vec<_>>());
            let doubled: Vec<_> = (0..=count).map(|part| part * 2).collect();
            assert_eq!(parts.map(|part| part * 2), doubled);
        }
    }
}
