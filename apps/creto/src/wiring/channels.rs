//! Which channels the configuration names.

use std::sync::Arc;

use creto_config::ConfigFile;
use creto_crypto::Secret;
use creto_enablement_common::outbound::{Outbound, Target};
use creto_oversight::Channel;
use creto_oversight::channels::email::reply::RepliesOptions;
use creto_oversight::channels::email::{Email, EmailOptions};
use creto_oversight::channels::servicenow::{ServiceNow, ServiceNowOptions};
use creto_oversight::channels::slack::{Slack, SlackOptions};
use creto_oversight::channels::teams::Teams;

use super::secret_of;
use crate::failure::Failure;

/// The channels, with their secrets from the environment. A channel that is half configured stops the start: people would wait for it.
pub(super) fn configured(file: &ConfigFile, outbound: &Outbound) -> Result<Vec<Arc<dyn Channel>>, Failure> {
    let mut all: Vec<Arc<dyn Channel>> = Vec::new();
    if let Some(slack) = &file.slack {
        all.push(Arc::new(Slack::new(SlackOptions {
            api: slack.api.parse()?,
            bot_token: needed("slack", "CRETO_SLACK_BOT_TOKEN")?,
            signing_secret: needed("slack", "CRETO_SLACK_SIGNING_SECRET")?,
            room: slack.room.clone(),
            outbound: outbound.clone(),
        })));
    }
    if let Some(email) = &file.email {
        let password = secret_of("CRETO_SMTP_PASSWORD");
        let login = email.user.clone().zip(password);
        let replies = email.replies.as_ref().map(|replies| RepliesOptions {
            address: replies.address.clone(),
            authserv_ids: replies.authserv_ids.clone(),
            authenticated_only: replies.authenticated_only,
        });
        let options = EmailOptions { url: email.url.clone(), login, from: email.from.clone(), domains: email.domains.clone(), replies };
        // The same rule as for everything that is sent: without TLS only to places that are named.
        let place: Option<Target> = email.url.split_once("://").and_then(|(_, rest)| format!("http://{rest}").parse().ok());
        let may_be_plain = place.is_some_and(|place| outbound.names(&place));
        all.push(Arc::new(Email::new(&options, may_be_plain).map_err(|why| refused("email", &why))?));
    }
    if file.teams {
        let url = needed("teams", "CRETO_TEAMS_URL")?;
        let url = std::str::from_utf8(url.expose()).map_err(|e| refused("teams", &e.to_string()))?;
        all.push(Arc::new(Teams::new(url.parse()?, outbound.clone())));
    }
    if let Some(servicenow) = &file.servicenow {
        let options = ServiceNowOptions {
            instance: servicenow.instance.parse()?,
            table: servicenow.table.clone(),
            user: servicenow.user.clone(),
            password: needed("servicenow", "CRETO_SERVICENOW_PASSWORD")?,
            outbound: outbound.clone(),
        };
        all.push(Arc::new(ServiceNow::new(options).map_err(|why| refused("servicenow", &why))?));
    }
    Ok(all)
}

fn needed(channel: &str, variable: &str) -> Result<Secret, Failure> {
    let found = secret_of(variable).ok_or_else(|| refused(channel, &format!("`{variable}` is not set")))?;
    Ok(Secret::new(found.into_bytes()))
}

fn refused(channel: &str, why: &str) -> Failure {
    Failure::usage(format!("the channel `{channel}` cannot be used: {why}"), "see docs/sdd/07-deployment-design.md")
}
