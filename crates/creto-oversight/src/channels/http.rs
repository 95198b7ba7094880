//! Channels over HTTP: how people want to be told, linking, passkey approvals, decisions from a mail's page, and callbacks.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::id::RequestId;
use creto_kernel::{Coded as _, Digest, NhiId, NhiKind};
use creto_nhi::PasskeyQuestion;
use creto_nhi::core::webauthn::Assertion;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Callback, Channels, Link, Preferences, Seen, Signs, Wish};
use crate::error::OversightError;
use crate::http::{request_for, shown_to};
use crate::model::case::Choice;
use crate::model::request::Request;

/// Largest callback, in bytes.
const CALLBACK_BYTES_MAX: usize = 1 << 20;

/// The routes of channels.
#[must_use]
pub fn endpoints(channels: &Channels) -> Vec<Endpoint> {
    let state = || channels.clone();
    let (approver, post, put) = (Access::Approver, Method::POST, Method::PUT);
    #[cfg_attr(not(feature = "email"), expect(unused_mut, reason = "mails are answered where they are sent"))]
    let mut all = vec![
        Endpoint::new(Method::GET, "/v1/oversight/me", approver, "How you are told, and what you linked", me, state()).answers::<Me>(),
        Endpoint::new(put.clone(), "/v1/oversight/me", approver, "Say how you want to be told", prefer, state())
            .takes::<Preferences>()
            .answers::<Me>(),
        Endpoint::new(post.clone(), "/v1/oversight/me/links/{channel}", approver, "A code that links your account there", code, state())
            .takes::<Nothing>()
            .answers::<Code>(),
        Endpoint::new(Method::DELETE, "/v1/oversight/me/links/{channel}", approver, "End your link there", unlink, state()),
        Endpoint::new(put, "/v1/oversight/people/{name}/preferences", Access::Operator, "Say how somebody is told", prefer_for, state())
            .takes::<Preferences>(),
        Endpoint::new(
            post.clone(),
            "/v1/oversight/requests/{id}/passkey/options",
            approver,
            "What a browser is asked so that a passkey approves one digest",
            passkey_options,
            state(),
        )
        .takes::<PasskeyOptionsInput>()
        .answers::<Question>(),
        Endpoint::new(
            post.clone(),
            "/v1/oversight/requests/{id}/passkey",
            approver,
            "Approve exactly one digest by passkey",
            passkey,
            state(),
        )
        .takes::<PasskeyInput>()
        .answers::<Request>(),
        Endpoint::new(
            post.clone(),
            "/v1/oversight/requests/{id}/break-glass/passkey",
            approver,
            "Approve around the requirement by passkey",
            glass,
            state(),
        )
        .takes::<GlassByPasskey>()
        .answers::<Request>(),
        Endpoint::new(post.clone(), "/v1/oversight/requests/{id}/mail", approver, "Decide from the page of a mail", mail, state())
            .takes::<MailInput>()
            .answers::<Request>(),
        Endpoint::new(
            post,
            "/v1/channels/{channel}/callback",
            Access::Public,
            "What a service sends back, signed by it",
            callback,
            state(),
        ),
    ];
    #[cfg(feature = "email")]
    all.push(
        Endpoint::new(
            Method::POST,
            "/v1/oversight/mail",
            Access::Mail,
            "Hand in a mail that answers one of ours, as `message/rfc822`: it becomes a comment and decides nothing",
            answer_by_mail,
            state(),
        )
        .answers::<super::mail::MailKept>(),
    );
    all
}

/// No input.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// How somebody is told.
#[derive(Debug, Serialize, ToSchema)]
struct Me {
    preferences: Preferences,
    links: Vec<Link>,
    /// The channels this server has.
    channels: Vec<String>,
}

/// A linking code.
#[derive(Debug, Serialize, ToSchema)]
struct Code {
    /// Good once, for ten minutes.
    code: String,
    /// What to type there.
    say: String,
}

/// What `navigator.credentials.get` is called with; binary parts are base64url.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApprovalQuestion)]
struct Question {
    challenge: String,
    rp_id: String,
    credentials: Vec<String>,
    user_handle: String,
}

impl From<PasskeyQuestion> for Question {
    fn from(q: PasskeyQuestion) -> Self {
        Self { challenge: q.challenge, rp_id: q.rp_id, credentials: q.credentials, user_handle: q.user_handle }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasskeyOptionsInput {
    #[schema(value_type = String)]
    digest: Digest,
    /// Whether it is to approve or to break the glass.
    #[serde(default)]
    signs: Signs,
}

/// An approval by passkey; binary parts are base64url.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasskeyInput {
    #[schema(value_type = String)]
    digest: Digest,
    /// The digest of the view, where some of the action was hidden.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    shown: Option<Digest>,
    #[serde(default)]
    comment: Option<String>,
    credential: String,
    client_data: String,
    authenticator_data: String,
    signature: String,
}

/// A broken glass by passkey; binary parts are base64url.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GlassByPasskey {
    /// The digest that was seen.
    #[schema(value_type = String)]
    digest: Digest,
    reason: String,
    credential: String,
    client_data: String,
    authenticator_data: String,
    signature: String,
}

/// A decision from a mail's page.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MailInput {
    /// The link's secret.
    token: String,
    choice: Choice,
    /// What an approval approves.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    digest: Option<Digest>,
    /// The digest of the view, where some of the action was hidden.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    shown: Option<Digest>,
    #[serde(default)]
    comment: Option<String>,
}

fn request_id(text: &str) -> Result<RequestId, OversightError> {
    text.parse().map_err(|_| OversightError::UnknownRequest(text.chars().take(80).collect()))
}

async fn described(channels: &Channels, person: &NhiId) -> Result<Json<Me>, Problem> {
    let (preferences, links) = channels.of(person).await?;
    Ok(Json(Me { preferences, links, channels: channels.names() }))
}

async fn me(State(channels): State<Channels>, caller: Caller) -> Result<Json<Me>, Problem> {
    described(&channels, &caller.0.identity).await
}

async fn prefer(State(channels): State<Channels>, caller: Caller, StrictJson(input): StrictJson<Preferences>) -> Result<Json<Me>, Problem> {
    channels.prefer(&caller.0.identity, &caller.0.identity, &input).await?;
    described(&channels, &caller.0.identity).await
}

async fn prefer_for(
    State(channels): State<Channels>,
    caller: Caller,
    Path(name): Path<String>,
    StrictJson(input): StrictJson<Preferences>,
) -> Result<Json<Value>, Problem> {
    let by = &caller.0.identity;
    let unknown = || OversightError::BadInput("there is no such person".to_owned());
    let person = NhiId::new(by.trust_domain(), by.tenant(), NhiKind::Human, &name).map_err(|_| unknown())?;
    if !channels.knows(&person) {
        return Err(unknown().into());
    }
    channels.prefer(by, &person, &input).await?;
    Ok(Json(json!({ "person": person })))
}

async fn code(
    State(channels): State<Channels>,
    caller: Caller,
    Path(channel): Path<String>,
    StrictJson(Nothing {}): StrictJson<Nothing>,
) -> Result<Json<Code>, Problem> {
    let code = channels.link_code(&caller.0.identity, &channel).await?;
    let say = format!("/creto link {code}");
    Ok(Json(Code { code, say }))
}

async fn unlink(State(channels): State<Channels>, caller: Caller, Path(channel): Path<String>) -> Result<Json<Value>, Problem> {
    channels.unlink(&caller.0.identity, &caller.0.identity, &channel).await?;
    Ok(Json(json!({ "channel": channel })))
}

async fn passkey_options(
    State(channels): State<Channels>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<PasskeyOptionsInput>,
) -> Result<Json<Question>, Problem> {
    Ok(Json(channels.passkey_question(&caller.0, request_id(&id)?, input.digest, input.signs).await?.into()))
}

async fn passkey(
    State(channels): State<Channels>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<PasskeyInput>,
) -> Result<Json<Request>, Problem> {
    let PasskeyInput { digest, shown, comment, credential, client_data, authenticator_data, signature } = input;
    let id = request_id(&id)?;
    let seen = (digest, shown_to(&channels.0.desk, &caller, id, Some(digest), shown).await?);
    let assertion = Assertion { credential, client_data, authenticator_data, signature };
    let request = channels.approve_by_passkey(&caller.0, id, seen, comment, &assertion).await?;
    Ok(Json(request_for(&caller, request)))
}

async fn glass(
    State(channels): State<Channels>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<GlassByPasskey>,
) -> Result<Json<Request>, Problem> {
    let GlassByPasskey { digest, reason, credential, client_data, authenticator_data, signature } = input;
    let assertion = Assertion { credential, client_data, authenticator_data, signature };
    let request = channels.break_glass_by_passkey(&caller.0, request_id(&id)?, digest, &reason, &assertion).await?;
    Ok(Json(request_for(&caller, request)))
}

async fn mail(
    State(channels): State<Channels>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<MailInput>,
) -> Result<Json<Request>, Problem> {
    let MailInput { token, choice, digest, shown, comment } = input;
    let id = request_id(&id)?;
    let shown = match choice {
        Choice::Approve => shown_to(&channels.0.desk, &caller, id, digest, shown).await?,
        Choice::Deny => None,
    };
    let request = channels.decide_by_mail(&caller.0, id, &token, choice, Seen { digest, shown }, comment).await?;
    Ok(Json(request_for(&caller, request)))
}

/// Answers as soon as the vote is committed, well within the three seconds a service waits; whoever clicked is told afterwards, and the
/// cards change when the outbox comes to them.
async fn callback(
    State(channels): State<Channels>,
    Path(channel): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    if body.len() > CALLBACK_BYTES_MAX {
        return Err(OversightError::ForgedCallback("it is larger than any callback").into());
    }
    let callback = Callback { headers: &headers, body: &body, now: channels.now() };
    let (answer, done) = channels.callback(&channel, &callback).await?;
    let text = done.unwrap_or_else(|error| format!("nothing was decided: {error} ({})", error.code()));
    if matches!(answer.wish, Wish::Link(_)) {
        let said = json!({ "response_type": "ephemeral", "text": super::visible::mrkdwn(&text) });
        return Ok(Json(said).into_response());
    }
    tokio::spawn(async move { channels.reply(&channel, &answer.reply_to, &text).await });
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "text/plain")], "").into_response())
}

#[cfg(feature = "email")]
async fn answer_by_mail(State(channels): State<Channels>, caller: Caller, body: Bytes) -> Result<Json<super::mail::MailKept>, Problem> {
    Ok(Json(channels.take_mail(&caller.0, &body).await?))
}
