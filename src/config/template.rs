//! May this path be an extra route?
//! Given a template, hands it back, or the reason against it; given two, whether one is a way round the other.
//! Never lets a route reach the partner's administration or cover the gateway's own doors.

/// Folders no extra route may be in or cover.
const RESERVED: [(&[&str], &str); 4] = [
    (&["reseller", "admin"], "`/reseller/admin/` can never be routed"),
    (&["oauth"], "`/oauth/` is the gateway's own"),
    (&[".well-known"], "`/.well-known/` is the gateway's own"),
    (&["-"], "`/-/` is the gateway's own"),
];

/// A template: `/` and segments, each literal or `{name}`, the last maybe `{*rest}`.
pub(super) fn read(text: &str) -> Result<String, String> {
    let Some(path) = text.strip_prefix('/') else { return Err("a path starts with `/`".to_owned()) };
    let segments: Vec<&str> = path.split('/').collect();
    let last = segments.len().saturating_sub(1);
    for (index, segment) in segments.iter().enumerate() {
        let well = match part(segment) {
            Part::Rest => index == last,
            Part::Any => true,
            Part::Literal => index == last || !segment.is_empty(),
            Part::Bad => false,
        };
        if !well {
            return Err("a path has literal segments, `{name}` segments, and maybe `{*rest}` at the end".to_owned());
        }
    }
    match RESERVED.iter().find(|(folder, _)| reaches(&segments, folder)) {
        Some((_, reason)) => Err(format!("{reason}, and this path would reach it")),
        None => matchit::Router::new()
            .insert(text, ())
            .map(|()| text.to_owned())
            .map_err(|_| "this path cannot be matched: a name stands in it twice, or a brace is open".to_owned()),
    }
}

enum Part {
    Literal,
    Any,
    Rest,
    Bad,
}

fn part(segment: &str) -> Part {
    let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let named =
        |name: &str| !name.is_empty() && name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
    match name.map(|name| name.strip_prefix('*').map_or((false, name), |name| (true, name))) {
        Some((true, name)) if named(name) => Part::Rest,
        Some((false, name)) if named(name) => Part::Any,
        Some(_) => Part::Bad,
        // Escapes are refused: a partner that decodes them could read another path than we do.
        None => {
            let allowed = |letter: u8| letter.is_ascii_alphanumeric() || b"-._~".contains(&letter);
            let dots = segment == "." || segment == "..";
            if segment.bytes().all(allowed) && !dots { Part::Literal } else { Part::Bad }
        }
    }
}

/// Whether some path that the template matches is the folder or below it.
fn reaches(template: &[&str], folder: &[&str]) -> bool {
    let mut segments = template.iter();
    folder.iter().all(|wanted| match segments.next().map(|segment| (part(segment), segment)) {
        Some((Part::Any, _)) => true,
        Some((Part::Rest, _)) => {
            // The rest matches whatever comes: stay on it.
            segments = [].iter();
            true
        }
        Some((_, segment)) => segment.eq_ignore_ascii_case(wanted),
        None => template.last().is_some_and(|last| matches!(part(last), Part::Rest)),
    })
}

/// Whether some path of `template`, with other letter case in its literals, is one of `other`. Whoever does not tell letter
/// cases apart serves the same there, and the scope of `other` opens it.
pub(super) fn is_passed_by(template: &str, other: &str) -> bool {
    let cased = |segment: &str| {
        matches!(part(segment), Part::Literal) && segment.bytes().any(|letter| letter.is_ascii_alphabetic())
    };
    let (mut ours, mut theirs) = (template.split('/'), other.split('/'));
    let mut differs = false;
    loop {
        let (segment, their) = match (ours.next(), theirs.next()) {
            (Some(segment), Some(their)) => (segment, their),
            (None, None) => return differs,
            _ => return false,
        };
        match (part(segment), part(their)) {
            (_, Part::Rest) => return differs || cased(segment) || ours.any(cased),
            (Part::Rest, _) => return differs,
            (Part::Literal, Part::Any) => differs |= cased(segment),
            (Part::Literal, _) if !segment.eq_ignore_ascii_case(their) => return false,
            (Part::Literal, _) => differs |= segment != their,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_another_version_are_routes() {
        for path in
            ["/reseller/account/v2/clients/{*rest}", "/a", "/a/", "/a/{b}/c", "/reseller/{x}", "/reseller/x/{y}/"]
        {
            let reserved = path == "/reseller/{x}";
            assert_eq!(read(path).is_err(), reserved, "{path}");
        }
    }

    #[test]
    fn no_path_reaches_administration_or_our_own_doors() {
        for path in [
            "/reseller/admin/",
            "/reseller/admin",
            "/reseller/admin/x",
            "/Reseller/ADMIN/{x}",
            "/{*rest}",
            "/{a}/{b}",
            "/{a}/{b}/x",
            "/reseller/{*rest}",
            "/reseller/{x}/{y}",
            "/{a}/admin/x",
            "/oauth",
            "/oauth/{*rest}",
            "/.well-known/x",
            "/-/me",
            "/{x}",
            "/-",
        ] {
            let reason = read(path).unwrap_err();
            assert!(reason.contains("would reach it"), "{path}: {reason}");
        }
    }

    /// `/v2/LIT/x` led to `/v2/{a}/x`, whose scope is another, while the partner served what `/v2/lit/x` is.
    #[test]
    fn a_literal_is_passed_by_where_its_other_letter_case_fills_another_template() {
        for (template, other, expected) in [
            ("/v2/lit/x", "/v2/{a}/x", true),
            ("/v2/lit/x", "/v2/{*rest}", true),
            ("/v2/lit/{b}", "/v2/{*rest}", true),
            ("/v2/{a}/x", "/v2/{*rest}", true),
            ("/v2/lit", "/v2/LIT", true),
            ("/v2/lit/{*rest}", "/v2/{a}/x", true),
            ("/v2/lit/{*rest}", "/v2/{a}/{*b}", true),
            ("/v2/lit/", "/v2/{a}/", true),
            ("/v2/{a}/x", "/v2/lit/x", false),
            ("/v2/{*rest}", "/v2/lit/x", false),
            ("/v2/1/x", "/v2/{a}/x", false),
            ("/v2/1", "/v2/{*rest}", false),
            ("/v2/lit/x", "/v2/{a}/y", false),
            ("/v2/lit/x", "/v2/{a}", false),
            ("/v2/lit/x", "/v3/{a}/x", false),
            ("/v2/lit/x", "/v2/lit/x/y", false),
            ("/v2/lit", "/v2/{a}/", false),
            ("/v2/x/{a}", "/v2/x/{*rest}", false),
        ] {
            assert_eq!(is_passed_by(template, other), expected, "{template} by {other}");
        }
    }

    #[test]
    fn a_path_is_literal_but_for_named_segments() {
        for path in [
            "",
            "a",
            "//",
            "/a//b",
            "/a/../b",
            "/a/.",
            "/a%2fb",
            "/a/{*rest}/b",
            "/a/{",
            "/a/{}",
            "/a/x{y}",
            "/a?b",
            "/a/{x}/{x",
        ] {
            assert!(read(path).is_err(), "{path}");
        }
    }
}
