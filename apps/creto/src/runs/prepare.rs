//! From a request to a chain and a specification: who, on whose authority, for how much, with what.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use creto_enablement_common::{AdmitRequest, Refusal, Usage};
use creto_kernel::id::RunId;
use creto_kernel::{Digest, Micros, NhiId, NhiKind};
use creto_nhi::{DelegationChain, Grant, NhiError, Pattern, Principal, VerifiedChain};
use creto_runtime::container::resolve_mount;
use creto_runtime::{Input, RunSpec};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::runs::RunsError;
use crate::server::RUN_TOKEN;
use crate::wiring::House;

/// How long a run may take when nobody says.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);
/// How long a run may take at most.
const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a connection waits for a human.
const HUMAN_WAIT: Duration = Duration::from_secs(600);
/// How much longer than the run its delegation lives, so that its last action can still be settled.
const CHAIN_SLACK: Duration = Duration::from_secs(900);
/// What an agent that is run for somebody may do by its grant; policy narrows it further.
const ACTIONS: [&str; 6] = ["runtime.*", "messaging.*", "metering.*", "memory.*", "tool.*", "oversight.request"];

/// What to run.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunInput {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// The agent; made on first use.
    #[serde(default)]
    agent: Option<String>,
    /// The human on whose authority; the caller when absent.
    #[serde(default)]
    on_behalf_of: Option<String>,
    /// A delegation chain to run under instead.
    #[serde(default)]
    chain: Option<String>,
    /// Most it may spend, as a decimal string.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    budget: Option<Micros>,
    /// Hosts it may reach.
    #[serde(default)]
    allow_hosts: Vec<String>,
    /// Folders it may see.
    #[serde(default)]
    mounts: Vec<String>,
    /// Variables it gets.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Longest time, in seconds.
    #[serde(default)]
    timeout_secs: Option<u64>,
    /// Why, for whoever is asked.
    #[serde(default)]
    reason: Option<String>,
    /// Whether standard input will be sent.
    #[serde(default)]
    pub(crate) stdin: bool,
    /// SHA-256 of the whole standard input, which is sent then: what is approved is the command with exactly these bytes.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) stdin_digest: Option<Digest>,
}

/// A run that is ready to be admitted.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) chain: VerifiedChain,
    pub(super) spec: RunSpec,
    pub(super) token: String,
}

pub(super) async fn prepare(house: &House, caller: &Principal, input: RunInput) -> Result<Prepared, RunsError> {
    let wanted = input.timeout_secs.map_or(TIMEOUT_DEFAULT, Duration::from_secs).min(TIMEOUT_MAX);
    let chain = chain(house, caller, &input, wanted).await?;
    let run = RunId::generate();
    let token = token()?;
    let invalid = |e: &dyn std::fmt::Display| RunsError::Invalid(e.to_string());
    let mut spec = RunSpec::new(run, input.argv);
    for (name, value) in &input.env {
        spec.env.set(name, value).map_err(|e| invalid(&e))?;
    }
    for mount in &input.mounts {
        spec.mounts.push(resolve_mount(mount)?);
    }
    for host in &input.allow_hosts {
        spec.allow_hosts.push(host.parse().map_err(|e: creto_runtime::core::destination::DestinationError| invalid(&e))?);
    }
    spec.wait = HUMAN_WAIT;
    spec.reason = input.reason;
    let (reserve, timeout) = match affordable(house, &chain, wanted).await {
        Err(RunsError::NoBudget(left)) => raised(house, &chain, &spec, left, wanted).await?,
        affordable => affordable?,
    };
    spec.reserve = reserve;
    spec.timeout = Some(timeout);
    spec.input = match (input.stdin_digest, input.stdin) {
        (Some(digest), _) => Input::Bound(digest),
        (None, true) => Input::Stream,
        (None, false) => Input::None,
    };
    let value = HeaderValue::from_str(&token).map_err(|e| invalid(&e))?;
    spec.identity = vec![(HeaderName::from_static(RUN_TOKEN), value)];
    Ok(Prepared { chain, spec, token })
}

/// The chain it runs under: the one that was given, or one link from the human to the agent.
async fn chain(house: &House, caller: &Principal, input: &RunInput, timeout: Duration) -> Result<VerifiedChain, RunsError> {
    if let Some(token) = &input.chain {
        if input.budget.is_some() || input.agent.is_some() || input.on_behalf_of.is_some() {
            return Err(RunsError::Invalid("a `chain` says itself who runs it, for whom, and on which budget".to_owned()));
        }
        let links = DelegationChain::from_token(token)?;
        house.verify_own(&caller.identity, &links)?;
        return Ok(house.authority.accept(&links).await?);
    }
    let tenant = caller.tenant();
    let named = |kind, name: &str| NhiId::new(house.authority.trust_domain(), tenant, kind, name).map_err(NhiError::from);
    let human = match &input.on_behalf_of {
        Some(name) => named(NhiKind::Human, name)?,
        None => caller.identity.clone(),
    };
    let agent = named(NhiKind::Agent, input.agent.as_deref().unwrap_or("agent"))?;
    for identity in [&human, &agent] {
        if house.authority.identity(identity).is_err() {
            house.authority.create_identity(&caller.identity, tenant, identity.kind(), identity.name()).await?;
        }
    }
    let patterns = |words: &[&str]| words.iter().map(|word| Pattern::try_from((*word).to_owned())).collect::<Result<Vec<_>, _>>();
    let grant = Grant {
        actions: patterns(&ACTIONS).map_err(|e| RunsError::Invalid(e.to_string()))?,
        resources: vec![Pattern::any()],
        budget: input.budget,
        not_after: house.now().saturating_add(timeout).saturating_add(CHAIN_SLACK),
        depth: 3,
    };
    let links = house.authority.delegate(&human, &agent, grant).await?;
    Ok(house.authority.verify(&links, house.now())?)
}

/// The money to hold and the time it pays for: the whole time where that is at most half of what the budget has left, else as much time as
/// half of it pays. The other half stays free for what the command does: connections, messages, usage of its own.
async fn affordable(house: &House, chain: &VerifiedChain, wanted: Duration) -> Result<(Micros, Duration), RunsError> {
    let ledger = house.gate.ledger();
    let price = |secs: u64| {
        let usage = [Usage::measured("runtime.seconds", secs)];
        async move { ledger.price(chain.tenant(), &usage).await }
    };
    let whole = price(wanted.as_secs()).await?;
    let Some(available) = ledger.available(chain).await? else { return Ok((whole, wanted)) };
    let half = Micros::new(available.get() / 2);
    if whole <= half {
        return Ok((whole, wanted));
    }
    // Prices are per unit, so the affordable time is their ratio.
    let secs = i128::from(half.get()) * i128::from(wanted.as_secs()) / i128::from(whole.get().max(1));
    let secs = u64::try_from(secs).unwrap_or(0);
    if secs == 0 {
        return Err(RunsError::NoBudget(available));
    }
    Ok((price(secs).await?.min(half), Duration::from_secs(secs)))
}

/// As [`affordable`], once a human has raised a ceiling that does not pay for a second, where its owner lets one be asked.
async fn raised(
    house: &House,
    chain: &VerifiedChain,
    spec: &RunSpec,
    left: Micros,
    wanted: Duration,
) -> Result<(Micros, Duration), RunsError> {
    let invalid = |e: creto_kernel::action::NameError| RunsError::Invalid(e.to_string());
    let mut request = AdmitRequest::new(chain, "runtime.exec".parse().map_err(invalid)?, "sandbox:default".parse().map_err(invalid)?);
    (request.run, request.wait, request.reason) = (Some(spec.run), spec.wait, spec.reason.clone());
    let second = house.gate.ledger().price(chain.tenant(), &[Usage::measured("runtime.seconds", 2_u64)]).await?;
    let short = Refusal::BudgetExceeded { message: RunsError::NoBudget(left).to_string() };
    if house.gate.make_room(&request, second, short).await? {
        return affordable(house, chain, wanted).await;
    }
    Err(RunsError::NoBudget(left))
}

/// What proves to the internal socket which run is calling. It lives in memory and ends with the run.
fn token() -> Result<String, RunsError> {
    let mut bytes = [0; 32];
    creto_crypto::random::fill(&mut bytes).map_err(|e| RunsError::Invalid(e.to_string()))?;
    Ok(hex::encode(bytes))
}
