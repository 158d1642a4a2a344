//! Downloads a URL into the store, for `ADD`.
//!
//! Nothing but http and https. A user in the URL is shown to that origin only. When the
//! connection breaks, the download goes on if the server can say that the file is still
//! the same one, and begins again if not.

use std::io::Write as _;

use bakehouse_store::Ingest;
use reqwest::header::{
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Method, Response, Url};

use super::endpoint::Trust;
use super::error::Subject;
use super::exchange::{in_seconds, is_temporary, may_pass_transport, read_answer, wants_wait};
use super::http::{HttpError, Payload, Request, next_chunk};
use super::retry::http_date;
use super::{ClientError, Downloaded, Progress, Shared, TransportError, redact, session};
use crate::auth::{Secret, is_loopback};

const REQUESTS: u32 = 50;

/// A download under way.
struct Download<'a> {
    shared: &'a Shared,
    progress: Progress<'a>,
    subject: Subject,
    request: Request,
    authorization: Option<HeaderValue>,
    total: u64,
    /// What makes sure that the rest belongs to the beginning.
    validator: Option<HeaderValue>,
    last_modified: Option<i64>,
    file_name: Option<String>,
}

enum Step {
    Done,
    /// It broke; the next request may go on.
    Broken(ClientError, bool),
    Wait(ClientError, Option<std::time::Duration>),
}

impl Shared {
    pub(crate) async fn download(
        &self,
        url: &str,
        progress: Progress<'_>,
    ) -> Result<Downloaded, ClientError> {
        let mut download = Download::new(self, url, progress)?;
        let mut ingest = self.new_ingest(&download.subject)?;
        let (mut made, mut stalled) = (0, 0);
        loop {
            let from = ingest.size();
            made += 1;
            let (error, asked_for, passes) = match download.pour(&mut ingest).await? {
                Step::Done => break,
                Step::Broken(error, passes) => (error, None, passes),
                Step::Wait(error, asked_for) => (error, asked_for, true),
            };
            stalled = if ingest.size() > from { 1 } else { stalled + 1 };
            let wait = self.config.retry.wait(stalled, asked_for);
            let Some(wait) = wait.filter(|_| passes && made < REQUESTS) else { return Err(error) };
            tokio::time::sleep(wait).await;
            if download.validator.is_none() {
                ingest = self.new_ingest(&download.subject)?;
            }
        }
        let committed = tokio::task::spawn_blocking(move || ingest.commit(None)).await;
        let (digest, size) = match committed {
            Ok(result) => result.map_err(|source| download.unkept(source))?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        progress(size, size);
        let Download { last_modified, file_name, .. } = download;
        Ok(Downloaded { digest, size, last_modified, file_name })
    }

    fn new_ingest(&self, subject: &Subject) -> Result<Ingest, ClientError> {
        self.store.ingest().map_err(|source| ClientError::store("write", &subject.what, source))
    }
}

impl<'a> Download<'a> {
    fn new(shared: &'a Shared, url: &str, progress: Progress<'a>) -> Result<Self, ClientError> {
        let wrong = |fault| ClientError::Url { url: redact::url_text(url), fault };
        let mut parsed = Url::parse(url).map_err(|_| wrong("it is not a URL"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong("it is neither http nor https"));
        }
        let host = parsed.host_str().unwrap_or_default().to_owned();
        let authorization = user_of(&mut parsed);
        parsed.set_fragment(None);
        let loopback = parsed.scheme() == "http" && is_loopback(&host);
        let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
        let subject = Subject {
            what: redact::url(&parsed),
            host: format!("{host}{port}"),
            doing: "downloading",
        };
        let request = Request {
            method: Method::GET,
            url: parsed,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            trust: if loopback { Trust::Loopback } else { Trust::Verified },
            downgrade: true,
        };
        Ok(Self {
            shared,
            progress,
            subject,
            request,
            authorization,
            total: 0,
            validator: None,
            last_modified: None,
            file_name: None,
        })
    }

    /// One request for what is missing.
    async fn pour(&mut self, ingest: &mut Ingest) -> Result<Step, ClientError> {
        self.ask_for_rest(ingest.size());
        let sent = self.shared.http.send(&self.request, self.authorization.as_ref()).await;
        let mut response = match sent {
            Ok(response) => response,
            Err(HttpError::Protocol(fault)) => {
                let Subject { what, host, .. } = self.subject.clone();
                return Err(ClientError::Protocol { what, host, fault });
            }
            Err(HttpError::Transport(source)) => return Ok(self.broken(source)),
        };
        let status = response.status();
        if !status.is_success() {
            let asked_for = wants_wait(&response);
            let answer = read_answer(&mut response).await;
            let known = self.authorization.is_some();
            let seconds = asked_for.map(in_seconds);
            let error = ClientError::refused(self.subject.clone(), known, seconds, answer);
            if status.as_u16() == 416 && self.validator.take().is_some() {
                return Ok(Step::Wait(error, None));
            }
            let passes = is_temporary(status);
            return if passes { Ok(Step::Wait(error, asked_for)) } else { Err(error) };
        }
        if !self.goes_on(&response, ingest.size()) {
            if ingest.size() > 0 {
                *ingest = self.shared.new_ingest(&self.subject)?;
            }
            self.begin(&response);
        }
        self.within_limit(self.total)?;
        self.receive(response, ingest).await
    }

    async fn receive(
        &mut self,
        mut response: Response,
        ingest: &mut Ingest,
    ) -> Result<Step, ClientError> {
        loop {
            let chunk = match next_chunk(&mut response).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => return Ok(self.broken(error)),
            };
            self.within_limit(ingest.size().saturating_add(chunk.as_ref().len() as u64))?;
            ingest
                .write_all(chunk.as_ref())
                .map_err(|error| self.shared.unwritten(&self.subject.what, error))?;
            (self.progress)(ingest.size(), self.total);
        }
        let (received, expected) = (ingest.size(), self.total);
        if received < expected {
            return Ok(self.broken(TransportError::Short { received, expected }));
        }
        Ok(Step::Done)
    }

    fn ask_for_rest(&mut self, from: u64) {
        let headers = &mut self.request.headers;
        headers.remove(RANGE);
        headers.remove(IF_RANGE);
        if let (Some(validator), 1..) = (&self.validator, from) {
            let range = HeaderValue::from_str(&format!("bytes={from}-"));
            headers.insert(RANGE, range.expect("digits are a header"));
            headers.insert(IF_RANGE, validator.clone());
        }
    }

    /// Whether the response is the rest of what is there.
    fn goes_on(&self, response: &Response, from: u64) -> bool {
        let start = format!("bytes {from}-");
        let range = text(response, CONTENT_RANGE);
        from > 0 && response.status() == 206 && range.is_some_and(|text| text.starts_with(&start))
    }

    /// Takes note of what a whole file says of itself.
    fn begin(&mut self, response: &Response) {
        let headers = response.headers();
        let length = text(response, CONTENT_LENGTH).and_then(|text| text.parse().ok());
        self.total = length.unwrap_or(0);
        let etag = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
        self.validator = etag.or(headers.get(LAST_MODIFIED)).cloned();
        self.last_modified = text(response, LAST_MODIFIED).and_then(http_date);
        self.file_name = text(response, CONTENT_DISPOSITION)
            .and_then(disposition_name)
            .or_else(|| url_name(&self.request.url));
    }

    fn within_limit(&self, bytes: u64) -> Result<(), ClientError> {
        let limit = self.shared.config.download_limit;
        if bytes <= limit {
            return Ok(());
        }
        let Subject { what, host, .. } = self.subject.clone();
        Err(ClientError::OverLimit { what, host, limit })
    }

    fn broken(&self, source: TransportError) -> Step {
        let passes = may_pass_transport(&source, 1);
        let Subject { what, host, .. } = self.subject.clone();
        Step::Broken(ClientError::Unreachable { what, host, source }, passes)
    }

    fn unkept(&self, source: bakehouse_store::StoreError) -> ClientError {
        ClientError::store("write", &self.subject.what, source)
    }
}

fn text(response: &Response, name: HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// Takes user and password out of `url`.
fn user_of(url: &mut Url) -> Option<HeaderValue> {
    let decode = |text: &str| {
        // The query's own decoder would read `+` as a blank.
        let escaped = format!("x={}", text.replace('+', "%2B"));
        let base = Url::parse(&format!("http://x/?{escaped}")).ok()?;
        base.query_pairs().next().map(|(_, value)| value.into_owned())
    };
    let (user, password) = (decode(url.username())?, decode(url.password().unwrap_or(""))?);
    let named = !user.is_empty() || !password.is_empty();
    // Only URLs without a host refuse this, and they are refused before.
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    named.then(|| session::basic(&user, &Secret::new(password))).flatten()
}

/// `filename` of `Content-Disposition: attachment; filename="a.tar"`.
fn disposition_name(header: &str) -> Option<String> {
    let mut parts = header.split(';').skip(1);
    let value = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("filename").then(|| value.trim())
    })?;
    let plain = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    component(plain)
}

fn url_name(url: &Url) -> Option<String> {
    let last = url.path_segments()?.next_back()?;
    let base = Url::parse(&format!("http://x/?x={}", last.replace('+', "%2B"))).ok()?;
    let (_, decoded) = base.query_pairs().next()?;
    component(&decoded)
}

/// The last part of a path, if it may name a file.
fn component(text: &str) -> Option<String> {
    let last = text.rsplit(['/', '\\']).next()?;
    let usable = !matches!(last, "" | "." | "..")
        && last.len() <= 255
        && !last.chars().any(|c| c.is_control() || c == '\u{fffd}');
    usable.then(|| last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_one_component_whoever_gives_it() {
        let cases = [
            ("attachment; filename=\"a b.tar\"", Some("a b.tar")),
            ("attachment; filename=../../etc/passwd", Some("passwd")),
            ("attachment; FileName=x; size=3", Some("x")),
            ("attachment; filename=\"..\"", None),
            ("attachment", None),
        ];
        for (header, expected) in cases {
            assert_eq!(disposition_name(header).as_deref(), expected, "{header}");
        }
        let urls = [
            ("https://h/a/b.tar.gz?x=1", Some("b.tar.gz")),
            ("https://h/a%20b+c", Some("a b+c")),
            ("https://h/..%2f..%2fetc", Some("etc")),
            ("https://h/a/", None),
            ("https://h", None),
        ];
        for (url, expected) in urls {
            assert_eq!(url_name(&Url::parse(url).unwrap()).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn user_and_password_leave_the_url() {
        let mut url = Url::parse("https://us%40er:p%2Bw@h/x").unwrap();
        let header = user_of(&mut url).unwrap();
        assert_eq!((url.as_str(), header.to_str().unwrap()), ("https://h/x", "Basic dXNAZXI6cCt3"));
        assert_eq!(user_of(&mut url), None);
    }
}
