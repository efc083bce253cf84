//! What is the partner like, really?
//! Given the configuration that `serve` would run with, asks each of the seven routes once and reports what came.
//! Never prints a body, an id, a personal value or the key, and never asks faster than `upstream.budget` allows.

mod fate;

mod head;

mod ids;

mod raw;

mod shape;

mod report;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::Value;
use tower::ServiceExt;

use crate::access::Lens;
use crate::account_api::Endpoint;
use crate::boot;
use crate::clock::Clock;
use crate::config::{ApiKey, Config, Credential};
use crate::dial;
use crate::gateway::Gateway;
use crate::gateway::probe::{Disposition, Probe};
use crate::gateway::refusal::{Fault, Refusal};
use crate::token::ring::Ring;
use crate::upstream::Failed;
use crate::view;

use head::Head;
use ids::SampleIds;
use raw::{Record, Recording};
use report::{Answered, ProbeOutcome, Report, RouteReport};
use shape::What;

/// For so long a route waits for its turn, all waits together.
const PATIENCE: Duration = Duration::from_secs(90);

/// Asks, and prints what came: comments of TOML, or JSON.
///
/// # Errors
/// When the partner cannot be asked, refuses the key, or is not understood on some route.
pub(super) async fn probe(config: &Config, json: bool) -> anyhow::Result<()> {
    let (record, ring) = (Record::default(), Ring::in_memory().context("signing key")?);
    let house = boot::build_over(config, ring, Clock::real(), |dialer| Recording::new(dialer, record.clone()))?;
    let (mut known, mut stopped, mut routes) = (SampleIds::default(), None, Vec::new());
    for endpoint in Endpoint::ALL {
        let came = match (&stopped, known.target(endpoint)) {
            (Some(_), _) => ProbeOutcome::NotAsked { why: "the probe had ended by then".to_owned() },
            (None, Err(missing)) => ProbeOutcome::NotAsked { why: missing.to_owned() },
            (None, Ok(target)) => match ask(&house, &target).await {
                Ok(trial) => ProbeOutcome::Answer(Box::new(answered(&house, endpoint, &trial, &mut known))),
                Err(refusal) => {
                    stopped = ends_it(config, &refusal).await;
                    failed(&refusal, stopped.as_ref())
                }
            },
        };
        routes.push(RouteReport::of(
            endpoint,
            came,
            record.odd_lines(house.calls().upstream().credential().show().as_ref()),
        ));
    }
    let report = Report { partner: house.calls().upstream().origin(), routes };
    let mut out = std::io::stdout();
    match json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        false => write!(out, "{}", report.text())?,
    }
    let odd = report.not_understood();
    match stopped {
        Some(why) => bail!("the partner could not be asked: {why}"),
        None if odd.is_empty() => Ok(()),
        None => bail!("{} of 7 routes are not known to be understood: {}", odd.len(), odd.join(", ")),
    }
}

/// Asks when it is this call's turn; pauses that the budget or the partner wants are waited for, within patience.
async fn ask(house: &Gateway<Recording>, target: &str) -> Result<Probe, Refusal> {
    let clock = house.clock();
    let end = clock.tick().plus(PATIENCE);
    loop {
        match house.try_out(target).await {
            Err(Refusal::Busy { retry } | Refusal::Closed { retry, .. }) if clock.tick().plus(retry) < end => {
                let pause = retry.max(Duration::from_millis(10));
                let _ = writeln!(std::io::stderr(), "waiting {} s for the next call", fate::seconds(pause));
                clock.sleep_until(clock.tick().plus(pause)).await;
            }
            other => return other,
        }
    }
}

fn failed(refusal: &Refusal, ended: Option<&String>) -> ProbeOutcome {
    let why = ended.cloned().unwrap_or_else(|| fate::refused(refusal));
    match refusal {
        Refusal::Closed { .. } | Refusal::Busy { .. } => ProbeOutcome::NotAsked { why },
        _ => ProbeOutcome::Failed { why },
    }
}

/// Why nothing else is asked after this.
async fn ends_it(config: &Config, refusal: &Refusal) -> Option<String> {
    match refusal {
        Refusal::Partner(Fault::Key | Fault::Token | Fault::TokenExpired) => Some(match &config.upstream.credential {
            Credential::Key { first: ApiKey::File(path), .. } => {
                format!("it refuses the key with 401; put the right one into {}", path.display())
            }
            Credential::Key { first: ApiKey::Variable(name), .. } => {
                format!("it refuses the key with 401; put the right one into the variable {name}")
            }
            Credential::Token(path) => format!("it refuses the token; put a good one into {}", path.display()),
            Credential::Exchange(exchange) => format!(
                "it gives no token for the one in {}, or refuses what it gave",
                exchange.subject_token_file.display()
            ),
        }),
        Refusal::Partner(Fault::Failed(
            Failed::Connect | Failed::Certificate | Failed::ProxyAuth | Failed::ProxyRefuses,
        )) => Some(format!(
            "no connection to {}: {}",
            config.upstream.url.authority().map_or("", |authority| authority.as_str()),
            why_no_connection(config).await
        )),
        Refusal::Closed { .. } | Refusal::Busy { .. } => Some(fate::refused(refusal)),
        _ => None,
    }
}

/// Connects once more without asking anything, to say what a call does not.
async fn why_no_connection(config: &Config) -> String {
    let upstream = &config.upstream;
    let Ok(dialer) = boot::partner_dialer(upstream) else { return String::new() };
    let Err(error) = dialer.oneshot(upstream.url.clone()).await else {
        return "it was closed at once; now it can be opened".to_owned();
    };
    dial::describe(&*error)
}

fn answered(house: &Gateway<Recording>, endpoint: Endpoint, trial: &Probe, known: &mut SampleIds) -> Answered {
    let success = trial.status.is_success();
    let document: Option<Value> = serde_json::from_slice(&trial.body).ok().filter(|_| success);
    if let Some(document) = &document {
        known.learn(endpoint, document);
    }
    let lens = Lens::default();
    let differences = document.as_ref().map(|it| shape::differences(endpoint, it)).unwrap_or_default();
    let shaped = success && view::project(endpoint, &lens, house.allow(), &trial.body).is_ok();
    let given =
        matches!(trial.disposition, Disposition::Stored(..) | Disposition::NotStored(_) | Disposition::Standard);
    let shape = match (success, &document, shaped) {
        (false, ..) => "no document",
        (true, None, _) => "not JSON, or cut off",
        (true, Some(_), true) if differences.is_empty() => "as documented",
        (true, Some(_), true) if differences.iter().any(|it| it.what == What::Extra) => {
            "understood; what is extra is withheld from narrowed callers unless [views] allow names it"
        }
        (true, Some(_), true) => "understood",
        (true, Some(_), false) => {
            "not understood: a member is of another type or there twice; narrowed callers get 502"
        }
    };
    let head = Head::new(&trial.head, house.calls().upstream().credential().show());
    Answered {
        status: trial.status.as_u16(),
        took_ms: u64::try_from(trial.took.as_millis()).unwrap_or(u64::MAX),
        bytes: trial.body.len(),
        content_type: head.line(&CONTENT_TYPE),
        keys_refused: trial.keys_refused,
        understood: trial.status == StatusCode::OK && given && shaped,
        shape,
        differences,
        caching: head.caching(),
        limits: head.limits(),
        gateway: fate::describe(trial),
    }
}
