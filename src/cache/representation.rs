//! In which other forms is an entry kept?
//! Given an entry and a right and coding, hands back the form that was made for them; dropped with the entry.
//! Never makes a form, never takes a lock: the list only grows, up to a bound.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::access::Right;

use super::tag::Tag;

/// How many narrowed rights are kept of one entry; further ones are made for each request.
pub const MOST_RIGHTS: usize = 16;

/// Each of them and the full right, in each coding.
const MOST_FACES: usize = 2 * (MOST_RIGHTS + 1);

/// How the bytes of an answer are coded (RFC 9110 §8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// As they are.
    Identity,
    /// gzip.
    Gzip,
}

/// One form of an entry: what one right sees of it, in one coding.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The bytes.
    pub bytes: Bytes,
    /// Their tag.
    pub tag: Tag,
}

/// The forms of an entry besides its own bytes: a chain whose links are set once, so that reading needs no lock.
#[derive(Debug, Default)]
pub(super) struct Representations(OnceLock<Box<Representation>>);

#[derive(Debug)]
struct Representation {
    right: Right,
    coding: Coding,
    rendered: Rendered,
    next: Representations,
}

impl Representations {
    /// The form made for this right and coding.
    pub(super) fn find(&self, right: Right, coding: Coding) -> Option<&Rendered> {
        self.iter().find(|face| face.right == right && face.coding == coding).map(|face| &face.rendered)
    }

    /// Keeps a form and says so; of two made at once the first stays, and beyond the bound none does.
    pub(super) fn keep(&self, right: Right, coding: Coding, rendered: &Rendered) -> bool {
        let mut new = Box::new(Representation { right, coding, rendered: rendered.clone(), next: Self::default() });
        let mut end = self;
        let (mut faces, mut rights, mut known) = (0, 0, right == Right::FULL);
        loop {
            while let Some(face) = end.0.get() {
                if face.right == right && face.coding == coding {
                    return false;
                }
                known |= face.right == right;
                rights += usize::from(face.right != Right::FULL && face.coding == Coding::Identity);
                faces += 1;
                end = &face.next;
            }
            if (rights >= MOST_RIGHTS && !known) || faces >= MOST_FACES {
                return false;
            }
            match end.0.set(new) {
                Ok(()) => return true,
                // Somebody else was first at this link: on to the next.
                Err(back) => new = back,
            }
        }
    }

    /// The forms of one right alone.
    pub(super) fn of(&self, right: Right) -> Self {
        let faces = Self::default();
        for face in self.iter().filter(|face| face.right == right) {
            faces.keep(right, face.coding, &face.rendered);
        }
        faces
    }

    /// Bytes that all forms hold.
    pub(super) fn bytes(&self) -> usize {
        self.iter().map(|face| std::mem::size_of::<Representation>() + face.rendered.bytes.len()).sum()
    }

    fn iter(&self) -> impl Iterator<Item = &Representation> {
        std::iter::successors(self.0.get(), |face| face.next.0.get()).map(Box::as_ref)
    }
}
