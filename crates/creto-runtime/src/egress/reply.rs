//! Answers of the gateway's own.

use bytes::Bytes;
use creto_kernel::ErrorCode;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};

/// A body, ours or relayed.
pub(super) type Body = BoxBody<Bytes, hyper::Error>;

/// The header that tells our own refusals from a server's.
pub(super) const ERROR_HEADER: &str = "x-creto-error";

pub(super) fn established() -> Response<Body> {
    Response::new(Empty::new().map_err(|never| match never {}).boxed())
}

pub(super) fn denied(message: &str) -> Response<Body> {
    refusal(StatusCode::FORBIDDEN, ErrorCode::new("runtime.egress_denied"), message)
}

pub(super) fn malformed(message: &str) -> Response<Body> {
    refusal(StatusCode::BAD_REQUEST, ErrorCode::new("runtime.invalid_destination"), message)
}

pub(super) fn unreachable(message: &str) -> Response<Body> {
    refusal(StatusCode::BAD_GATEWAY, ErrorCode::new("runtime.egress_failed"), message)
}

fn refusal(status: StatusCode, code: ErrorCode, message: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(format!("creto: {message}\n"))).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(ERROR_HEADER, HeaderValue::from_static(code.as_str()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
