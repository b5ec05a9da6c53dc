//! Who retained a message. Asked again when it is delivered: whoever may no longer publish it must not be heard from it
//! for ever (CVE-2018-12546).

use crate::journal::Writer;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use ravelin_event::Principal;
use std::hash::BuildHasher;
use std::rc::Rc;

/// The author of retained messages.
#[derive(Debug)]
pub(crate) struct Author {
    /// As the journal writes it.
    key: Box<[u8]>,
    pub who: Principal,
}

impl Author {
    fn size(&self) -> usize {
        // The strings stand in the key and in the principal.
        size_of::<Author>() + 2 * self.key.len() + 64
    }
}

/// The authors of all retained messages, each once.
pub(crate) struct Authors {
    table: HashTable<Rc<Author>>,
    hasher: FixedState,
    bytes: usize,
}

impl Authors {
    pub fn new(seed: u64) -> Authors {
        Authors { table: HashTable::new(), hasher: FixedState::with_seed(seed), bytes: 0 }
    }

    /// Memory of the authors.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn of(&mut self, who: &Principal) -> Rc<Author> {
        let mut key = Vec::new();
        Writer(&mut key).principal(who);
        let hash = self.hasher.hash_one(&key[..]);
        if let Some(found) = self.table.find(hash, |author| *author.key == key[..]) {
            return found.clone();
        }
        // Where it connects from is not part of who it is.
        let who = Principal { address: None, ..who.clone() };
        let author = Rc::new(Author { key: key.into(), who });
        self.bytes += author.size();
        let hasher = &self.hasher;
        self.table.insert_unique(hash, author.clone(), |author| hasher.hash_one(&author.key[..]));
        author
    }

    /// A message of the author's goes. If it was the last, the author goes too.
    pub fn release(&mut self, author: &Rc<Author>) {
        if Rc::strong_count(author) > 2 {
            return;
        }
        let hash = self.hasher.hash_one(&author.key[..]);
        if let Ok(found) = self.table.find_entry(hash, |other| Rc::ptr_eq(other, author)) {
            found.remove();
            self.bytes -= author.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_kept_once_and_as_long_as_its_messages() {
        let mut authors = Authors::new(1);
        let mut who = Principal::anonymous("a");
        let first = authors.of(&who);
        who.address = Some(([127, 0, 0, 1], 1).into());
        let second = authors.of(&who);
        assert!(Rc::ptr_eq(&first, &second), "whatever the address");
        who.class = Some("meter".into());
        let other = authors.of(&who);
        assert!(!Rc::ptr_eq(&first, &other), "another class is another author");
        authors.release(&first);
        assert_eq!(authors.table.len(), 2, "the second message is still there");
        drop(second);
        authors.release(&first);
        authors.release(&other);
        assert_eq!((authors.table.len(), authors.bytes()), (0, 0));
    }
}
