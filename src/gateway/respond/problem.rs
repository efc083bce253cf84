//! What is a refusal called, and what can the asker do?
//! Given a refusal, hands back status, slug, title and detail.
//! Never says which part of a credential was wrong: strangers get constant words.

use std::borrow::Cow;

use http::StatusCode;

use crate::access::Denied;
use crate::budget::breaker::Reason;
use crate::gateway::refusal::{Fault, Refusal};
use crate::quota::Limit;
use crate::route::Malformed;
use crate::token::Unidentified;
use crate::upstream::{Failed, hub};

/// A problem (RFC 9457) before it is written.
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) slug: &'static str,
    pub(super) title: &'static str,
    pub(super) detail: Cow<'static, str>,
}

/// The one place where refusals meet HTTP.
pub(super) fn problem_of(refusal: &Refusal) -> Problem {
    let (status, slug, title, detail): (_, _, _, Cow<'static, str>) = match refusal {
        Refusal::Malformed(why @ Malformed::Identifier(_)) => {
            (StatusCode::NOT_FOUND, "no-such-route", "No such resource", why.to_string().into())
        }
        Refusal::Malformed(why) => (StatusCode::BAD_REQUEST, "malformed", "The target cannot be read", why.to_string().into()),
        Refusal::Head(bad) => (bad.status(), bad.slug(), bad.title(), bad.detail().into()),
        Refusal::Ambiguous => (
            StatusCode::BAD_REQUEST,
            "two-tokens",
            "Two different tokens",
            "Send one token, as Authorization: Bearer or in X-Reseller-Api-Key.".into(),
        ),
        Refusal::Unidentified(why) => return unidentified(*why),
        Refusal::Ambient => (
            StatusCode::FORBIDDEN,
            "ambient",
            "Not without a token",
            "Without a token, only programs on this machine are answered here: the Host is localhost or a loopback address with this listener's port, and nothing is a web page's (Origin, Sec-Fetch-Site) or a proxy's (Forwarded, X-Forwarded-*, X-Real-IP, Via). Send a token, or ask directly.".into(),
        ),
        Refusal::BadTokens { .. } => (
            StatusCode::TOO_MANY_REQUESTS,
            "bad-tokens",
            "Too many bad tokens",
            "Too many tokens from this address were not valid; new ones are looked at again after Retry-After.".into(),
        ),
        Refusal::Limited { limit, .. } => return limited(*limit),
        Refusal::NoSuchRoute => (
            StatusCode::NOT_FOUND,
            "no-such-route",
            "No such route",
            "No route leads there; the partner's API is below /reseller/account/v1/, others are [[extra_routes]].".into(),
        ),
        Refusal::Method => (
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "Method not allowed",
            "This route answers GET and HEAD.".into(),
        ),
        Refusal::NotAcceptable => (
            StatusCode::NOT_ACCEPTABLE,
            "not-acceptable",
            "Only JSON is served",
            "The Accept header excludes application/json; allow it, or send no Accept.".into(),
        ),
        Refusal::Denied(denied) => return forbidden(denied),
        Refusal::Precondition => (
            StatusCode::PRECONDITION_FAILED,
            "precondition",
            "The precondition does not hold",
            "The document is not the one that If-Match or If-Unmodified-Since speaks of; get it anew.".into(),
        ),
        Refusal::Beyond { length } => (
            StatusCode::RANGE_NOT_SATISFIABLE,
            "range",
            "No such range",
            format!("The document has {length} bytes and the range begins behind them; ask for less, or for all of it.").into(),
        ),
        Refusal::BodyTooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The request body is too large",
            "Send less, or raise server.max_request_body.".into(),
        ),
        Refusal::Partner(fault) => return broke(*fault),
        Refusal::Busy { .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "budget",
            "The budget of partner calls is spent",
            "Come back after Retry-After; what is in memory is served meanwhile.".into(),
        ),
        Refusal::SlowBody => (
            StatusCode::REQUEST_TIMEOUT,
            "slow-body",
            "The request body did not come in time",
            "Send it faster; server.request_timeout and upstream.timeout say how long is waited.".into(),
        ),
        Refusal::BrokenBody => (
            StatusCode::BAD_REQUEST,
            "broken-body",
            "The request body cannot be read",
            "Its chunks are not framed as RFC 9112 §7.1 says; send it again.".into(),
        ),
        Refusal::CallerLeft => (
            super::super::caller_left(),
            "caller-left",
            "The request body ended too soon",
            "The connection or the stream ended before the body did.".into(),
        ),
        Refusal::Closed { reason, .. } => return closed(*reason),
        Refusal::Deadline => (
            StatusCode::GATEWAY_TIMEOUT,
            "deadline",
            "The partner did not answer in time",
            "Try again; upstream.timeout says how long is waited.".into(),
        ),
        Refusal::OnlyIfCached => (
            StatusCode::GATEWAY_TIMEOUT,
            "only-if-cached",
            "Not in memory",
            "The request said only-if-cached and nothing usable is stored; send it without.".into(),
        ),
        Refusal::Status(status @ (StatusCode::NOT_FOUND | StatusCode::GONE)) => (
            *status,
            "partner-status",
            "Not found",
            "The partner has nothing there; look at the identifiers in the path.".into(),
        ),
        Refusal::Status(status) => (
            *status,
            "partner-status",
            "The partner refused",
            "The partner answered with this status; its words are for callers with every right.".into(),
        ),
        Refusal::NotUnderstood => (
            StatusCode::BAD_GATEWAY,
            "shape",
            "The document cannot be narrowed",
            "The partner's document has another shape than documented, so it is shown to callers with every right only.".into(),
        ),
        Refusal::TooLargeToNarrow => (
            StatusCode::BAD_GATEWAY,
            "too-large-to-narrow",
            "The document cannot be narrowed",
            "The partner's document is larger than cache.max_object, so it is shown to callers with every right only.".into(),
        ),
        Refusal::HubRights => (
            StatusCode::FORBIDDEN,
            hub::RIGHTS,
            "Outside this gateway's own rights",
            "The hub does not let this gateway's own token see this; its operator has to widen the scopes or bounds of this gateway's caller at the hub.".into(),
        ),
        Refusal::Loop => (
            StatusCode::LOOP_DETECTED,
            "loop",
            "The request goes in a circle",
            "It has been at this gateway already, as its Via says, or at too many; an operator has to look where upstream.url points.".into(),
        ),
    };
    Problem { status, slug, title, detail }
}

fn closed(reason: Reason) -> Problem {
    let (slug, title) = match reason {
        Reason::PausedByPartner => ("partner-limit", "The partner asked to be left alone"),
        Reason::PausedByOperator => ("paused", "Calls to the partner are paused by an operator"),
        Reason::Failing | Reason::KeyRefused => ("partner-failing", "The partner fails"),
    };
    let detail = "Come back after Retry-After; what is in memory is served meanwhile.";
    Problem { status: StatusCode::SERVICE_UNAVAILABLE, slug, title, detail: detail.into() }
}

fn forbidden(denied: &Denied) -> Problem {
    let detail: Cow<'static, str> = match denied {
        Denied::Scope(scope) => {
            let detail = format!("The token or its caller lacks the scope {scope:?}; ask for a token that has it.");
            return Problem { status: StatusCode::FORBIDDEN, slug: "scope", title: "Not allowed", detail: detail.into() };
        }
        Denied::Client => "The token or its caller is bound to other clients; ask for a token whose bounds have this one.".into(),
        Denied::Provider => {
            "The token or its caller is bound to other providers; ask for a token whose bounds have this one.".into()
        }
        Denied::ProviderQuery => {
            "The token or its caller is bound to providers, so the list is given for one of them: add ?provider_id= with its id.".into()
        }
        Denied::Project => {
            "No project of this client with this id is on a provider that the token or its caller is bound to.".into()
        }
        Denied::Bounded => {
            "Nothing narrows what this route answers, so it is closed to tokens with bounds; use one without.".into()
        }
    };
    Problem { status: StatusCode::FORBIDDEN, slug: "bounds", title: "Outside the bounds", detail }
}

fn unidentified(why: Unidentified) -> Problem {
    let (slug, title, detail) = match why {
        Unidentified::Missing => (
            "token-missing",
            "No token",
            "Send a token as Authorization: Bearer or in X-Reseller-Api-Key; `reseller-gateway token issue` makes one.",
        ),
        Unidentified::Expired => ("token-expired", "The token has expired", "Get a new token."),
        Unidentified::Revoked => ("token-revoked", "The token was revoked", "Get a new token."),
        Unidentified::Ambiguous | Unidentified::Bad(_) | Unidentified::UnknownCaller => {
            ("token-bad", "The token is not valid here", "Get a token from this gateway, for a caller that it knows.")
        }
    };
    Problem { status: StatusCode::UNAUTHORIZED, slug, title, detail: detail.into() }
}

fn limited(limit: Limit) -> Problem {
    let (slug, title, detail) = match limit {
        Limit::Requests => (
            "caller-requests",
            "Too many requests",
            "This caller's requests per time are spent; come back after Retry-After, or ask for a higher callers.limits.requests.",
        ),
        Limit::Concurrent => (
            "caller-concurrent",
            "Too many requests at once",
            "This caller has as many requests under way as it may; wait for one of them to end, or ask for a higher callers.limits.concurrent.",
        ),
        Limit::Upstream => (
            "caller-upstream",
            "Too many partner calls",
            "This caller's partner calls per time are spent; come back after Retry-After. What is in memory is served meanwhile.",
        ),
    };
    Problem { status: StatusCode::TOO_MANY_REQUESTS, slug, title, detail: detail.into() }
}

fn broke(fault: Fault) -> Problem {
    let (slug, detail) = match fault {
        Fault::Key => (
            "partner-key",
            "The partner refused the gateway's own key; its operator has to look at upstream.api_key_file.",
        ),
        Fault::Token => (
            "hub-token",
            "The hub refused the gateway's own token; its operator has to look at upstream.token_file or upstream.exchange.",
        ),
        Fault::TokenExpired => (
            "hub-token",
            "The gateway's own token has expired and it has no other; its operator has to look at upstream.token_file or upstream.exchange.",
        ),
        Fault::Failed(Failed::Connect) => {
            ("partner-unreachable", "No connection to the partner could be made; try again later.")
        }
        Fault::Failed(Failed::Certificate) => (
            "partner-certificate",
            "The partner's certificate is not one that the gateway trusts; its operator has to look at upstream.ca_file, or at that certificate.",
        ),
        Fault::Failed(Failed::ProxyAuth) => (
            "proxy-auth",
            "The proxy on the way to the partner does not take the gateway's credentials; its operator has to look at upstream.proxy_auth_file.",
        ),
        Fault::Failed(Failed::ProxyRefuses) => (
            "proxy-refuses",
            "The proxy on the way to the partner opens no tunnel to it; its operator has to look at the proxy's rules and at upstream.url.",
        ),
        Fault::Failed(Failed::TooLarge) => {
            ("partner-too-large", "The partner's answer is larger than upstream.max_response.")
        }
        Fault::Failed(_) | Fault::Status => ("partner-failed", "The partner failed; try again later."),
        Fault::ToItself => (
            "partner-broke",
            "The partner redirects to another of its own addresses, which through the gateway is the same place again; its operator has to set upstream.url to the address that the partner redirects to.",
        ),
        Fault::Redirect | Fault::NotJson | Fault::Unasked | Fault::NotADocument | Fault::DoubtfulAbsence => {
            ("partner-broke", "The partner answered with something that is not a document of its API.")
        }
    };
    Problem { status: StatusCode::BAD_GATEWAY, slug, title: "The partner failed", detail: detail.into() }
}

#[cfg(test)]
mod tests;
