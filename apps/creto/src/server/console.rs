//! The console: built files, embedded in the binary.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../../console/dist"]
#[allow_missing = true]
struct Files;

/// No inline code, no foreign hosts, no framing.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

const NOT_BUILT: &str = "<!doctype html><title>creto</title><p>This binary was built without the console. \
                         <code>cargo xtask setup</code> builds it, and the next build of the binary embeds it. The API is at \
                         <a href=\"/openapi.json\">/openapi.json</a>.</p>";

/// Serves the files; every path that is none of them and no API is the page itself.
pub(super) fn router() -> Router {
    Router::new()
        .route("/", get(|| async { file("index.html") }))
        .route("/assets/{*path}", get(asset))
        .route("/favicon.svg", get(|| async { file("favicon.svg") }))
}

async fn asset(Path(path): Path<String>) -> Response {
    file(&format!("assets/{path}"))
}

fn file(path: &str) -> Response {
    let guarded = |kind: &'static str| {
        [
            (header::CONTENT_TYPE, kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (HeaderName::from_static("referrer-policy"), "no-referrer"),
        ]
    };
    match Files::get(path) {
        Some(found) => (guarded(kind_of(path)), found.data.into_owned()).into_response(),
        None if path == "index.html" => (guarded("text/html; charset=utf-8"), NOT_BUILT).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn kind_of(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        Some("json" | "map") => "application/json",
        _ => "application/octet-stream",
    }
}
