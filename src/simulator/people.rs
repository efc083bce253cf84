//! What is written about a client?
//! Given the world and a client's number, hands back the client as the document shows it.
//! Never leads to anybody: domains and networks are those reserved for documentation (RFC 2606, RFC 5737).

use serde::Serialize;

use super::draws::date;
use super::world::World;

// 2016-01-01T00:00:00Z; fixed, since the same seed must tell the same tomorrow.
const FOUNDED: u64 = 1_451_606_400_000_000;

/// A client with every documented field, and one more: a real partner adds fields without asking.
#[derive(Debug, Serialize)]
pub(super) struct Client<'w> {
    activated: bool,
    billing_status: &'static str,
    date_created: String,
    date_deleted: Option<String>,
    date_first_activation: Option<String>,
    default_project_id: String,
    deleted: bool,
    email: String,
    id: String,
    projects: Vec<String>,
    reseller_id: &'w str,
    signup_ip_address: String,
    validated: bool,
    client_information: ClientInformation,
    is_test_account: bool,
}

#[derive(Debug, Serialize)]
struct ClientInformation {
    first_name: &'static str,
    last_name: &'static str,
    company: String,
    address_1: String,
    address_2: String,
    city: &'static str,
    state: &'static str,
    country: &'static str,
    zip_code: String,
    phone: String,
    phone_extension: String,
    language: &'static str,
}

impl<'w> Client<'w> {
    /// The client of this number.
    pub(super) fn of(world: &'w World, number: u64) -> Self {
        let mut draws = world.draws_of_client(number);
        let projects: Vec<_> = world.projects(number).into_iter().map(|project| project.id).collect();
        let created = draws.within_days(FOUNDED, 9 * 365) + draws.between(0, 1000);
        let validated = draws.chance(94);
        let activated = validated && draws.chance(93);
        // The document's examples show activated clients without that date.
        let known_activation = draws.chance(15);
        let deleted = draws.chance(4);
        let first_activation = draws.within_days(created, 5);
        let end = draws.within_days(first_activation, 700);
        let (first_name, local_part) = draws.pick(&FIRST_NAMES);
        let (last_name, host) = draws.pick(&LAST_NAMES);
        let network = draws.pick(&["192.0.2", "198.51.100", "203.0.113"]);
        let company = if draws.chance(33) { format!("{last_name} {}", draws.pick(&TRADES)) } else { String::new() };
        let (city, state, country, language, zip_code) = draws.pick(&ADDRESSES);
        Self {
            activated,
            billing_status: if activated { draws.pick(&BILLING) } else { "PENDING" },
            date_created: date(created),
            date_deleted: deleted.then(|| date(end)),
            date_first_activation: (activated && known_activation).then(|| date(first_activation)),
            default_project_id: projects.first().cloned().unwrap_or_default(),
            deleted,
            email: format!("{local_part}@{host}.example"),
            id: world.client_id(number),
            projects,
            reseller_id: world.reseller_id(),
            signup_ip_address: if draws.chance(60) {
                format!("{network}.{}", draws.between(1, 255))
            } else {
                String::new()
            },
            validated,
            client_information: ClientInformation {
                first_name,
                last_name,
                company,
                address_1: format!("{} {}", draws.between(1, 200), draws.pick(&STREETS)),
                address_2: if draws.chance(5) { format!("Floor {}", draws.between(1, 30)) } else { String::new() },
                city,
                state,
                country,
                zip_code: format!("{zip_code}{:02}", draws.between(0, 100)),
                phone: format!("555 01{:02}", draws.between(0, 100)),
                phone_extension: if draws.chance(10) { draws.between(10, 100).to_string() } else { String::new() },
                language,
            },
            is_test_account: draws.chance(5),
        }
    }
}

// Most pay, some do not: repeated entries are the odds.
const BILLING: [&str; 8] = ["VALID", "VALID", "VALID", "VALID", "VALID", "VALID", "SUSPENDED", "PENDING"];

const FIRST_NAMES: [(&str, &str); 24] = [
    ("Amélie", "amelie"),
    ("Bruno", "bruno"),
    ("Chloé", "chloe"),
    ("Daniel", "daniel"),
    ("Elif", "elif"),
    ("Farah", "farah"),
    ("Grace", "grace"),
    ("Henrik", "henrik"),
    ("Inês", "ines"),
    ("Jasper", "jasper"),
    ("Kaori", "kaori"),
    ("Łukasz", "lukasz"),
    ("Marta", "marta"),
    ("Noah", "noah"),
    ("Oluwaseun", "oluwaseun"),
    ("Priya", "priya"),
    ("Quentin", "quentin"),
    ("Rosa", "rosa"),
    ("Søren", "soren"),
    ("Tomás", "tomas"),
    ("Uma", "uma"),
    ("Viktor", "viktor"),
    ("Wanjiru", "wanjiru"),
    ("Zoë", "zoe"),
];

const LAST_NAMES: [(&str, &str); 24] = [
    ("Almeida", "almeida"),
    ("Bergström", "bergstrom"),
    ("Castillo", "castillo"),
    ("Demir", "demir"),
    ("Eriksen", "eriksen"),
    ("Fontaine", "fontaine"),
    ("Gupta", "gupta"),
    ("Haddad", "haddad"),
    ("Ivanova", "ivanova"),
    ("Jansen", "jansen"),
    ("Kowalski", "kowalski"),
    ("Lavoie", "lavoie"),
    ("Müller", "mueller"),
    ("Nakamura", "nakamura"),
    ("Okafor", "okafor"),
    ("Petrov", "petrov"),
    ("Quispe", "quispe"),
    ("Rossi", "rossi"),
    ("Silva", "silva"),
    ("Tremblay", "tremblay"),
    ("Urbina", "urbina"),
    ("Varga", "varga"),
    ("Wójcik", "wojcik"),
    ("Young", "young"),
];

const TRADES: [&str; 10] =
    ["Logistics", "Foods", "& Sons", "Robotics", "Travel", "Health", "Studio", "Energy", "Press", "Textiles"];

const STREETS: [&str; 8] =
    ["Elm Road", "Quay Street", "Rue Neuve", "Lindenallee", "Calle Mayor", "Mill Lane", "Rua Nova", "73rd Ave"];

// City, state (where addresses are written with one), country, language, and all but the last two digits of a zip code.
const ADDRESSES: [(&str, &str, &str, &str, &str); 12] = [
    ("Montréal", "Quebec", "Canada", "fr", "H2X 1"),
    ("Medina", "Washington", "United States", "en", "980"),
    ("Austin", "Texas", "United States", "en", "787"),
    ("Lyon", "", "France", "fr", "690"),
    ("Köln", "", "Germany", "de", "506"),
    ("Valencia", "", "Spain", "es", "460"),
    ("Curitiba", "Paraná", "Brazil", "pt", "800"),
    ("Kyoto", "", "Japan", "ja", "604-80"),
    ("Kraków", "", "Poland", "pl", "30-0"),
    ("Nairobi", "", "Kenya", "en", "001"),
    ("Bengaluru", "Karnataka", "India", "en", "5600"),
    ("Bergen", "", "Norway", "nb", "50"),
];
