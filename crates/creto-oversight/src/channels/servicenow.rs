//! ServiceNow, by its Table API: a record for each request, found again by `correlation_id`, closed when the request is over. It tells and
//! links; what somebody sets there decides nothing here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creto_crypto::Secret;
use creto_enablement_common::outbound::{Answer, Outbound, OutboundRequest, Target as Place};
use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::{Card, Channel, ChannelError, Target};

/// What the channel is built from.
#[derive(Debug, Clone)]
pub struct ServiceNowOptions {
    /// The instance, `https://name.service-now.com`.
    pub instance: Place,
    /// The table records are made in, such as `task` or `incident`.
    pub table: String,
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Sends.
    pub outbound: Outbound,
}

/// The channel.
#[derive(Debug)]
pub struct ServiceNow(ServiceNowOptions);

impl ServiceNow {
    /// The channel over its options; refused where the table's name could be another path.
    pub fn new(options: ServiceNowOptions) -> Result<Self, String> {
        let fits = !options.table.is_empty() && options.table.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if fits { Ok(Self(options)) } else { Err("the name of a table has letters, digits and `_`".to_owned()) }
    }

    async fn call(&self, method: Method, rest: &str, body: Option<&Value>) -> Result<Answer, ChannelError> {
        let target = self.0.instance.at(&format!("/api/now/table/{}{rest}", self.0.table))?;
        let login = [self.0.user.as_bytes(), b":", self.0.password.expose()].concat();
        let mut basic =
            HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(login))).map_err(|e| ChannelError::Never(e.to_string()))?;
        basic.set_sensitive(true);
        let mut request = OutboundRequest::post_json(target, body.map(|body| body.to_string().into_bytes()).unwrap_or_default());
        request.method = method;
        let request = request.header(AUTHORIZATION, basic).header(ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.0.outbound.send(request).await?;
        match answer.status {
            200..=299 => Ok(answer),
            404 => Err(ChannelError::Never("servicenow has no such record".to_owned())),
            status => Err(ChannelError::Later(format!("servicenow answered {status}"))),
        }
    }

    /// The record of a request, where an earlier delivery made it and died before it was on record here.
    async fn find(&self, request: &str) -> Result<Option<String>, ChannelError> {
        let rest = format!("?sysparm_query=correlation_id={request}&sysparm_fields=sys_id&sysparm_limit=1");
        let answer = self.call(Method::GET, &rest, None).await?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok(said.pointer("/result/0/sys_id").and_then(Value::as_str).map(str::to_owned))
    }
}

fn record(card: &Card) -> Value {
    json!({
        "correlation_id": card.request.id, "correlation_display": "creto", "short_description": card.title,
        "description": format!("{}\n{}\n\n{}\n\nSHA-256 {}\nRead and decide: {}", card.chain, card.standing(), card.action, card.request.digest, card.url),
        "active": card.waits(),
    })
}

impl Channel for ServiceNow {
    fn name(&self) -> &'static str {
        "servicenow"
    }

    fn rooms(&self) -> Vec<String> {
        vec!["servicenow".to_owned()]
    }

    fn send<'a>(&'a self, card: &'a Card, target: &'a Target) -> BoxFuture<'a, Result<String, ChannelError>> {
        Box::pin(async move {
            if let Some(found) = self.find(&card.request.id).await? {
                self.update(card, target, &found).await?;
                return Ok(found);
            }
            let answer = self.call(Method::POST, "", Some(&record(card))).await?;
            let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let id = said.pointer("/result/sys_id").and_then(Value::as_str);
            id.map(str::to_owned).ok_or_else(|| ChannelError::Later("servicenow named no record".to_owned()))
        })
    }

    fn update<'a>(&'a self, card: &'a Card, _: &'a Target, reference: &'a str) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(async move {
            if !reference.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err(ChannelError::Never("the record's name is none".to_owned()));
            }
            self.call(Method::PATCH, &format!("/{reference}"), Some(&record(card))).await.map(|_| ())
        })
    }
}
