//! What of it may they see?
//! Given a lens and the partner's bytes, hands back the bytes that are inside the right, by allow-list from the schema.
//! Never passes on what it does not understand, and never lets what is hidden change what is shown.

mod allow;

mod scan;

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::access::Lens;
use crate::account_api::{Endpoint, Field, Kind, shape};
use crate::token::bounds::Bound;

pub use allow::{Allow, BadPath};

use scan::{ARRAY, Broken, OBJECT, Scan, text_of};

/// A document that is not of the documented shape where it would be shown: nothing of it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the document is not of the documented shape")]
pub struct NotUnderstood;

impl From<Broken> for NotUnderstood {
    fn from(Broken: Broken) -> Self {
        Self
    }
}

/// A projection.
#[derive(Debug, PartialEq, Eq)]
pub struct Projected {
    /// The narrowed document.
    pub bytes: Vec<u8>,
    /// Fields that were withheld because no shape knows them.
    pub unknown: u32,
}

/// The document as the lens shows it.
///
/// Rows keep their order and values their text. Members stand in the schema's order, and those that are blanked are
/// always there, so that neither the place nor the absence of anything hidden tells of it. A row outside the bounds may hold
/// whatever it likes: nothing of it is judged but the one member that says whose it is.
///
/// # Errors
/// [`NotUnderstood`] if something that would be shown has another type than documented, or is there twice.
pub fn project(endpoint: Endpoint, lens: &Lens, allow: &Allow, document: &[u8]) -> Result<Projected, NotUnderstood> {
    let top = shape(endpoint).member;
    let mut projection =
        Projection { lens, whose: whose(endpoint, lens), out: Vec::with_capacity(document.len()), unknown: 0 };
    let mut scan = Scan::new(document);
    let mut found = false;
    if scan.peek() != Some(b'{') {
        return Err(NotUnderstood);
    }
    projection.write(b"{");
    scan.items(OBJECT, |scan| {
        if scan.name()?.as_deref() != Some(top.name) {
            projection.unknown += 1;
            scan.value()?;
            return Ok(());
        }
        if std::mem::replace(&mut found, true) {
            return Err(NotUnderstood);
        }
        projection.name(top.name);
        projection.top(scan, &top, allow.below(top.name))
    })?;
    projection.write(b"}");
    let whole = found && scan.is_over() && std::str::from_utf8(&projection.out).is_ok();
    if whole { Ok(Projected { bytes: projection.out, unknown: projection.unknown }) } else { Err(NotUnderstood) }
}

/// On which providers a project is, by a `client_projects` document; a row that names none counts as `None`.
///
/// # Errors
/// [`NotUnderstood`] if it is no list of projects.
pub fn providers_of<'d>(project: &str, document: &'d [u8]) -> Result<Vec<Option<Cow<'d, str>>>, NotUnderstood> {
    let top = shape(Endpoint::ClientProjects).member;
    let (mut scan, mut found, mut providers) = (Scan::new(document), false, Vec::new());
    scan.items(OBJECT, |scan| {
        if scan.name()?.as_deref() != Some(top.name) {
            scan.value()?;
            return Ok(());
        }
        if std::mem::replace(&mut found, true) {
            return Err(NotUnderstood);
        }
        scan.items(ARRAY, |scan| {
            let row = scan.value()?;
            let is_it = member(row, "id")?.is_some_and(|id| crate::account_api::same(&id, project));
            if is_it {
                providers.push(member(row, "provider")?);
            }
            Ok(())
        })
    })?;
    if found { Ok(providers) } else { Err(NotUnderstood) }
}

/// The one string member of this name; `None` if the row is no object, lacks it, has it twice, or has something else there.
fn member<'d>(row: &'d [u8], name: &str) -> Result<Option<Cow<'d, str>>, Broken> {
    let mut scan = Scan::new(row);
    let (mut value, mut times) = (None, 0);
    if scan.peek() == Some(b'{') {
        scan.items(OBJECT, |scan| {
            let found = scan.name()?.as_deref() == Some(name);
            let text = scan.value()?;
            if found {
                (value, times) = (text_of(text), times + 1);
            }
            Ok::<_, Broken>(())
        })?;
    }
    Ok(value.filter(|_| times == 1))
}

/// Which member says whose a row of the top is, and whose are shown.
type Whose<'l> = Option<(&'static str, &'l Bound)>;

fn whose(endpoint: Endpoint, lens: &Lens) -> Whose<'_> {
    let rows = match endpoint {
        Endpoint::Clients | Endpoint::Client => ("id", &lens.clients),
        Endpoint::ClientProviders | Endpoint::ClientResources | Endpoint::ProviderResources => ("id", &lens.providers),
        Endpoint::ClientProjects => ("provider", &lens.providers),
        Endpoint::ProjectResources => return None,
    };
    Some(rows).filter(|(_, bound)| !bound.is_all())
}

struct Projection<'l> {
    lens: &'l Lens,
    whose: Whose<'l>,
    out: Vec<u8>,
    unknown: u32,
}

/// A member as it was written: its place in the schema's order, allowed ones after the documented, and its bytes.
struct Member {
    place: usize,
    from: usize,
    to: usize,
}

type Members = SmallVec<[Member; 16]>;

/// Whether what was written is as documented.
type Well = bool;

impl Projection<'_> {
    /// The one documented member of a document, whose rows may be of others.
    fn top(&mut self, scan: &mut Scan<'_>, top: &Field, allow: &Allow) -> Result<(), NotUnderstood> {
        match (top.kind, scan.peek()) {
            (Kind::Rows(fields), Some(b'[')) => self.rows(scan, fields, allow),
            // A single document has nobody else's rows: one that is not of this right is not what was asked for.
            (Kind::Object(fields), Some(b'{')) => {
                let shown = self.row(scan, fields, allow)?;
                if shown { Ok(()) } else { Err(NotUnderstood) }
            }
            _ => Err(NotUnderstood),
        }
    }

    fn rows(&mut self, scan: &mut Scan<'_>, fields: &'static [Field], allow: &Allow) -> Result<(), NotUnderstood> {
        self.write(b"[");
        let begin = self.out.len();
        scan.items(ARRAY, |scan| {
            let before = self.out.len();
            self.comma(begin);
            if !self.row(scan, fields, allow)? {
                self.out.truncate(before);
            }
            Ok::<_, NotUnderstood>(())
        })?;
        self.write(b"]");
        Ok(())
    }

    /// One row of the top; `false` if it is outside the bounds. Whether it is well formed matters only if it is inside.
    fn row(&mut self, scan: &mut Scan<'_>, fields: &'static [Field], allow: &Allow) -> Result<bool, NotUnderstood> {
        let Some((name, bound)) = self.whose else { return self.document(scan, fields, allow).map(|()| true) };
        let row = scan.value()?;
        let inside = member(row, name)?.is_some_and(|id| bound.has(&id));
        if inside {
            self.document(&mut Scan::new(row), fields, allow)?;
        }
        Ok(inside)
    }

    fn document(&mut self, scan: &mut Scan<'_>, fields: &'static [Field], allow: &Allow) -> Result<(), NotUnderstood> {
        if scan.peek() == Some(b'{') && self.object(scan, fields, allow)? { Ok(()) } else { Err(NotUnderstood) }
    }

    fn object(&mut self, scan: &mut Scan<'_>, fields: &'static [Field], allow: &Allow) -> Result<Well, Broken> {
        self.write(b"{");
        let (begin, mut well) = (self.out.len(), true);
        let mut members = Members::new();
        scan.items(OBJECT, |scan| {
            let name = scan.name()?;
            let name = name.as_deref().unwrap_or_default();
            let from = self.comma(begin);
            let place = if let Some((place, field)) = fields.iter().enumerate().find(|(_, field)| field.name == name) {
                if !self.lens.hides(field) {
                    self.name(name);
                    well &= self.value(scan, field, allow.below(name))?;
                } else {
                    scan.value()?;
                    self.name(name);
                    self.blank(field.kind);
                }
                place
            } else if let Some(place) = allow.place_of(name) {
                self.name(name);
                let value = scan.value()?;
                self.write(value);
                fields.len() + place
            } else {
                self.unknown += 1;
                scan.value()?;
                self.out.truncate(from.saturating_sub(1).max(begin));
                return Ok(());
            };
            if members.iter().any(|member| member.place == place) {
                // What is hidden may be there as often as it likes.
                well &= fields.get(place).is_some_and(|field| self.lens.hides(field));
                self.out.truncate(from.saturating_sub(1).max(begin));
            } else {
                members.push(Member { place, from, to: self.out.len() });
            }
            Ok::<_, Broken>(())
        })?;
        for (place, field) in fields.iter().enumerate().filter(|(_, field)| self.lens.hides(field)) {
            if !members.iter().any(|member| member.place == place) {
                let from = self.comma(begin);
                self.name(field.name);
                self.blank(field.kind);
                members.push(Member { place, from, to: self.out.len() });
            }
        }
        self.put_in_order(begin, members);
        self.write(b"}");
        Ok(well)
    }

    /// The schema's order, whatever the partner's: most often it is the same, and nothing moves.
    fn put_in_order(&mut self, begin: usize, mut members: Members) {
        if members.is_sorted_by_key(|member| member.place) {
            return;
        }
        members.sort_by_key(|member| member.place);
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
    fn name(&mut self, name: &str) {
        self.write(b"\"");
        self.write(name.as_bytes());
        self.write(b"\":");
    }

    /// A comma, unless what is inside the brackets begins here; hands back where the next item begins.
    fn comma(&mut self, begin: usize) -> usize {
        if self.out.len() > begin {
            self.write(b",");
        }
        self.out.len()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests;
