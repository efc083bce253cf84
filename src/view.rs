//! What of it may they see?
//! Given a lens and the partner's bytes, hands back the bytes that are inside the right, by allow-list from the schema.
//! Never passes on what it does not understand, and never lets what is hidden change what is shown.

mod allow;

mod scan;

mod pen;

use std::borrow::Cow;

use crate::access::Lens;
use crate::account_api::{Endpoint, Field, Kind, shape};
use crate::token::bounds::Bound;

pub use allow::{Allow, BadPath};

use pen::Pen;
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
    let mut view = View { whose: whose(endpoint, lens), pen: Pen::new(lens, document.len()) };
    let mut scan = Scan::new(document);
    let mut found = false;
    if scan.peek() != Some(b'{') {
        return Err(NotUnderstood);
    }
    view.pen.write(b"{");
    scan.items(OBJECT, |scan| {
        if scan.name()?.as_deref() != Some(top.name) {
            view.pen.unknown += 1;
            scan.value()?;
            return Ok(());
        }
        if std::mem::replace(&mut found, true) {
            return Err(NotUnderstood);
        }
        view.pen.name(top.name);
        view.top(scan, &top, allow.below(top.name))
    })?;
    view.pen.write(b"}");
    let whole = found && scan.is_over() && std::str::from_utf8(&view.pen.out).is_ok();
    if whole { Ok(Projected { bytes: view.pen.out, unknown: view.pen.unknown }) } else { Err(NotUnderstood) }
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
type Whose<'l> = Option<(&'static str, Inside<'l>)>;

/// Whose rows are shown.
#[derive(Clone, Copy)]
enum Inside<'l> {
    /// Those inside a bound.
    Of(&'l Bound),
    /// One alone.
    One(&'l str),
}

impl Inside<'_> {
    fn has(self, id: &str) -> bool {
        match self {
            Self::Of(bound) => bound.has(id),
            Self::One(one) => crate::account_api::same(one, id),
        }
    }
}

fn whose(endpoint: Endpoint, lens: &Lens) -> Whose<'_> {
    let rows = match endpoint {
        Endpoint::Clients | Endpoint::Client => ("id", &lens.clients),
        Endpoint::ClientProviders | Endpoint::ClientResources | Endpoint::ProviderResources => ("id", &lens.providers),
        Endpoint::ClientProjects => ("provider", &lens.providers),
        Endpoint::ProjectResources => return lens.project.as_deref().map(|one| ("id", Inside::One(one))),
    };
    Some(rows).filter(|(_, bound)| !bound.is_all()).map(|(name, bound)| (name, Inside::Of(bound)))
}

/// A view in the making.
struct View<'l> {
    whose: Whose<'l>,
    pen: Pen<'l>,
}

impl View<'_> {
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
        self.pen.write(b"[");
        let begin = self.pen.out.len();
        scan.items(ARRAY, |scan| {
            let before = self.pen.out.len();
            self.pen.comma(begin);
            if !self.row(scan, fields, allow)? {
                self.pen.out.truncate(before);
            }
            Ok::<_, NotUnderstood>(())
        })?;
        self.pen.write(b"]");
        Ok(())
    }

    /// One row of the top; `false` if it is outside the bounds. Whether it is well formed matters only if it is inside.
    fn row(&mut self, scan: &mut Scan<'_>, fields: &'static [Field], allow: &Allow) -> Result<bool, NotUnderstood> {
        let Some((name, shown)) = self.whose else { return self.document(scan, fields, allow).map(|()| true) };
        let row = scan.value()?;
        let inside = member(row, name)?.is_some_and(|id| shown.has(&id));
        if inside {
            self.document(&mut Scan::new(row), fields, allow)?;
        }
        Ok(inside)
    }

    fn document(&mut self, scan: &mut Scan<'_>, fields: &'static [Field], allow: &Allow) -> Result<(), NotUnderstood> {
        if scan.peek() == Some(b'{') && self.pen.object(scan, fields, allow)? { Ok(()) } else { Err(NotUnderstood) }
    }
}

#[cfg(test)]
mod tests;
