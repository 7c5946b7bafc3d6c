//! A table of things with ids: found by id once at the door, then by index.
//!
//! Indices are used again, ids never. So an index may be kept only where it is dropped together with
//! the thing it points to; everything that can outlive the thing keeps the id.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// Hashes our own numbers with one multiplication each. It is open to chosen collisions, so only what
/// this crate counted itself may be inserted into a table that uses it; looking up is safe.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A map whose keys are made of our own numbers.
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Where the thing with an id of kind `K` lies.
pub(crate) struct At<K>(u32, PhantomData<K>);

impl<K> At<K> {
    /// The bare index, for tables that lie beside a [`Slots`].
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

// By hand, because derives would ask the same of `K`.
impl<K> Clone for At<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for At<K> {}
impl<K> PartialEq for At<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for At<K> {}
impl<K> PartialOrd for At<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for At<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> fmt::Debug for At<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "At({})", self.0)
    }
}

/// The table.
pub(crate) struct Slots<K, T> {
    things: Vec<Option<T>>,
    free: Vec<u32>,
    by_id: NumberMap<K, u32>,
}

impl<K: Copy + Eq + Hash, T> Slots<K, T> {
    pub(crate) fn new() -> Self {
        Self { things: Vec::new(), free: Vec::new(), by_id: NumberMap::default() }
    }

    pub(crate) fn insert(&mut self, id: K, thing: T) -> At<K> {
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.things.push(None);
                u32::try_from(self.things.len() - 1).expect("four thousand million fit no memory")
            }
        };
        self.things[at as usize] = Some(thing);
        self.by_id.insert(id, at);
        At(at, PhantomData)
    }

    pub(crate) fn find(&self, id: K) -> Option<At<K>> {
        self.by_id.get(&id).map(|&at| At(at, PhantomData))
    }

    pub(crate) fn remove(&mut self, id: K) -> Option<T> {
        let at = self.by_id.remove(&id)?;
        self.free.push(at);
        self.things[at as usize].take()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (At<K>, &T)> {
        let numbered = self.things.iter().zip(0..);
        numbered.filter_map(|(thing, at)| Some((At(at, PhantomData), thing.as_ref()?)))
    }
}

impl<K, T> Slots<K, T> {
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.things.iter_mut().flatten()
    }
}

impl<K, T> Index<At<K>> for Slots<K, T> {
    type Output = T;

    fn index(&self, at: At<K>) -> &T {
        self.things[at.index()].as_ref().expect("an index is dropped together with its thing")
    }
}

impl<K, T> IndexMut<At<K>> for Slots<K, T> {
    fn index_mut(&mut self, at: At<K>) -> &mut T {
        self.things[at.index()].as_mut().expect("an index is dropped together with its thing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LaneId;

    #[test]
    fn ids_lead_to_things_and_slots_are_used_again() {
        let mut slots = Slots::new();
        let first = slots.insert(LaneId(1), "one");
        slots.insert(LaneId(2), "two");
        assert_eq!(slots.remove(LaneId(1)), Some("one"));
        assert_eq!(slots.find(LaneId(1)), None);
        assert_eq!(slots.insert(LaneId(3), "three"), first);
        assert_eq!(slots[slots.find(LaneId(3)).unwrap()], "three");
        assert_eq!(slots.iter().count(), 2);
    }
}
