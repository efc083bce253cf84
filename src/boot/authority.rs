//! Which settings go into the authority?
//! Given a configuration and the joined tokens, hands back the authority with its ledger opened.
//! Never starts one whose ledger cannot be read.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::authority::ledger::{Ledger, Unreadable};
use crate::authority::{Authority, Member, Settings, trust};
use crate::clock::Clock;
use crate::config::{Config, Trust};
use crate::token::Tokens;

use super::preflight;

/// The authority; what its ledger knows is in force when this comes back.
///
/// # Errors
/// A ledger that cannot be read or written, with what to do.
pub async fn authority(config: &Config, tokens: Arc<Tokens>, clock: Clock) -> anyhow::Result<Arc<Authority>> {
    let mut authority = opened(config, Arc::clone(&tokens), clock).await;
    // A command may have the ledger open for a moment.
    for _ in 0..20 {
        let busy = |error: &anyhow::Error| matches!(error.downcast_ref(), Some(Unreadable::Busy(_)));
        if !authority.as_ref().is_err_and(busy) {
            break;
        }
        clock.sleep_until(clock.tick().plus(Duration::from_millis(100))).await;
        authority = opened(config, Arc::clone(&tokens), clock).await;
    }
    let authority = authority.map_err(|error| match error.downcast_ref() {
        Some(unreadable) => preflight::unreadable(unreadable).into(),
        None => error,
    })?;
    authority.reconcile().await.context("state.dir")?;
    Ok(authority)
}

/// The same for a command, whose file may be another than the gateway's: nothing is concluded from who is not in it.
///
/// # Errors
/// The same; also where a gateway is running on the same `state.dir`.
pub async fn opened(config: &Config, tokens: Arc<Tokens>, clock: Clock) -> anyhow::Result<Arc<Authority>> {
    let ledger = ledger(config).context("state.dir")?;
    let authority = Arc::new(Authority::new(settings(config)?, tokens, ledger, clock));
    authority.recall().await.context("state.dir")?;
    Ok(authority)
}

fn ledger(config: &Config) -> anyhow::Result<Ledger> {
    let Some(folder) = &config.state.dir else { return Ok(Ledger::in_memory()?) };
    let (ledger, found) = Ledger::open(folder)?;
    if !found {
        let made = crate::authority::ledger::FILE;
        tracing::info!(folder = %folder.display(), file = made, "a new ledger; what was revoked before is not known to it");
    }
    Ok(ledger)
}

pub(super) fn settings(config: &Config) -> anyhow::Result<Settings> {
    let member = |caller: &crate::config::Caller| Member {
        name: caller.name.clone(),
        ttl: caller.token_ttl,
        secrets: caller.secrets.iter().map(|digest| digest.0).collect(),
        subjects: caller.subjects.iter().map(|subject| (subject.issuer.clone(), subject.sub.clone())).collect(),
    };
    Ok(Settings {
        members: config.callers.iter().map(member).collect(),
        trust: config.trust.iter().map(trusted).collect::<anyhow::Result<_>>()?,
        max_ttl: config.tokens.max_ttl,
        key_max_age: config.tokens.key_max_age,
        removed_grace: config.tokens.removed_grace,
        patience: config.server.request_timeout,
    })
}

fn trusted(trust: &Trust) -> anyhow::Result<trust::Settings> {
    let source = match (&trust.jwks_file, &trust.jwks_url) {
        (Some(path), _) => trust::Source::File(path.clone()),
        (None, url) => trust::Source::Url {
            url: url.as_deref().unwrap_or_default().parse().context("trust.jwks_url")?,
            ca_file: trust.ca_file.clone(),
            bearer_token_file: trust.bearer_token_file.clone(),
        },
    };
    Ok(trust::Settings { issuer: trust.issuer.clone(), audience: trust.audience.clone(), source })
}
