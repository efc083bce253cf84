//! What is the partner's API?
//! Given an endpoint or the segments of a path, hands back templates, ids and the documented shape of its document.
//! Never does I/O, and never judges an id: whether it exists is the partner's word.

use http::HeaderName;

/// What every path of the API begins with.
pub const PREFIX: &str = "/reseller/account/v1";

/// The port of every call, unless an address names another.
pub const DEFAULT_PORT: u16 = 9534;

/// The header that carries the partner's key, as header names are compared: in lower case.
pub const KEY_HEADER: &str = "x-reseller-api-key";

/// The same as a name.
pub const API_KEY: HeaderName = HeaderName::from_static(KEY_HEADER);

/// One of the seven documented endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Endpoint {
    /// All clients of the reseller.
    Clients,
    /// One client.
    Client,
    /// The providers a client uses, and its projects on each.
    ClientProviders,
    /// The projects of a client.
    ClientProjects,
    /// What a client uses, by provider and project.
    ClientResources,
    /// What a client uses on one provider, by project.
    ProviderResources,
    /// What a client uses in one project.
    ProjectResources,
}

/// The ids a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ids<'a> {
    /// The client, for every endpoint but [`Endpoint::Clients`].
    pub client: Option<&'a str>,
    /// The provider of [`Endpoint::ProviderResources`] or the project of [`Endpoint::ProjectResources`].
    pub inner: Option<&'a str>,
}

impl Endpoint {
    /// All seven, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Clients,
        Self::Client,
        Self::ClientProviders,
        Self::ClientProjects,
        Self::ClientResources,
        Self::ProviderResources,
        Self::ProjectResources,
    ];

    /// Its name in configuration, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Client => "client",
            Self::ClientProviders => "client_providers",
            Self::ClientProjects => "client_projects",
            Self::ClientResources => "client_resources",
            Self::ProviderResources => "provider_resources",
            Self::ProjectResources => "project_resources",
        }
    }

    /// Its path below [`PREFIX`], with the names of its ids in braces.
    pub const fn template(self) -> &'static str {
        match self {
            Self::Clients => "/clients/",
            Self::Client => "/clients/{client_id}/",
            Self::ClientProviders => "/clients/{client_id}/providers/",
            Self::ClientProjects => "/clients/{client_id}/projects/",
            Self::ClientResources => "/clients/{client_id}/resources/",
            Self::ProviderResources => "/clients/{client_id}/providers/{provider_id}/resources/",
            Self::ProjectResources => "/clients/{client_id}/projects/{project_id}/resources/",
        }
    }

    /// Finds the endpoint whose template the segments below [`PREFIX`] fill; none of them may be empty.
    pub fn match_segments<'a>(segments: &[&'a str]) -> Option<(Self, Ids<'a>)> {
        let (endpoint, client, inner) = match *segments {
            ["clients"] => (Self::Clients, None, None),
            ["clients", client] => (Self::Client, Some(client), None),
            ["clients", client, "providers"] => (Self::ClientProviders, Some(client), None),
            ["clients", client, "projects"] => (Self::ClientProjects, Some(client), None),
            ["clients", client, "resources"] => (Self::ClientResources, Some(client), None),
            ["clients", client, "providers", inner, "resources"] => {
                (Self::ProviderResources, Some(client), Some(inner))
            }
            ["clients", client, "projects", inner, "resources"] => (Self::ProjectResources, Some(client), Some(inner)),
            _ => return None,
        };
        Some((endpoint, Ids { client, inner }))
    }

    /// Whether its documents hold fields marked personal.
    pub fn holds_personal_data(self) -> bool {
        matches!(self, Self::Clients | Self::Client)
    }
}

/// An identifier of the partner's objects as it is compared and sent: 1 to 64 letters, digits, `_` or `-`, and UUIDs in
/// lower case; `None` for anything else.
pub fn identifier(text: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let well = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
    well.then(|| if is_uuid(text.as_bytes()) { text.to_ascii_lowercase() } else { text.to_owned() })
}

/// Whether two identifiers name the same object.
pub fn same(one: &str, other: &str) -> bool {
    one == other || (is_uuid(one.as_bytes()) && one.eq_ignore_ascii_case(other))
}

/// Whether it has the form of a UUID (RFC 9562 §4), in any letter case.
pub fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The 128 bits of a UUID written in lower case; `None` for any other text.
pub fn uuid_bits(text: &[u8]) -> Option<[u8; 16]> {
    let [a, b, c, d, e, f, g, h, b'-', i, j, k, l, b'-', m, n, o, p, b'-', q, r, s, t, b'-', last @ ..] = text else {
        return None;
    };
    let &[u, v, w, x, ends @ ..]: &[u8; 12] = last.try_into().ok()?;
    let words =
        [[*a, *b, *c, *d, *e, *f, *g, *h], [*i, *j, *k, *l, *m, *n, *o, *p], [*q, *r, *s, *t, u, v, w, x], ends];
    let mut bits = 0;
    for word in words {
        bits = bits << 32 | u128::from(hexadecimal(word)?);
    }
    Some(bits.to_be_bytes())
}

/// Eight digits at once, as every hit on one of the seven pays for it.
fn hexadecimal(digits: [u8; 8]) -> Option<u32> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let text = u64::from_be_bytes(digits);
    // The low half of each byte; letters, which bit 6 tells, are 9 more.
    let values = (text & (0x0f * EACH)) + 9 * ((text >> 6) & EACH);
    let letters = ((values + (0x80 - 10) * EACH) >> 7) & EACH;
    // Only digits and lower-case letters come out as they went in; a `g` would be 16.
    if values & (0xf0 * EACH) != 0 || values + u64::from(b'0') * EACH + u64::from(b'a' - b'0' - 10) * letters != text {
        return None;
    }
    let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let words = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((words | words >> 16) as u32)
}

/// The text of a UUID, in lower case.
pub fn uuid_text(bits: &[u8; 16]) -> [u8; 36] {
    let mut text = [b'-'; 36];
    for (bits, at) in bits.iter().zip(UUID_PAIRS) {
        if let Some(pair) = text.get_mut(at..at + 2) {
            data_encoding::HEXLOWER.encode_mut(&[*bits], pair);
        }
    }
    text
}

/// Where each pair of digits begins in a UUID's text.
const UUID_PAIRS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// One documented member of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name in the document.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Whether it tells who a person is or where they can be found.
    pub personal: bool,
    /// Whether it names projects without saying on which provider they are.
    pub unplaced: bool,
}

impl Field {
    /// Whether it is personal, or holds nothing that is not.
    pub fn is_personal(&self) -> bool {
        match self.kind {
            Kind::Object(fields) | Kind::Rows(fields) => fields.iter().all(Self::is_personal),
            _ => self.personal,
        }
    }
}

/// What the value of a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A string, often an empty one.
    String,
    /// A string, or `null` where there is nothing to say.
    NullableString,
    /// A whole number.
    Integer,
    /// An array of strings.
    StringArray,
    /// An object of these fields.
    Object(&'static [Field]),
    /// An array of objects of these fields.
    Rows(&'static [Field]),
}

/// The shape of a whole document: an object with this one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The one member.
    pub member: Field,
}

/// The documented shape of what an endpoint answers with.
pub fn shape(endpoint: Endpoint) -> &'static Shape {
    match endpoint {
        Endpoint::Clients => const { &Shape { member: field("clients", Kind::Rows(CLIENT_FIELDS)) } },
        Endpoint::Client => const { &Shape { member: field("client", Kind::Object(CLIENT_FIELDS)) } },
        Endpoint::ClientProviders => const { &Shape { member: field("providers", Kind::Rows(PROVIDER_FIELDS)) } },
        Endpoint::ClientProjects => const { &Shape { member: field("projects", Kind::Rows(PROJECT_FIELDS)) } },
        Endpoint::ClientResources => const { &Shape { member: field("providers", Kind::Rows(USED_PROVIDER_FIELDS)) } },
        Endpoint::ProviderResources => {
            const { &Shape { member: field("provider", Kind::Object(USED_PROVIDER_FIELDS)) } }
        }
        Endpoint::ProjectResources => const { &Shape { member: field("project", Kind::Object(USED_PROJECT_FIELDS)) } },
    }
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, personal: false, unplaced: false }
}

const fn text(name: &'static str) -> Field {
    field(name, Kind::String)
}

const fn personal(name: &'static str) -> Field {
    Field { name, kind: Kind::String, personal: true, unplaced: false }
}

const fn unplaced(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, personal: false, unplaced: true }
}

/// A client, in `clients` and in `client`.
pub const CLIENT_FIELDS: &[Field] = &[
    field("activated", Kind::Bool),
    text("billing_status"),
    text("date_created"),
    field("date_deleted", Kind::NullableString),
    field("date_first_activation", Kind::NullableString),
    unplaced("default_project_id", Kind::String),
    field("deleted", Kind::Bool),
    personal("email"),
    text("id"),
    unplaced("projects", Kind::StringArray),
    text("reseller_id"),
    personal("signup_ip_address"),
    field("validated", Kind::Bool),
    field("client_information", Kind::Object(CLIENT_INFORMATION_FIELDS)),
];

/// What the document calls private of a client: all of it is personal.
pub const CLIENT_INFORMATION_FIELDS: &[Field] = &[
    personal("first_name"),
    personal("last_name"),
    personal("company"),
    personal("address_1"),
    personal("address_2"),
    personal("city"),
    personal("state"),
    personal("country"),
    personal("zip_code"),
    personal("phone"),
    personal("phone_extension"),
    personal("language"),
];

/// A project, in `projects`: `provider` is the id of the provider it is on.
pub const PROJECT_FIELDS: &[Field] = &[text("id"), text("provider"), text("name")];

/// A provider with the client's projects on it.
pub const PROVIDER_FIELDS: &[Field] =
    &[text("id"), text("name"), field("projects", Kind::Rows(&[text("id"), text("name")]))];

/// A provider with the client's projects on it and what each uses.
pub const USED_PROVIDER_FIELDS: &[Field] =
    &[text("id"), text("name"), field("projects", Kind::Rows(USED_PROJECT_FIELDS))];

/// A project with what it uses.
pub const USED_PROJECT_FIELDS: &[Field] =
    &[text("id"), text("name"), field("resources", Kind::Object(RESOURCES_FIELDS))];

/// The members of `resources`, in the document's order.
pub const RESOURCE_KINDS: [&str; 9] = [
    "dns_zones",
    "floating_ips",
    "load_balancers",
    "object_storage",
    "server_snapshots",
    "servers",
    "volume_snapshots",
    "volumes",
    "vpn_site_connections",
];

const END: Field = field("end_date", Kind::NullableString);
const START: Field = text("start_date");

/// What a project uses: arrays, but for `object_storage`, of which a project has one.
pub const RESOURCES_FIELDS: &[Field] = &[
    field("dns_zones", Kind::Rows(&[END, text("id"), text("name"), START])),
    field("floating_ips", Kind::Rows(&[END, text("id"), text("ip_address"), START])),
    field("load_balancers", Kind::Rows(&[END, text("id"), text("name"), START])),
    field(
        "object_storage",
        Kind::Object(&[
            field("bytes_used", Kind::Integer),
            field("container_count", Kind::Integer),
            field("object_count", Kind::Integer),
            text("sample_date"),
        ]),
    ),
    field(
        "server_snapshots",
        Kind::Rows(&[END, text("id"), text("name"), text("server_id"), field("size_bytes", Kind::Integer), START]),
    ),
    field("servers", Kind::Rows(&[END, text("flavor"), text("id"), text("name"), START])),
    field(
        "volume_snapshots",
        Kind::Rows(&[END, text("id"), text("name"), field("size_gb", Kind::Integer), START, text("volume_id")]),
    ),
    field(
        "volumes",
        Kind::Rows(&[END, text("id"), text("name"), field("size_gb", Kind::Integer), START, text("volume_type")]),
    ),
    field("vpn_site_connections", Kind::Rows(&[END, text("id"), text("name"), START])),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn holds_personal(fields: &[Field]) -> bool {
        fields.iter().any(|field| {
            field.personal
                || match field.kind {
                    Kind::Object(inner) | Kind::Rows(inner) => holds_personal(inner),
                    _ => false,
                }
        })
    }

    #[test]
    fn every_template_matches_its_own_endpoint() {
        for (number, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            let segments: Vec<_> = endpoint.template().split('/').filter(|segment| !segment.is_empty()).collect();
            let (found, ids) = Endpoint::match_segments(&segments).unwrap();
            assert_eq!(found, endpoint);
            assert_eq!(endpoint as usize, number);
            assert_eq!(ids.client.is_some(), endpoint.template().contains("{client_id}"));
            assert_eq!(ids.inner, segments.iter().skip(2).find(|segment| segment.starts_with('{')).copied());
        }
    }

    proptest::proptest! {
        #[test]
        fn a_uuid_comes_back_from_its_bits(bits in proptest::array::uniform16(proptest::num::u8::ANY)) {
            let text = uuid_text(&bits);
            proptest::prop_assert!(is_uuid(&text));
            proptest::prop_assert_eq!(uuid_bits(&text), Some(bits));
        }

        #[test]
        fn what_is_no_uuid_in_lower_case_has_no_bits(at in 0..36_usize, byte: u8) {
            let mut text = uuid_text(&[0xa5; 16]);
            text[at] = byte;
            let well = is_uuid(&text) && !byte.is_ascii_uppercase();
            proptest::prop_assert_eq!(uuid_bits(&text).is_some(), well, "{:?}", String::from_utf8_lossy(&text));
            proptest::prop_assert_eq!(uuid_bits(&text[..35]), None);
        }
    }

    #[test]
    fn segments_that_fill_no_template_match_nothing() {
        let paths: [&[&str]; 6] = [
            &[],
            &["client"],
            &["clients", "a", "servers"],
            &["clients", "a", "providers", "b"],
            &["clients", "a", "resources", "b", "resources"],
            &["clients", "a", "projects", "b", "resources", "c"],
        ];
        for segments in paths {
            assert_eq!(Endpoint::match_segments(segments), None, "{segments:?}");
        }
    }

    #[test]
    fn personal_fields_are_where_personal_data_is_said_to_be() {
        for endpoint in Endpoint::ALL {
            assert_eq!(holds_personal(&[shape(endpoint).member]), endpoint.holds_personal_data(), "{endpoint:?}");
        }
        assert!(CLIENT_INFORMATION_FIELDS.iter().all(|field| field.personal && field.kind == Kind::String));
    }

    #[test]
    fn the_nine_kinds_are_the_fields_of_resources() {
        assert!(RESOURCES_FIELDS.iter().map(|field| field.name).eq(RESOURCE_KINDS));
    }
}
