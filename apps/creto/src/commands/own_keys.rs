//! `creto agent key`: keys that are kept here and registered there.

pub(super) mod store;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use creto_kernel::id::LinkId;
use creto_kernel::{Clock as _, Micros, NhiId, SystemClock};
use creto_nhi::model::link::root_anchor;
use creto_nhi::{DELEGATION_DOMAIN, DelegationChain, Grant, KeyRegistration, LinkBody, Pattern};
use http::{Method, Uri};
use serde_json::{Value, json};

use crate::cli::own_keys::{OwnDelegateArgs, OwnKeyArgs, OwnKeyCommand};
use crate::client::Client;
use crate::commands::answer::{encode, moment, print, rows, seconds, short, show, table, text};
use crate::commands::remote::Remote;
use crate::config::Config;
use crate::failure::Failure;
use store::OwnKeys;

/// Longest body that is signed, in bytes: what a server reads.
const BODY_BYTES_MAX: u64 = 8 << 20;

/// The way to the server: with a credential, or as the owner of the data directory.
enum Way {
    Far(Remote),
    Own(Client),
}

impl Way {
    async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        match self {
            Self::Far(remote) => remote.json(method, path, body).await,
            Self::Own(client) => client.json(method, path, body).await,
        }
    }

    async fn identity(&self) -> Result<NhiId, Failure> {
        let whoami = self.json(Method::GET, "/v1/whoami", None).await?;
        let identity = whoami.get("identity").and_then(Value::as_str).unwrap_or_default();
        identity.parse().map_err(|_| Failure::protocol("the server does not say who we are"))
    }
}

/// Makes, registers, lists and ends keys, and signs with them.
pub(super) async fn own_keys(data: Option<PathBuf>, act_as: Option<String>, args: OwnKeyArgs, json: bool) -> Result<ExitCode, Failure> {
    match &args.command {
        OwnKeyCommand::Create { name } => {
            let key = OwnKeys::open(&args.reach.keys)?.create(name)?;
            let answer = json!({ "name": name, "key": key.key_id(), "public": key.public() });
            show(json, &answer, |answer| {
                format!("made key `{}`; register it with `creto agent key register {}`\n", text(answer, "key"), text(answer, "name"))
            })
        }
        OwnKeyCommand::Headers { name, method, target, body } => headers(&args, name, method, target, body.as_deref()),
        _ => {
            let way = match Remote::is_reached(&args.reach) {
                true => Way::Far(Remote::as_agent(&args.reach)?),
                false => Way::Own(Client::open(Config::load(data, None, None)?, act_as).await?),
            };
            let done = with_server(&way, &args, json).await;
            if let Way::Own(client) = way {
                client.close().await?;
            }
            done
        }
    }
}

async fn with_server(way: &Way, args: &OwnKeyArgs, json: bool) -> Result<ExitCode, Failure> {
    match &args.command {
        OwnKeyCommand::Register { name, rotate } => register(way, args, name, *rotate, json).await,
        OwnKeyCommand::Delegate(wanted) => delegate(way, args, wanted, json).await,
        OwnKeyCommand::List { agent } => {
            let answer = way.json(Method::GET, &place(agent.as_deref()), None).await?;
            show(json, &answer, list)
        }
        OwnKeyCommand::Revoke { key, agent } => {
            let path = format!("{}/{}", place(agent.as_deref()), encode(key));
            let answer = way.json(Method::DELETE, &path, None).await?;
            show(json, &answer, |answer| format!("revoked `{}`: nothing it ever signed counts any more\n", text(answer, "key")))
        }
        OwnKeyCommand::Create { .. } | OwnKeyCommand::Headers { .. } => Err(Failure::protocol("this command needs no server")),
    }
}

fn place(agent: Option<&str>) -> String {
    agent.map_or_else(|| "/v1/own/keys".to_owned(), |name| format!("/v1/identities/agent/{}/keys", encode(name)))
}

async fn register(way: &Way, args: &OwnKeyArgs, name: &str, rotate: bool, json: bool) -> Result<ExitCode, Failure> {
    let keys = OwnKeys::open(&args.reach.keys)?;
    let identity = way.identity().await?;
    let key = if rotate { keys.rotate(name)? } else { keys.key(name)? };
    let offered = KeyRegistration::sign(&identity, &key, SystemClock.now())?;
    let answer = way.json(Method::POST, "/v1/own/keys", Some(&json!(offered))).await?;
    if let Some(chain) = answer.get("chain").and_then(Value::as_str) {
        keys.keep_chain(name, chain)?;
    }
    show(json, &answer, |answer| {
        let who = text(answer, "identity");
        format!("registered `{}`: from now on only it signs for `{}`\n", text(answer, "key"), short(&who))
    })
}

/// Signs the link here and hands it in: the server never has the key, and can add nothing to what was signed.
async fn delegate(way: &Way, args: &OwnKeyArgs, wanted: &OwnDelegateArgs, json: bool) -> Result<ExitCode, Failure> {
    let keys = OwnKeys::open(&args.reach.keys)?;
    let key = keys.key(&wanted.name)?;
    let identity = way.identity().await?;
    let parent = keys.chain(&wanted.name)?.filter(|chain| chain.claimed_leaf() == Some(&identity));
    let body = link(&identity, parent.as_ref(), wanted)?;
    let signature = key.sign(DELEGATION_DOMAIN, &body.canonical_bytes().map_err(creto_nhi::NhiError::from)?)?;
    let signed = body.signed(signature);
    let chain = match &parent {
        Some(parent) => parent.extended(signed)?,
        None => DelegationChain::from_links(vec![signed])?,
    };
    let token = chain.to_token()?;
    let mut answer = way.json(Method::POST, "/v1/chains", Some(&json!({ "chain": token }))).await?;
    if !json {
        let until = moment(&answer, "not_after");
        eprintln!("link `{}`, until {until}, signed by your own key; run under it with `creto run --chain …`", text(&answer, "link"));
    }
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("chain".to_owned(), Value::String(token));
    }
    show(json, &answer, |answer| format!("{}\n", text(answer, "chain")))
}

fn link(from: &NhiId, parent: Option<&DelegationChain>, wanted: &OwnDelegateArgs) -> Result<LinkBody, Failure> {
    let refused = |e: String| Failure::usage(e, "see `creto agent key delegate --help`");
    let to =
        NhiId::new(from.trust_domain(), from.tenant(), creto_kernel::NhiKind::Agent, &wanted.to).map_err(|e| refused(e.to_string()))?;
    let held = parent.and_then(|chain| chain.links().last());
    let patterns = |words: &[String], held: Option<&Vec<Pattern>>| match words.is_empty() {
        true => Ok(held.cloned().unwrap_or_else(|| vec![Pattern::any()])),
        false => words.iter().map(|word| Pattern::try_from(word.clone()).map_err(|e| refused(e.to_string()))).collect(),
    };
    let budget: Option<Micros> = wanted
        .budget
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| Failure::usage("`--budget` is no amount".to_owned(), "write a decimal number such as 2.50"))?;
    let now = SystemClock.now();
    let asked = now.saturating_add(std::time::Duration::from_secs(seconds("--ttl", &wanted.ttl)?));
    let grant = Grant {
        actions: patterns(&wanted.actions, held.map(|link| &link.grant.actions))?,
        resources: patterns(&wanted.resources, held.map(|link| &link.grant.resources))?,
        budget,
        not_after: held.map_or(asked, |link| asked.min(link.grant.not_after)),
        depth: wanted.depth,
    };
    let parent = match held {
        Some(link) => link.digest().map_err(creto_nhi::NhiError::from)?,
        None => root_anchor(from),
    };
    Ok(LinkBody { id: LinkId::generate(), from: from.clone(), to, grant, parent, issued_at: now })
}

fn headers(args: &OwnKeyArgs, name: &str, method: &str, target: &str, body: Option<&Path>) -> Result<ExitCode, Failure> {
    let refused =
        || Failure::usage(format!("`{target}` is no URL of a request"), "write the whole URL, such as http://127.0.0.1:8340/v1/whoami");
    let uri: Uri = target.parse().map_err(|_| refused())?;
    let authority = uri.authority().ok_or_else(refused)?.as_str();
    let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let body = body.map(read_body).transpose()?.unwrap_or_default();
    let signer = OwnKeys::open(&args.reach.keys)?.signer(name)?;
    let fields = signer.fields(method, authority, target, &body)?;
    print(&format!(
        "authorization: {}\ncontent-digest: {}\nsignature-input: {}\nsignature: {}\n",
        signer.authorization(),
        fields.content_digest,
        fields.signature_input,
        fields.signature
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn read_body(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let unreadable = |e: std::io::Error| Failure::usage(format!("`{}` cannot be read: {e}", path.display()), "name a file that exists");
    let mut bytes = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(BODY_BYTES_MAX + 1).read_to_end(&mut bytes),
        false => std::fs::File::open(path).and_then(|file| file.take(BODY_BYTES_MAX + 1).read_to_end(&mut bytes)),
    };
    match read.map_err(unreadable)? as u64 {
        length if length > BODY_BYTES_MAX => {
            Err(Failure::usage(format!("`{}` is larger than {BODY_BYTES_MAX} bytes", path.display()), "servers take no larger body"))
        }
        _ => Ok(bytes),
    }
}

fn list(answer: &Value) -> String {
    let flag = |key: &Value, name: &str| key.get(name).and_then(Value::as_bool).unwrap_or(false);
    let rows: Vec<_> = rows(answer, "keys")
        .iter()
        .map(|key| {
            let state = match (flag(key, "revoked"), flag(key, "current")) {
                (true, _) => "revoked",
                (false, true) => "signs",
                (false, false) => "retired",
            };
            let holder = if flag(key, "custodial") { "this server" } else { "its owner" };
            vec![text(key, "key"), text(key, "suite"), holder.to_owned(), moment(key, "valid_from"), state.to_owned()]
        })
        .collect();
    table(&["key", "suite", "held by", "valid from", "state"], &rows, "there are no keys")
}
