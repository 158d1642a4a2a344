//! Misbehaviour on order.

use super::wire::{Request, Response};

/// Changes the answers to some requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    method: &'static str,
    part: String,
    times: u32,
    effects: Vec<Effect>,
}

/// What happens instead of the right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// This status, these headers, this body.
    Status {
        /// The status.
        status: u16,
        /// More headers.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: String,
    },
    /// The connection closes without an answer.
    Hangup,
    /// The connection closes after so many bytes of the body.
    CutAt(usize),
    /// The body's bytes are changed, its length is not.
    WrongBytes,
    /// The body has another length, and says so.
    WrongLength(usize),
    /// The header is added, or replaces the one there.
    Header(&'static str, String),
    /// The answer is to another request: this range, whatever was asked for.
    Range(&'static str),
    /// The whole body with 200, whatever range was asked for.
    IgnoreRange,
}

impl Fault {
    /// `effect` on every request with this method that has `part` in path and query.
    pub fn on(method: &'static str, part: &str, effect: Effect) -> Self {
        Self { method, part: part.to_owned(), times: u32::MAX, effects: vec![effect] }
    }

    /// Another effect on the same answers.
    #[must_use]
    pub fn and(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }

    /// Only the next `times` of them.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }
}

impl Effect {
    /// A bare status.
    pub fn status(status: u16) -> Self {
        Self::Status { status, headers: Vec::new(), body: String::new() }
    }

    /// A refusal in the form of the specification.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        Self::Status { status, headers: Vec::new(), body }
    }

    /// 429 with `Retry-After`.
    pub fn rate_limit(retry_after: &str) -> Self {
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#.to_owned();
        Self::Status { status: 429, headers: vec![("retry-after", retry_after.to_owned())], body }
    }

    /// A redirect.
    pub fn redirect(to: &str) -> Self {
        let headers = vec![("location", to.to_owned())];
        Self::Status { status: 307, headers, body: String::new() }
    }

    pub(crate) fn replaces(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Hangup)
    }

    pub(crate) fn response(&self) -> Response {
        let Self::Status { status, headers, body } = self else { return Response::default() };
        let response = Response::new(*status).body(body.as_bytes());
        headers.iter().fold(response, |response, (name, value)| response.header(name, value))
    }
}

/// The effects of the first fault that matches.
pub(crate) fn take(faults: &mut [Fault], request: &Request) -> Vec<Effect> {
    let found = faults.iter_mut().find(|fault| {
        fault.times > 0 && fault.method == request.method && request.target.contains(&fault.part)
    });
    let Some(found) = found else { return Vec::new() };
    found.times -= 1;
    found.effects.clone()
}

/// `response` as the effect has it.
pub(crate) fn changed(mut response: Response, effect: &Effect) -> Response {
    let set = |response: &mut Response, name: &str, value: &str| {
        response.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        response.headers.push((name.to_owned(), value.to_owned()));
    };
    match effect {
        Effect::CutAt(bytes) => response.cut = Some(*bytes),
        Effect::WrongBytes => response.body.iter_mut().for_each(|byte| *byte ^= 1),
        Effect::WrongLength(length) => response.body.resize(*length, 0),
        Effect::Header(name, value) => set(&mut response, name, value),
        Effect::Range(range) => {
            response.status = 206;
            set(&mut response, "content-range", range);
        }
        Effect::Status { .. } | Effect::Hangup | Effect::IgnoreRange => {}
    }
    response
}
