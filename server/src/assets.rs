//! The files of the dashboard, embedded in the binary.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::{OriginalUri, Request};
use axum::response::Response;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, StatusCode};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::problem::{Kind, Problem};

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

/// Scripts and styles come from here and nowhere else, and no other page frames this one.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
     connect-src 'self'; manifest-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
);

/// What is at a path that nothing else answers: a file of the dashboard, or nothing.
pub(crate) async fn serve(request: Request) -> Result<Response, Problem> {
    let path = request.uri().path();
    let name = match path.trim_start_matches('/') {
        "" => "index.html",
        name => name,
    };
    // Only names that were there at build time are found, so no path leads anywhere else.
    let nothing = || Problem::new(Kind::NoRoute, format!("there is nothing at {path:?}"));
    let file = Assets::get(name).ok_or_else(nothing)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let problem = Problem::new(Kind::MethodNotAllowed, "a page is only read");
        return Err(problem.with_header(hyper::header::ALLOW, HeaderValue::from_static("GET, HEAD")));
    }
    let address = request.extensions().get::<OriginalUri>().map_or(path, |uri| uri.0.path());
    let mut response = answer(name, &file, request.headers());
    if name == "index.html" && response.status() == StatusCode::OK {
        *response.body_mut() = Body::from(with_base(&file, address));
    }
    Ok(response)
}

/// The page, which refers to what is beside it: told where that is, for an address that does not end with
/// a slash, as that of a nested router does.
fn with_base(file: &EmbeddedFile, address: &str) -> Vec<u8> {
    let page = String::from_utf8_lossy(&file.data);
    if address.ends_with('/') || address.ends_with(".html") {
        return page.into_owned().into_bytes();
    }
    let address = address.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    page.replacen("<head>", &format!("<head><base href=\"{address}/\">"), 1).into_bytes()
}

/// The bytes as they are in the program, which all who read them share.
fn shared(file: &EmbeddedFile) -> Body {
    match &file.data {
        Cow::Borrowed(bytes) => Body::from(*bytes),
        Cow::Owned(bytes) => Body::from(bytes.clone()),
    }
}

fn answer(name: &str, file: &EmbeddedFile, asked: &HeaderMap) -> Response {
    let hash = file.metadata.sha256_hash();
    let etag: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let etag = HeaderValue::try_from(format!("\"{etag}\"")).unwrap_or(HeaderValue::from_static("\"\""));
    let is_known = asked.get(IF_NONE_MATCH).is_some_and(|known| known == etag);
    let mut response = if is_known { Response::default() } else { Response::new(shared(file)) };
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(ETAG, etag);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_TYPE, media_type(name));
    protect(headers);
    response
}

/// What keeps a page from being misused.
pub(crate) fn protect(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

fn media_type(name: &str) -> HeaderValue {
    HeaderValue::from_static(match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    })
}
