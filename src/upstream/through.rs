//! How does a request of a caller go on to the partner as it is?
//! Given a head and a body, hands back the partner's answer as it comes.
//! Never lets a token of ours, another of a caller's credentials, or a connection's own headers through.

use http::header::{AUTHORIZATION, VIA};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::Connect;

use crate::account_api::KEY_HEADER;
use crate::clock::Tick;
use crate::dial::OutBody;

use super::{Failed, Upstream, headers};

impl<C: Connect + Clone + Send + Sync + 'static> Upstream<C> {
    /// Sends it on; the head must have been made ready. The body of the answer is still to be read.
    ///
    /// # Errors
    /// [`Failed`] if no head came before `deadline`.
    pub async fn send_on(
        &self,
        method: &Method,
        target: &str,
        head: &HeaderMap,
        body: OutBody,
        deadline: Tick,
    ) -> Result<Response<Incoming>, Failed> {
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.uri(target);
        let sent = request.headers_mut();
        sent.clone_from(head);
        sent.insert(KEY_HEADER, self.key.clone());
        sent.append(VIA, self.via.clone());
        let mut answer = self.clock.until(deadline, self.send(request)).await.unwrap_or(Err(Failed::Timeout))?;
        // A partner that echoes what it was sent would hand our key out.
        answer.headers_mut().remove(KEY_HEADER);
        Ok(answer)
    }
}

/// Makes a caller's head ready to go on: without a connection's own headers and without credentials, but for an
/// `Authorization` of another scheme than Bearer where the route forwards those. A Bearer token is ours.
pub fn make_ready(head: &mut HeaderMap, forward_authorization: bool) {
    headers::strip_connection(head);
    let foreign = |value: &&HeaderValue| {
        let bytes = value.as_bytes().trim_ascii_start();
        let scheme = bytes.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        !scheme.eq_ignore_ascii_case(b"bearer")
    };
    let kept: Vec<HeaderValue> = match forward_authorization {
        true => head.get_all(AUTHORIZATION).iter().filter(foreign).cloned().collect(),
        false => Vec::new(),
    };
    headers::strip_for_partner(head);
    for value in kept {
        head.append(AUTHORIZATION, value);
    }
}
