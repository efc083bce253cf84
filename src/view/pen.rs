//! How is one object written as a lens shows it?
//! Given a position in a document and the documented fields, writes what is documented, blanks what is hidden, drops the rest.
//! Never decides whose a row is, and goes on after a fault: the one who asked knows whether it matters.

use smallvec::SmallVec;

use crate::access::Lens;
use crate::account_api::{Field, Kind};

use super::allow::Allow;
use super::scan::{ARRAY, Broken, OBJECT, Scan};

/// What is written so far.
pub(super) struct Pen<'l> {
    lens: &'l Lens,
    /// The bytes.
    pub(super) out: Vec<u8>,
    /// Fields that no shape knows.
    pub(super) unknown: u32,
}

/// A member as it was written: its place in the schema's order, allowed ones after the documented, and its bytes.
struct Member {
    position: usize,
    from: usize,
    to: usize,
}

type Members = SmallVec<[Member; 16]>;

/// Whether what was written is as documented.
pub(super) type Well = bool;

impl<'l> Pen<'l> {
    pub(super) fn new(lens: &'l Lens, room: usize) -> Self {
        Self { lens, out: Vec::with_capacity(room), unknown: 0 }
    }

    /// Writes an object of these fields, each at most once, and those that are hidden always.
    pub(super) fn object(
        &mut self,
        scan: &mut Scan<'_>,
        fields: &'static [Field],
        allow: &Allow,
    ) -> Result<Well, Broken> {
        self.write(b"{");
        let (begin, mut well) = (self.out.len(), true);
        let mut members = Members::new();
        scan.items(OBJECT, |scan| {
            let name = scan.name()?;
            let name = name.as_deref().unwrap_or_default();
            let from = self.comma(begin);
            let position =
                if let Some((position, field)) = fields.iter().enumerate().find(|(_, field)| field.name == name) {
                    if !self.lens.hides(field) {
                        self.name(name);
                        well &= self.value(scan, field, allow.below(name))?;
                    } else {
                        scan.value()?;
                        self.name(name);
                        self.blank(field.kind);
                    }
                    position
                } else if let Some(position) = allow.position_of(name) {
                    self.name(name);
                    let value = scan.value()?;
                    self.write(value);
                    fields.len() + position
                } else {
                    self.unknown += 1;
                    scan.value()?;
                    self.out.truncate(from.saturating_sub(1).max(begin));
                    return Ok(());
                };
            if members.iter().any(|member| member.position == position) {
                // What is hidden may be there as often as it likes.
                well &= fields.get(position).is_some_and(|field| self.lens.hides(field));
                self.out.truncate(from.saturating_sub(1).max(begin));
            } else {
                members.push(Member { position, from, to: self.out.len() });
            }
            Ok::<_, Broken>(())
        })?;
        for (position, field) in fields.iter().enumerate().filter(|(_, field)| self.lens.hides(field)) {
            if !members.iter().any(|member| member.position == position) {
                let from = self.comma(begin);
                self.name(field.name);
                self.blank(field.kind);
                members.push(Member { position, from, to: self.out.len() });
            }
        }
        self.put_in_order(begin, members);
        self.write(b"}");
        Ok(well)
    }

    /// The schema's order, whatever the partner's: most often it is the same, and nothing moves.
    fn put_in_order(&mut self, begin: usize, mut members: Members) {
        if members.is_sorted_by_key(|member| member.position) {
            return;
        }
        members.sort_by_key(|member| member.position);
        let written = self.out.split_off(begin);
        for member in members {
            self.comma(begin);
            self.write(written.get(member.from - begin..member.to - begin).unwrap_or_default());
        }
    }

    fn value(&mut self, scan: &mut Scan<'_>, field: &Field, allow: &Allow) -> Result<Well, Broken> {
        let next = scan.peek();
        match (field.kind, next) {
            (Kind::Object(fields), Some(b'{')) => return self.object(scan, fields, allow),
            (Kind::Rows(fields), Some(b'[')) => return self.nested_rows(scan, fields, allow),
            (Kind::StringArray, Some(b'[')) => return self.strings(scan),
            _ => {}
        }
        let value = scan.value()?;
        self.write(value);
        Ok(match field.kind {
            // The document knows no null in most places; a partner that has nothing to say says it there too.
            _ if value == b"null" => true,
            Kind::Bool => matches!(value, b"true" | b"false"),
            Kind::String | Kind::NullableString => next == Some(b'"'),
            Kind::Integer => next.is_some_and(|byte| byte == b'-' || byte.is_ascii_digit()),
            Kind::StringArray | Kind::Object(_) | Kind::Rows(_) => false,
        })
    }

    fn nested_rows(&mut self, scan: &mut Scan<'_>, fields: &'static [Field], allow: &Allow) -> Result<Well, Broken> {
        self.write(b"[");
        let (begin, mut well) = (self.out.len(), true);
        scan.items(ARRAY, |scan| {
            self.comma(begin);
            if scan.peek() == Some(b'{') {
                well &= self.object(scan, fields, allow)?;
            } else {
                scan.value()?;
                well = false;
            }
            Ok::<_, Broken>(())
        })?;
        self.write(b"]");
        Ok(well)
    }

    fn strings(&mut self, scan: &mut Scan<'_>) -> Result<Well, Broken> {
        self.write(b"[");
        let (begin, mut well) = (self.out.len(), true);
        scan.items(ARRAY, |scan| {
            self.comma(begin);
            well &= scan.peek() == Some(b'"');
            let value = scan.value()?;
            self.write(value);
            Ok::<_, Broken>(())
        })?;
        self.write(b"]");
        Ok(well)
    }

    /// What stands where something is hidden, whatever it is.
    fn blank(&mut self, kind: Kind) {
        match kind {
            Kind::String | Kind::NullableString => self.write(b"\"\""),
            Kind::StringArray | Kind::Rows(_) => self.write(b"[]"),
            Kind::Bool => self.write(b"false"),
            Kind::Integer => self.write(b"0"),
            Kind::Object(fields) => {
                self.write(b"{");
                let begin = self.out.len();
                for field in fields {
                    self.comma(begin);
                    self.name(field.name);
                    self.blank(field.kind);
                }
                self.write(b"}");
            }
        }
    }

    /// A name of the schema or of the allow-list: neither holds what JSON would escape.
    pub(super) fn name(&mut self, name: &str) {
        self.write(b"\"");
        self.write(name.as_bytes());
        self.write(b"\":");
    }

    /// A comma, unless what is inside the brackets begins here; hands back where the next item begins.
    pub(super) fn comma(&mut self, begin: usize) -> usize {
        if self.out.len() > begin {
            self.write(b",");
        }
        self.out.len()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}
