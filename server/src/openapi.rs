//! The description of the API, made from the same types and handlers that serve it.

use std::sync::{LazyLock, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, Schema, SchemaFormat, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{self, ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder, Server};
use utoipa::{Modify, OpenApi as _};

use crate::create::prefix;
use crate::{create, events, list, ops, problem, read, view, write};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "inflight",
        description = "The status of every task in flight: many workers write it, many more pollers read it.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(
        create::create,
        list::list,
        list::batch_get,
        read::read,
        write::patch,
        read::remove,
        succeed,
        fail,
        cancel,
        retry,
        heartbeat,
        read::children,
        result,
        error,
        events::of_task,
        events::of_all,
        list::counts,
        ops::healthz,
        ops::readyz,
        ops::metrics,
    ),
    components(schemas(view::ViewParam, problem::ProblemDetails, events::Ready, events::Left, crate::hub::GoneEvent)),
    modifiers(&Common),
)]
struct Description;

/// What holds for all operations, and so is not written at each.
struct Common;

impl Modify for Common {
    fn modify(&self, description: &mut OpenApi) {
        let components = description.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        // Where there are no tokens, none is needed: the empty requirement.
        description.security = Some(vec![
            SecurityRequirement::default(),
            SecurityRequirement::new("token", Vec::<String>::new()),
        ]);
        for (path, item) in &mut description.paths.paths {
            // A verb without a body is as good as one with an empty object.
            if path.contains("}:")
                && let Some(body) = item.post.as_mut().and_then(|verb| verb.request_body.as_mut())
                && let RefOr::T(body) = body
            {
                body.required = Some(Required::False);
            }
            let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                for parameter in operation.parameters.iter_mut().flatten() {
                    if let RefOr::T(parameter) = parameter {
                        unbound(parameter);
                    }
                }
                operation.responses.responses.insert("default".into(), RefOr::T(any_problem()));
            }
        }
    }
}

/// A number in an address is of any size: what is too large is taken for the largest. And what may be
/// left out of a request's head cannot be `null` there.
fn unbound(parameter: &mut Parameter) {
    let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else { return };
    let is_number = matches!(schema.format, Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
    if parameter.parameter_in == ParameterIn::Query && is_number {
        schema.format = None;
    }
    if let SchemaType::Array(types) = &schema.schema_type
        && let Some(known) = types.iter().find(|one| **one != Type::Null)
    {
        schema.schema_type = SchemaType::Type(known.clone());
    }
}

fn any_problem() -> openapi::Response {
    let schema = Ref::from_schema_name("Problem");
    ResponseBuilder::new()
        .description("Any error: what is wrong, and the value and the limit or the state that was found")
        .content("application/problem+json", ContentBuilder::new().schema(Some(schema)).build())
        .build()
}

static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(Description::openapi);

/// The document itself.
pub(crate) fn document() -> &'static OpenApi {
    &DOCUMENT
}

/// The document for where the router is nested. All who read it share its bytes; of several places it is the
/// last that is kept.
fn rendered(base: &str) -> Bytes {
    static LAST: Mutex<Option<(String, Bytes)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, bytes)) = &*last
        && of == base
    {
        return bytes.clone();
    }
    let mut described = document().clone();
    described.servers = Some(vec![Server::new(base)]);
    let bytes: Bytes = serde_json::to_vec(&described).unwrap_or_default().into();
    *last = Some((base.to_owned(), bytes.clone()));
    bytes
}

pub(crate) async fn serve(request: Request) -> Response {
    // Where the router is nested, the addresses begin with that.
    let base = match prefix(&request) {
        "" => "/",
        prefix => prefix,
    };
    let mut response = Response::new(Body::from(rendered(base)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

// The verbs of a task are one handler, because the router takes `{id}:{verb}` for one segment; here they
// are apart. The same holds for a task's result and error.

/// Ends a task as succeeded
///
/// With a result, or without. The worker's doing; 409 if the task has ended already, or has not been
/// started.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}:succeed",
    params(
        ("id" = String, Path, format = Uuid, description = "The task's id"),
        ("If-Match" = Option<String>, Header, pattern = r#"^(\*|"[!#-~]+"(, ?"[!#-~]+")*)$"#, description = "Only if the task has this version; 412 otherwise"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, description = "The same key and request give the same answer; 422 for another request"),
    ),
    request_body(content = write::Succeed),
    responses((status = 200, description = "The task, ended", body = view::TaskView)),
    tag = "work"
)]
#[expect(dead_code, reason = "it only carries the description")]
fn succeed() {}

/// Ends a task as failed
///
/// With an error, or without, and what kind of failure it was.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}:fail",
    params(
        ("id" = String, Path, format = Uuid, description = "The task's id"),
        ("If-Match" = Option<String>, Header, pattern = r#"^(\*|"[!#-~]+"(, ?"[!#-~]+")*)$"#, description = "Only if the task has this version; 412 otherwise"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, description = "The same key and request give the same answer; 422 for another request"),
    ),
    request_body(content = write::Fail),
    responses((status = 200, description = "The task, ended", body = view::TaskView)),
    tag = "work"
)]
#[expect(dead_code, reason = "it only carries the description")]
fn fail() {}

/// Asks for a task to be cancelled, or agrees to it
///
/// A pending task is cancelled at once. Of another one the worker sees `cancelRequested`, and agrees with
/// `confirm`. 409 if the task has ended.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}:cancel",
    params(
        ("id" = String, Path, format = Uuid, description = "The task's id"),
        ("If-Match" = Option<String>, Header, pattern = r#"^(\*|"[!#-~]+"(, ?"[!#-~]+")*)$"#, description = "Only if the task has this version; 412 otherwise"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, description = "The same key and request give the same answer; 422 for another request"),
    ),
    request_body(content = write::Cancel),
    responses((status = 200, description = "The task, after that", body = view::TaskView)),
    tag = "work"
)]
#[expect(dead_code, reason = "it only carries the description")]
fn cancel() {}

/// Gives the attempt up, and makes the next one pending
///
/// Its progress starts at 0. 409 unless the task is running or blocked.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}:retry",
    params(
        ("id" = String, Path, format = Uuid, description = "The task's id"),
        ("If-Match" = Option<String>, Header, pattern = r#"^(\*|"[!#-~]+"(, ?"[!#-~]+")*)$"#, description = "Only if the task has this version; 412 otherwise"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, description = "The same key and request give the same answer; 422 for another request"),
    ),
    request_body(content = write::Plain),
    responses((status = 200, description = "The task, pending again", body = view::TaskView)),
    tag = "work"
)]
#[expect(dead_code, reason = "it only carries the description")]
fn retry() {}

/// Says that the worker is alive
///
/// Extends the lease. 409 once the lease has run out, and if there was none. The answer tells whether
/// cancellation was requested.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}:heartbeat",
    params(
        ("id" = String, Path, format = Uuid, description = "The task's id"),
        ("If-Match" = Option<String>, Header, pattern = r#"^(\*|"[!#-~]+"(, ?"[!#-~]+")*)$"#, description = "Only if the task has this version; 412 otherwise"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, description = "The same key and request give the same answer; 422 for another request"),
    ),
    request_body(content = write::Plain),
    responses((status = 200, description = "The task", body = view::TaskView)),
    tag = "work"
)]
#[expect(dead_code, reason = "it only carries the description")]
fn heartbeat() {}

/// A task's result, as it is
///
/// With the media type that it has.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/result",
    params(("id" = String, Path, format = Uuid, description = "The task's id")),
    responses((status = 200, description = "The bytes", body = serde_json::Value, content_type = "*/*")),
    tag = "read"
)]
#[expect(dead_code, reason = "it only carries the description")]
fn result() {}

/// A task's error, as it is
///
/// With the media type that it has.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/error",
    params(("id" = String, Path, format = Uuid, description = "The task's id")),
    responses((status = 200, description = "The bytes", body = serde_json::Value, content_type = "*/*")),
    tag = "read"
)]
#[expect(dead_code, reason = "it only carries the description")]
fn error() {}
