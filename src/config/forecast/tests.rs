//! Is the forecast right, and is what it proposes enough?
//! Given settings, holds the sums against numbers worked out by hand, and proposals against their own verdict.
//! Never looks at a file.

use proptest::prelude::*;

use super::*;

const SEVEN: [&str; 7] = [
    "clients",
    "client",
    "client_providers",
    "client_projects",
    "client_resources",
    "provider_resources",
    "project_resources",
];

fn forecast(clients: u64, budget: &str, change: impl Fn(&mut Route)) -> Forecast {
    let rows = SEVEN.map(|name| {
        let mut route = Route::with_defaults(name);
        change(&mut route);
        Row::of(&route, clients)
    });
    Forecast { rows: rows.to_vec(), budget: budget.parse().unwrap(), clients }
}

fn seconds(forecast: &Forecast) -> Vec<u64> {
    forecast.rows.iter().map(|row| row.ttl.as_secs()).collect()
}

#[test]
fn each_resource_is_a_call_per_lifetime() {
    let forecast = forecast(500, "10/s", |_| ());
    let calls: Vec<_> = forecast.rows.iter().map(|row| row.calls().unwrap() / CALL).collect();
    assert_eq!(calls, [2, 500, 100, 250, 1000, 1000, 1000]);
    assert_eq!((forecast.calls(), forecast.allowed()), (Some(3852 * CALL), Some(600 * CALL)));
    assert!(!forecast.fits());
}

#[test]
fn the_shortest_lifetimes_are_raised_to_one_length() {
    // Two lists take 2 of 600 a minute; six resources per client at one length, 3,000 in all: 60 × 3,000 / 598 = 301 s.
    let better = forecast(500, "10/s", |_| ()).with_ttls_that_fit().unwrap();
    assert_eq!(seconds(&better), [60, 310, 310, 310, 310, 310, 310]);
    // With 60/s only the three on resources are too often: 1,500 × 60 / (3,600 − 852) = 32.8 s.
    let better = forecast(500, "60/s", |_| ()).with_ttls_that_fit().unwrap();
    assert_eq!(seconds(&better), [60, 60, 300, 120, 33, 33, 33]);
}

#[test]
fn the_least_budget_is_in_whole_calls() {
    let budget = |clients| forecast(clients, "1/h", |_| ()).with_a_budget_that_fits().unwrap().budget.to_string();
    // 3,852 a minute, 9.7 a minute, 2 a minute.
    assert_eq!([500, 1, 0].map(budget), ["65/s", "10/m", "2/m"]);
}

#[test]
fn without_a_limit_everything_fits_and_without_a_lifetime_nothing_else_does() {
    assert!(forecast(1_000_000_000, "unlimited", |_| ()).fits());
    let short = forecast(1, "1000/s", |route| route.ttl = Duration::ZERO);
    assert!(!short.fits() && short.with_a_budget_that_fits().is_none());
    for change in [|route: &mut Route| route.store = false, |route: &mut Route| route.mode = RouteMode::Standard] {
        let unkept = forecast(1, "1000/s", change);
        assert_eq!((unkept.calls(), unkept.fits()), (None, false));
        assert!(unkept.with_ttls_that_fit().unwrap().fits());
        assert!(unkept.warning().unwrap().contains("client (stored, in `api` mode)"));
    }
}

#[test]
fn the_list_of_one_provider_counts_where_it_can_be_asked_for() {
    let without = forecast(0, "1/s", |route| route.query.clear());
    assert_eq!((without.calls(), forecast(0, "1/s", |_| ()).calls()), (Some(CALL), Some(2 * CALL)));
}

#[test]
fn the_table_is_of_comments_and_says_what_it_assumes() {
    let (tight, wide) = (forecast(500, "10/s", |_| ()), forecast(500, "100/s", |_| ()));
    let table = tight.table();
    assert!(table.lines().all(|line| line.starts_with('#') && line.chars().count() <= 140), "{table}");
    for expected in [
        "500 clients",
        "1 provider and 1 project",
        "\n# client_resources           500       30s          1000.0\n",
        "\n# together                                          3852.0\n",
        "\n# upstream.budget                     10/s           600.0\n",
        "\n# It does not fit. It would with\n#   ttl = \"5m10s\" for client, client_providers, client_projects, ",
        "\n#   upstream.budget.rate = \"65/s\", if the partner allows it\n",
    ] {
        assert!(table.contains(expected), "{expected} is not in\n{table}");
    }
    let warning = tight.warning().unwrap();
    assert!(warning.starts_with("upstream.budget.rate: 500 clients can cost 3852.0 partner calls a minute, and"));
    assert!(wide.table().ends_with("# It fits.\n") && wide.warning().is_none());
}

fn any_forecast() -> impl Strategy<Value = Forecast> {
    let row = ((0u64..1_000_000_000), (0u64..100_000_000), any::<bool>());
    let rate = (1u32..100_000, prop::sample::select(vec!["s", "m", "h"]));
    (prop::collection::vec(row, 1..8), rate).prop_map(|(rows, (count, unit))| Forecast {
        rows: rows
            .into_iter()
            .map(|(resources, millis, kept)| Row {
                route: "r".to_owned(),
                resources,
                ttl: Duration::from_millis(millis),
                is_stored: kept,
            })
            .collect(),
        budget: format!("{count}/{unit}").parse().unwrap(),
        clients: 1,
    })
}

proptest! {
    #[test]
    fn with_the_proposed_lifetimes_the_verdict_is_that_it_fits(forecast in any_forecast()) {
        match forecast.with_ttls_that_fit() {
            Some(better) => {
                prop_assert!(better.fits());
                for (row, better) in forecast.rows.iter().zip(&better.rows) {
                    prop_assert!(better.ttl >= row.ttl && better.resources == row.resources);
                }
            }
            None => prop_assert!(!forecast.lasting(Duration::from_secs(LONGEST), None).fits()),
        }
    }

    #[test]
    fn no_shorter_length_would_fit(forecast in any_forecast()) {
        prop_assume!(!forecast.fits());
        if let Some(better) = forecast.with_the_least_ttl_above(None) {
            let raised = forecast.rows.iter().zip(&better.rows).filter(|(row, better)| row.ttl < better.ttl);
            let length = raised.map(|(_, better)| better.ttl.as_secs()).max().unwrap_or(1);
            let shorter = forecast.lasting(Duration::from_secs(length.saturating_sub(step(length))), None);
            prop_assert!(length <= 1 || !shorter.fits());
        }
    }

    #[test]
    fn with_the_proposed_budget_the_verdict_is_that_it_fits(forecast in any_forecast()) {
        match forecast.with_a_budget_that_fits() {
            Some(better) => prop_assert!(better.fits()),
            None => prop_assert!(forecast.calls().is_none_or(|calls| calls > 990_000 * 60 * CALL)),
        }
    }

    #[test]
    fn the_calls_of_no_schedule_exceed_the_forecast(
        ttl in 1u64..100, resources in 1u64..5, demand in prop::collection::vec((0u64..5, 0u64..20), 1..200),
    ) {
        // Each resource is fetched when it is asked for and what is held is older than its ttl.
        let row = Row { route: "r".to_owned(), resources, ttl: Duration::from_secs(ttl), is_stored: true };
        let (mut now, mut fetched, mut calls) = (0, [None; 5], 0u128);
        for (which, pause) in demand {
            now += pause;
            let at = &mut fetched[(which % resources) as usize];
            if at.is_none_or(|at| now - at >= ttl) {
                (*at, calls) = (Some(now), calls + 1);
            }
        }
        // Beyond the first fetch of each, which is the cold start.
        let most = row.calls().unwrap() * u128::from(now) / 60 + u128::from(resources) * CALL;
        prop_assert!(calls * CALL <= most + CALL);
    }
}
