//! A bounded map that forgets what was not used for long.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// Two generations of entries. A full young one becomes the old one, and the old one is forgotten; what is used moves
/// to the young one. Holds at most twice `entries_max`, at a constant cost for each use.
pub(crate) struct Generations<K, V> {
    entries_max: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq + Clone, V> Generations<K, V> {
    /// An empty map.
    pub(crate) fn new(entries_max: usize) -> Self {
        Self {
            entries_max,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// The entry of a key, if it is remembered.
    pub(crate) fn get(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key)?;
            self.insert(key.clone(), value);
        }
        self.young.get_mut(key)
    }

    /// Remembers an entry in place of what was remembered for its key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.entries_max {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let mut cache = Generations::new(2);
        for n in 0..8 {
            cache.insert(n, n);
            assert_eq!(cache.get(&0), Some(&mut 0));
            assert!(cache.young.len() + cache.old.len() <= 4);
        }
        assert_eq!(cache.get(&1), None);
    }

    #[test]
    fn an_older_value_never_comes_back() {
        let mut cache = Generations::new(1);
        cache.insert("a", 1);
        cache.insert("b", 1);
        cache.insert("a", 2);
        cache.insert("c", 1);
        assert_ne!(cache.get(&"a"), Some(&mut 1));
    }
}
