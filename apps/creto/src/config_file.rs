//! The form of the configuration file, by itself: what the binary reads and what feeds it in tests and fuzzing.

use std::net::SocketAddr;
use std::path::PathBuf;

use creto_kernel::{NhiId, TenantId};
use serde::Deserialize;

/// What the configuration file may say. Unknown names are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// Where HTTP is served, unless the flag says otherwise.
    pub listen: Option<SocketAddr>,
    /// Where clients reach this server, such as `https://creto.example`; its host is a name of the server.
    pub public_url: Option<String>,
    /// Further names of this server, `host` or `host:port`: signed requests are taken for these.
    pub host_names: Vec<String>,
    /// The trust domain of all identities.
    pub trust_domain: String,
    /// The tenant of the local human.
    pub tenant: TenantId,
    /// PostgreSQL's URL; the embedded SQLite file when absent.
    pub postgres: Option<String>,
    /// Redis's URL, through which servers of one PostgreSQL share leases of quotas. `CRETO_REDIS_URL` goes before it: it may hold a password.
    pub redis: Option<String>,
    /// The folder with `master.key` and `keys/`, where servers share them; the data directory when absent.
    pub keys_dir: Option<PathBuf>,
    /// The `runsc` to use; the newest found when absent.
    pub runsc: Option<PathBuf>,
    /// The tools folder.
    pub tools_dir: Option<PathBuf>,
    /// Mail to approvers.
    pub email: Option<EmailFile>,
    /// Slack. The bot's token is `CRETO_SLACK_BOT_TOKEN`, the signing secret `CRETO_SLACK_SIGNING_SECRET`.
    pub slack: Option<SlackFile>,
    /// Teams, by a Workflows webhook whose address is `CRETO_TEAMS_URL`.
    pub teams: bool,
    /// ServiceNow. The password is `CRETO_SERVICENOW_PASSWORD`.
    pub servicenow: Option<ServiceNowFile>,
    /// Stripe, through which invoices are paid. The secret key is `CRETO_STRIPE_SECRET_KEY`, the webhook's signing secret
    /// `CRETO_STRIPE_WEBHOOK_SECRET`.
    pub stripe: Option<StripeFile>,
    /// The identity provider people may sign in through.
    pub oidc: Option<OidcFile>,
    /// Begins an installation for tests: its decisions bind nobody, and its receipts say so. Only in a data directory that is not used yet.
    pub test_mode: bool,
    /// Sandboxes kept warm.
    pub warm_sandboxes: usize,
    /// How fast agents may act: everybody, the agents of a tenant, one agent.
    pub rates: Vec<RateEntry>,
    /// Places, `host` or `host:port`, to which the server itself may send although they are inside addresses or speak no TLS.
    pub outbound_allow: Vec<String>,
    /// Further certificate authorities for what the server itself sends, as a PEM file.
    pub outbound_authorities: Option<PathBuf>,
}

/// One `[[rates]]`: of everybody where it names neither tenant nor agent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateEntry {
    /// Of each agent of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this agent, by its whole name, `spiffe://…`.
    pub agent: Option<NhiId>,
    /// Actions a second in the long run.
    pub per_second: u32,
    /// Actions at once.
    pub burst: u32,
}

/// A mail server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailFile {
    /// `smtps://HOST`, or `smtp://HOST:PORT?tls=required`; without TLS only to places `outbound_allow` names.
    pub url: String,
    /// Who mails are from.
    pub from: String,
    /// Who we are there; the password is `CRETO_SMTP_PASSWORD`.
    #[serde(default)]
    pub user: Option<String>,
    /// Domains to whose addresses an agent's request may have mail sent, beside the domain mails are from.
    #[serde(default)]
    pub domains: Vec<String>,
    /// How answers to mails are taken; they are read by nobody when absent.
    #[serde(default)]
    pub replies: Option<RepliesFile>,
}

/// Answers to mails: a mail server hands them in with `creto oversight mail`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepliesFile {
    /// Where they go, such as `approvals@creto.example`: its mail server must deliver `approvals+ANYTHING` there too.
    pub address: String,
    /// The names (authserv-id) under which our own mail servers write `Authentication-Results`. Others are not believed.
    #[serde(default)]
    pub authserv_ids: Vec<String>,
    /// Refuse a mail of which none of them says that its sender's domain sent it.
    #[serde(default)]
    pub authenticated_only: bool,
}

/// A Slack application.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackFile {
    /// The Web API.
    #[serde(default = "slack_api")]
    pub api: String,
    /// The room every card is posted to.
    #[serde(default)]
    pub room: Option<String>,
}

fn slack_api() -> String {
    "https://slack.com/api".to_owned()
}

/// A ServiceNow instance.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceNowFile {
    /// Such as `https://name.service-now.com`.
    pub instance: String,
    /// The table records are made in.
    #[serde(default = "task")]
    pub table: String,
    /// Who we are there.
    pub user: String,
}

fn task() -> String {
    "task".to_owned()
}

/// A Stripe account.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StripeFile {
    /// The API.
    #[serde(default = "stripe_api")]
    pub api: String,
    /// A file with the secret key, where the environment has none.
    #[serde(default)]
    pub secret_key_file: Option<PathBuf>,
    /// A file with the webhook's signing secret, where the environment has none.
    #[serde(default)]
    pub webhook_secret_file: Option<PathBuf>,
    /// Whether Stripe sends the invoices and waits; else it charges the customer's payment method.
    #[serde(default)]
    pub send_invoices: bool,
    /// After how many seconds an open payment is looked at, where Stripe told nothing of it.
    #[serde(default = "poll_secs")]
    pub poll_secs: u64,
}

fn stripe_api() -> String {
    "https://api.stripe.com".to_owned()
}

const fn poll_secs() -> u64 {
    900
}

/// An OpenID Connect provider. The client's secret, where it has one, is `CRETO_OIDC_CLIENT_SECRET`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcFile {
    /// The issuer, exactly as its configuration names it.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// What is asked for.
    #[serde(default = "scope")]
    pub scope: String,
    /// The claim that names a person here at their first sign-in.
    #[serde(default = "name_claim")]
    pub name_claim: String,
    /// The claim that lists groups.
    #[serde(default = "groups_claim")]
    pub groups_claim: String,
    /// Groups whose members decide requests. Empty is nobody.
    #[serde(default)]
    pub approvers: Vec<String>,
    /// Groups whose members administer too. Empty is nobody.
    #[serde(default)]
    pub operators: Vec<String>,
}

fn scope() -> String {
    "openid profile email".to_owned()
}

fn name_claim() -> String {
    "preferred_username".to_owned()
}

fn groups_claim() -> String {
    "groups".to_owned()
}

impl Default for ConfigFile {
    fn default() -> Self {
        Self {
            listen: None,
            public_url: None,
            host_names: Vec::new(),
            trust_domain: "creto.local".to_owned(),
            #[expect(clippy::unwrap_used, reason = "a literal that is a DNS label")]
            tenant: "default".parse().unwrap(),
            postgres: None,
            redis: None,
            keys_dir: None,
            runsc: None,
            tools_dir: None,
            email: None,
            slack: None,
            teams: false,
            servicenow: None,
            stripe: None,
            oidc: None,
            test_mode: false,
            warm_sandboxes: 0,
            rates: Vec::new(),
            outbound_allow: Vec::new(),
            outbound_authorities: None,
        }
    }
}

impl ConfigFile {
    /// Reads TOML.
    ///
    /// # Errors
    /// What is wrong, in the parser's words; an unknown name is refused by name.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|e| e.message().to_owned())
    }
}
