//! Routes of the interface whose part of the product is not there yet: they exist, are described, and answer
//! what a client can do instead.

use axum::Router;
use axum::routing::on;
use http::Method;
use serde_json::{Value as Json, json};

use super::app::{App, later};
use super::failure::Failure;

/// What is not there, what to do instead, and the routes that would offer it.
struct Part {
    what: &'static str,
    hint: &'static str,
    tag: &'static str,
    routes: &'static [(Method, &'static str)],
}

const PARTS: &[Part] = &[Part {
    what: "access control",
    hint: "let the server listen on an address that only trusted clients reach",
    tag: "Access",
    routes: &[
        (Method::GET, "/auth/keys"),
        (Method::POST, "/auth/keys"),
        (Method::DELETE, "/auth/keys/{id}"),
        (Method::GET, "/auth/users"),
        (Method::POST, "/auth/users"),
        (Method::DELETE, "/auth/users/{id}"),
        (Method::POST, "/auth/login"),
        (Method::GET, "/audit"),
        (Method::POST, "/cluster/join-tokens"),
    ],
}];

/// The routes, each refused with `not_supported`.
pub fn routes() -> Router<App> {
    let mut router = Router::new();
    for part in PARTS {
        for (method, path) in part.routes {
            let filter = method.clone().try_into().expect("the methods above are usual ones");
            let refuse = async || Failure::from(later(part.what, part.hint));
            router = router.route(path, on(filter, refuse));
        }
    }
    router
}

/// The routes as `/openapi.json` describes them: path, method and operation.
pub fn descriptions() -> impl Iterator<Item = (&'static str, String, Json)> {
    PARTS.iter().flat_map(|part| {
        part.routes.iter().map(|(method, path)| {
            let refused = format!("`not_supported`: {} is not supported yet; {}", part.what, part.hint);
            let operation = json!({
                "tags": [part.tag],
                "parameters": parameters(path),
                "responses": { "422": { "description": refused } },
            });
            (*path, method.as_str().to_ascii_lowercase(), operation)
        })
    })
}

fn parameters(path: &str) -> Vec<Json> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter =
        |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
    names.map(parameter).collect()
}
