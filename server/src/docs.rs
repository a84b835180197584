//! The API for people: one page, made from the same description, with no script and nothing from
//! elsewhere.
#![expect(clippy::indexing_slicing, reason = "what is not in a JSON value is null, and no panic")]

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::Value;

use crate::assets::protect;
use crate::openapi::document;

const STYLE: &str = include_str!("docs.css");

pub(crate) async fn serve() -> Response {
    static PAGE: LazyLock<Bytes> = LazyLock::new(|| render().into());
    let mut response = Response::new(Body::from(PAGE.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    protect(headers);
    response
}

pub(crate) async fn style() -> Response {
    let mut response = Response::new(Body::from(STYLE));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    protect(headers);
    response
}

const SECTIONS: [(&str, &str); 4] = [
    ("work", "For those who do the work"),
    ("read", "For those who know a task's id"),
    ("find", "For those who look for tasks"),
    ("operate", "For those who run the service"),
];

fn render() -> String {
    let api = serde_json::to_value(document()).unwrap_or_default();
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>inflight: the API</title><link rel=\"stylesheet\" href=\"docs.css\"></head><body><main>",
    );
    let about = text(&api["info"]["description"]);
    let _ = write!(
        page,
        "<h1>The API</h1><p>{about} <a href=\"openapi.json\">The same as OpenAPI 3.1</a>, and \
         <a href=\"./\">the dashboard</a>.</p><p>Every error is answered with problem details \
         (RFC 9457). Where tokens are set up, each request carries <code>Authorization: Bearer</code>.</p>"
    );
    for (tag, title) in SECTIONS {
        let _ = write!(page, "<section><h2>{title}</h2>");
        for (path, method, operation) in operations(&api, tag) {
            put_operation(&mut page, path, method, operation);
        }
        page.push_str("</section>");
    }
    page.push_str("<section><h2>What is sent and answered</h2>");
    for (name, schema) in api["components"]["schemas"].as_object().into_iter().flatten() {
        put_schema(&mut page, name, schema);
    }
    page.push_str("</section></main></body></html>");
    page
}

fn operations<'a>(api: &'a Value, tag: &'a str) -> impl Iterator<Item = (&'a str, &'a str, &'a Value)> {
    let items = api["paths"].as_object().into_iter().flatten();
    let all = items.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    all.filter(move |(_, _, operation)| operation["tags"][0] == tag)
}

fn put_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    let method = method.to_uppercase();
    let (summary, about) = (text(&operation["summary"]), text(&operation["description"]));
    let path = escape(path);
    let _ = write!(
        page,
        "<article><h3>{summary}</h3><p class=\"line\"><b>{method}</b> <code>{path}</code></p><p>{about}</p>"
    );
    let parameters = operation["parameters"].as_array();
    let body = reference(&operation["requestBody"]["content"]["application/json"]["schema"]);
    if parameters.is_some() || body.is_some() {
        page.push_str("<dl>");
        for parameter in parameters.into_iter().flatten() {
            let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
            let about = text(&parameter["description"]);
            let _ = write!(page, "<dt><code>{name}</code> <i>{place}</i></dt><dd>{about}</dd>");
        }
        if let Some(name) = body {
            let _ = write!(page, "<dt>body</dt><dd>{}</dd>", link(name));
        }
        page.push_str("</dl>");
    }
    page.push_str("<dl class=\"answers\">");
    for (code, answer) in operation["responses"].as_object().into_iter().flatten() {
        let about = text(&answer["description"]);
        let schemas = answer["content"].as_object().into_iter().flatten();
        let schema = schemas.filter_map(|(_, content)| reference(&content["schema"])).map(link).next();
        let _ = write!(page, "<dt>{code}</dt><dd>{about} {}</dd>", schema.unwrap_or_default());
    }
    page.push_str("</dl></article>");
}

fn put_schema(page: &mut String, name: &str, schema: &Value) {
    let name = escape(name);
    let about = text(&schema["description"]);
    let _ = write!(page, "<article id=\"{name}\"><h3>{name}</h3><p>{about}</p>");
    if let Some(names) = schema["enum"].as_array() {
        let names: Vec<String> = names.iter().map(|name| format!("<code>{}</code>", text(name))).collect();
        let _ = write!(page, "<p>{}</p>", names.join(", "));
    }
    if let Some(properties) = schema["properties"].as_object() {
        page.push_str("<dl>");
        for (field, property) in properties {
            let (field, about) = (escape(field), text(&property["description"]));
            let _ =
                write!(page, "<dt><code>{field}</code> <i>{}</i></dt><dd>{about}</dd>", type_of(property));
        }
        page.push_str("</dl>");
    }
    page.push_str("</article>");
}

/// What sort of value a schema describes, in a word or a link.
fn type_of(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return link(name);
    }
    for alternatives in ["oneOf", "anyOf", "allOf"] {
        if let Some(name) = schema[alternatives].as_array().into_iter().flatten().find_map(reference) {
            return link(name);
        }
    }
    if let Some(item) = schema.get("items") {
        return format!("list of {}", type_of(item));
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        one => text(one),
    };
    match schema["format"].as_str() {
        Some(format) if !format.starts_with("int") && format != "double" => {
            format!("{types}, {}", escape(format))
        }
        _ => types,
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str().and_then(|path| path.rsplit('/').next())
}

fn link(name: &str) -> String {
    let name = escape(name);
    format!("<a href=\"#{name}\">{name}</a>")
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_schema_is_on_the_page() {
        let (page, api) = (render(), serde_json::to_value(document()).unwrap());
        for (path, _) in api["paths"].as_object().unwrap() {
            assert!(page.contains(&format!("<code>{}</code>", escape(path))), "{path}");
        }
        for (name, _) in api["components"]["schemas"].as_object().unwrap() {
            assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
        }
        assert!(!page.contains("://"), "nothing comes from elsewhere");
    }
}
