//! What is this token?
//! Given a token, explains it by the keys and the configuration of this machine: whether it holds, and what it opens.
//! Never prints the token, and never asks a running gateway; the ledger is read where no gateway has it open.

use std::io::{IsTerminal, Read, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::authority::rights;
use crate::boot;
use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::token::bounds::Bounds;
use crate::token::ring::Ring;
use crate::token::{LONGEST, Tokens, Unidentified, operator};

use super::stamp;

pub(super) async fn run(config: &Config, token: Option<String>, json: bool) -> anyhow::Result<()> {
    let token = match token {
        Some(token) => token,
        None => {
            let mut text = String::new();
            std::io::stdin().take(2 * LONGEST as u64).read_to_string(&mut text).context("standard input")?;
            text
        }
    };
    let token = token.trim();
    // As it stands in a header.
    let token = token.strip_prefix("Authorization:").unwrap_or(token).trim_start();
    let told = explained(config, token.strip_prefix("Bearer ").unwrap_or(token).trim_start()).await?;
    let mut out = std::io::stdout();
    if json || !out.is_terminal() {
        writeln!(out, "{told:#}")?;
    } else {
        write!(out, "{}", page(&told))?;
    }
    Ok(())
}

async fn explained(config: &Config, token: &str) -> anyhow::Result<Value> {
    let mut parts = token.split('.').map(part);
    let (Some(Some(header)), Some(Some(claims)), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        bail!("this is no token: three parts with points between them, the first two JSON in base64url, are wanted");
    };
    let folder = config.tokens.keys_dir.as_deref();
    let folder =
        folder.context("state.dir is empty, so the signing keys are in the memory of the running gateway alone")?;
    let ring = Ring::read(folder, config.tokens.key_notice).context("tokens.keys_dir")?;
    let table = boot::table(config)?;
    let tokens = Arc::new(boot::tokens(config, ring, Arc::clone(&table.names)));
    let opened = boot::opened(config, Arc::clone(&tokens), Clock::real()).await;
    let ledger = match &opened {
        Ok(_) => "read",
        Err(_) => "not read; a running gateway knows whether it was revoked: see `token list`",
    };
    let now = Clock::real().now();
    let judged = tokens.identify_token(token.as_bytes(), now);
    let opens = judged.as_ref().ok().cloned().or_else(|| while_it_lived(&tokens, token, &claims, now));
    Ok(json!({
        "good": judged.is_ok(),
        "why": judged.err().map(|why| explain(why, &claims)),
        "header": header,
        "claims": claims,
        "ledger": ledger,
        "opens": opens.map(|caller| rights::of(&caller, &tokens, &table.routes, &table.rules)),
    }))
}

/// What an expired token opened when it was issued, by today's policy.
fn while_it_lived(tokens: &Tokens, token: &str, claims: &Value, now: Now) -> Option<Arc<crate::token::Caller>> {
    let issued = claims.get("iat")?.as_u64()?;
    tokens.identify_token(token.as_bytes(), Now { unix_ms: issued.checked_mul(1000)?, ..now }).ok()
}

fn explain(why: Unidentified, claims: &Value) -> String {
    let named = claims.get("client_id").and_then(Value::as_str).unwrap_or_default();
    match why {
        Unidentified::UnknownCaller => format!("{why}: {named:?} is not in this file"),
        Unidentified::Bad("key id") => format!("{why}: no key of tokens.keys_dir signed it"),
        Unidentified::Bad("audience") if claims.get("aud").and_then(Value::as_str) == Some(operator::AUDIENCE) => {
            "it opens the admin listener alone, not the public one".to_owned()
        }
        Unidentified::Bad("issuer") => format!("{why}: it is not server.public_url of this file"),
        why => why.to_string(),
    }
}

/// The id that a token says it has.
pub(super) fn id_in(token: &str) -> Option<String> {
    let claims = part(token.split('.').nth(1)?)?;
    claims.get("jti")?.as_str().map(str::to_owned)
}

fn part(text: &str) -> Option<Value> {
    // The third part is the signature: it only has to be there.
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

fn page(told: &Value) -> String {
    let text = |pointer: &str| match told.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let time = |pointer: &str| told.pointer(pointer).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), stamp);
    let verdict = if told.get("good") == Some(&Value::Bool(true)) { "good".to_owned() } else { text("/why") };
    let mut page = format!(
        "token     {verdict}\ncaller    {}\nid        {}\nscopes    {}\nbounds    {}\nissued    {} by {}\nexpires   {}\nfor       {}\nkey       {}\nledger    {}\n",
        text("/claims/client_id"),
        text("/claims/jti"),
        text("/claims/scope"),
        bounds(told),
        time("/claims/iat"),
        text("/claims/iss"),
        time("/claims/exp"),
        text("/claims/aud"),
        text("/header/kid"),
        text("/ledger"),
    );
    for route in told.pointer("/opens/routes").and_then(Value::as_array).into_iter().flatten() {
        let said = |key: &str| route.get(key).and_then(Value::as_str).unwrap_or_default();
        let state = if route.get("open") == Some(&Value::Bool(true)) { "opens " } else { "closed" };
        let missing = route.get("missing").and_then(Value::as_str).map(|scope| format!("  lacks {scope}"));
        page += &format!("{state}    {}{}\n", said("path"), missing.unwrap_or_default());
    }
    page
}

/// What it reaches by today's policy; of a token that does not hold, what it says itself.
fn bounds(told: &Value) -> String {
    let said = told.pointer("/opens/authorization_details").or_else(|| told.pointer("/claims/authorization_details"));
    match said.map(Bounds::of_details) {
        None => "those of its caller".to_owned(),
        Some(Err(error)) => error.to_string(),
        Some(Ok(bounds)) if bounds.are_all() => "none".to_owned(),
        Some(Ok(bounds)) => {
            format!("clients {}; providers {}", bounds.clients.names().join(" "), bounds.providers.names().join(" "))
        }
    }
}
