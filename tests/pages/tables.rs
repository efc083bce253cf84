//! Do the tables for callers have the values of the program?
//! Given `config/reference.toml`, which the program's own tests hold to its defaults, makes the rows of the routes from it.
//! Never knows a value by itself.

use crate::table::holds;

const DETAILS: [&str; 2] = ["src/guide/callers.md", "src/guide/caching.md"];

#[test]
fn the_pages_table_of_routes_has_their_scopes_and_times() {
    let reference: toml::Table = crate::text_of("config/reference.toml").parse().unwrap();
    let routes = reference["routes"].as_table().unwrap();
    let heading = [
        "name",
        "path",
        "scope",
        "fresh for",
        "then shown while a new one is fetched",
        "then shown if the partner fails",
    ];
    holds("src/guide/caching.md", "routes", &heading, |before| {
        let names = before.iter().filter_map(|row| row.first());
        let mut names: Vec<&str> = names.map(|name| name.trim_matches('`')).collect();
        names.extend(routes.keys().map(String::as_str).filter(|name| !names.contains(name)).collect::<Vec<_>>());
        let row = |name: &str| {
            let value =
                |key: &str| routes[name].get(key).or_else(|| routes["clients"].get(key)).unwrap().as_str().unwrap();
            let time = |key: &str| if value(key) == "0s" { "–".to_owned() } else { value(key).to_owned() };
            let path = before.iter().find(|row| row[0] == format!("`{name}`")).map_or("?", |row| &row[1]);
            let scope = format!("`{}`", value("scope"));
            let scope = if name == "other" { scope + "; unsafe methods `write`" } else { scope };
            let times = ["ttl", "stale_while_revalidate", "stale_if_error"].map(time);
            [format!("`{name}`"), path.to_owned(), scope].into_iter().chain(times).collect()
        };
        names.into_iter().filter(|name| routes.contains_key(*name)).map(row).collect()
    });
}

#[test]
fn every_detail_of_cache_status_is_on_a_page_for_callers() {
    let pages = DETAILS.map(crate::text_of).concat();
    for detail in reseller_gateway::cache::reason::Detail::ALL.map(|detail| detail.as_str()) {
        let said = [format!("`{detail}`"), format!("detail={detail}`")].iter().any(|way| pages.contains(way));
        assert!(said, "no page for callers says what detail={detail} means");
    }
}
