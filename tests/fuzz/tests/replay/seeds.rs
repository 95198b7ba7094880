//! Genuine bytes for each corpus, made anew when a format changes: run the replay with CRETO_UPDATE_CORPUS=1.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use creto_audit::core::tile::{encode_bundle, encode_hashes};
use creto_crypto::{SignSuite, SigningKey};
use creto_kernel::id::{CredentialId, LinkId, MessageId};
use creto_kernel::time::ManualClock;
use creto_kernel::{Digest, NhiId, Timestamp};
use creto_messaging::agent::Records;
use creto_messaging::model::ids::DeviceId;
use creto_messaging::{Agent, AgentPolicy, Authorization, Bundle, MemoryStore, Mode, Purpose, SystemEntropy};
use creto_nhi::core::proof::{RequestParts, sign};
use creto_nhi::model::link::root_anchor;
use creto_nhi::{DELEGATION_DOMAIN, DelegationChain, Grant, KeyRegistration, LinkBody, Pattern};
use creto_runtime::wire::{Channel, Exit, Frame, write as write_frame};
use serde_json::json;

type Seed = (&'static str, &'static str, Vec<u8>);

/// Writes every seed to its corpus.
pub(crate) fn write(folder: &Path) {
    let all = [identity(), requests(), log(), runtime(), messages(), mails()].concat();
    for (target, name, bytes) in all {
        let folder = folder.join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }
}

fn nhi(path: &str) -> NhiId {
    format!("spiffe://creto.local/tenant/default/{path}").parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_secs(1_795_305_600).unwrap()
}

fn chain(key: &SigningKey) -> DelegationChain {
    let (from, to) = (nhi("human/alice"), nhi("agent/worker"));
    let pattern = |text: &str| Pattern::try_from(text.to_owned()).unwrap();
    let grant = Grant {
        actions: vec![pattern("tool.*")],
        resources: vec![pattern("host:api.example.com"), pattern("*")],
        budget: Some("2.50".parse().unwrap()),
        not_after: now().saturating_add(std::time::Duration::from_secs(3600)),
        depth: 1,
    };
    let body = LinkBody { id: LinkId::generate(), parent: root_anchor(&from), from, to, grant, issued_at: now() };
    let signature = key.sign(DELEGATION_DOMAIN, &body.canonical_bytes().unwrap()).unwrap();
    DelegationChain::from_links(vec![body.signed(signature)]).unwrap()
}

fn identity() -> Vec<Seed> {
    let (hybrid, classic) = (SigningKey::generate(SignSuite::default()).unwrap(), SigningKey::generate(SignSuite::Ed25519).unwrap());
    let token = chain(&classic).to_token().unwrap();
    let digits = CredentialId::generate().to_string().rsplit('_').next().unwrap().replace('-', "");
    let key = format!("creto_agent_{digits}_{}", "0b".repeat(32));
    let authorization = format!("Creto {token}");
    let parts = RequestParts {
        method: "POST",
        authority: "creto.example",
        path: "/v1/memory",
        query: Some("a=b"),
        body: Digest::of(b"{}"),
        authorization: &authorization,
        content_digest: "",
        signature_input: "",
        signature: "",
    };
    let fields = sign(&parts, &classic, "nonce-0123456789", now()).unwrap();
    let headers = format!(
        "POST\ncreto.example\n/v1/memory\na=b\n{authorization}\n{}\n{}\n{}\n{{}}",
        fields.content_digest, fields.signature_input, fields.signature
    );
    let registration = KeyRegistration::sign(&nhi("agent/worker"), &hybrid, now()).unwrap();
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("api_key", "agent", text(&key)),
        ("api_key", "other_role", text(&key.replace("agent", "root"))),
        ("api_key", "cut", text(&key[..40])),
        ("chain_token", "one_link", text(&token)),
        ("chain_token", "hybrid", text(&chain(&hybrid).to_token().unwrap())),
        ("chain_token", "no_prefix", text(&token[7..])),
        ("signature_headers", "signed", text(&headers)),
        ("signature_headers", "uncovered", text(&headers.replace("\"@query\" ", ""))),
        ("key_registration", "hybrid", serde_json::to_vec(&registration).unwrap()),
        ("key_registration", "unknown_field", text(&json!({ "identity": "x", "extra": 1 }).to_string())),
    ]
}

fn requests() -> Vec<Seed> {
    let event = json!({
        "transaction_id": "t1", "external_subscription_id": "s", "code": "tokens", "timestamp": "2026-11-22T00:00:00Z",
        "properties": { "quantity": "12.5", "n": 3, "exact": 1e3 }
    });
    let text = |text: &str| text.as_bytes().to_vec();
    let policy = creto_authz::DEFAULT_POLICY;
    vec![
        ("canonical_json", "nested", text(r#"{"b":[1,-0.5e-3,{"ä":null}],"a":"\u20ac\ud83d\ude00"}"#)),
        ("canonical_json", "twice", text(r#"{"a":1,"a":2}"#)),
        ("canonical_json", "deep", "[".repeat(300).into_bytes()),
        ("event_input", "full", text(&event.to_string())),
        ("event_input", "seconds", text(&event.to_string().replace("\"2026-11-22T00:00:00Z\"", "1795305600.25"))),
        ("event_input", "unknown_field", text(&event.to_string().replace("\"code\"", "\"kode\""))),
        ("decimal", "money", text("-12.50")),
        ("decimal", "exponent", text("1e512")),
        ("decimal", "digits", "9".repeat(512).into_bytes()),
        ("decimal", "too_long", "9".repeat(513).into_bytes()),
        ("decimal", "not_a_number", text("NaN")),
        ("expression", "names", text("round(sum / greatest(count, 1), 2) * -units")),
        ("expression", "event", text("event.properties.a * event.properties.b + (event.timestamp - 1) / 3")),
        ("expression", "texts", text("concat('a', event.code, event.properties.text)")),
        ("expression", "condition", text("has(event.properties.a) && double(event.properties.a) > 1.2 || !(event.code in ['x', 'y'])")),
        ("expression", "deep", "(".repeat(40).into_bytes()),
        ("expression", "unknown", text("system('x')")),
        ("config", "full", text("listen = \"127.0.0.1:8340\"\ntenant = \"acme\"\nhost_names = [\"a\", \"b:1\"]\nwarm_sandboxes = 2\n")),
        ("config", "unknown_key", text("listen = \"127.0.0.1:8340\"\nlisten_on = 1\n")),
        ("policy", "default", text(policy)),
        (
            "policy",
            "oversight",
            text(
                "@id(\"big\") @oversight(\"big\") forbid (principal, action, resource) unless { context.approved };\npermit (principal, action, resource);",
            ),
        ),
        ("policy", "syntax", text("permit (principal, action")),
    ]
}

fn log() -> Vec<Seed> {
    let hashes: Vec<Digest> = (0..3_u8).map(|n| Digest::of(&[n])).collect();
    let checkpoint = format!("creto.local/log/default\n3\n{}\n", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    let signed = format!("{checkpoint}\n\u{2014} creto.local/log/default AAAAAAAAAAAAAAAAAAAAAAAAAAAA\n");
    vec![
        ("tlog_checkpoint", "text", checkpoint.into_bytes()),
        ("tlog_checkpoint", "signed", signed.into_bytes()),
        ("tlog_checkpoint", "tile_path", b"tile/0/x001/x234/067.p/8".to_vec()),
        ("tlog_checkpoint", "entries_path", b"tile/entries/000.p/3".to_vec()),
        ("tlog_checkpoint", "bad_path", b"tile/0/1".to_vec()),
        ("tlog_tile", "hashes", encode_hashes(&hashes)),
        ("tlog_tile", "entries", encode_bundle([b"one".as_slice(), b"", b"three"]).unwrap()),
        ("tlog_tile", "cut", encode_hashes(&hashes)[..90].to_vec()),
    ]
}

fn runtime() -> Vec<Seed> {
    let frames = [
        Frame::Ready { protocol: 1, statx_broken: true },
        Frame::Exec { stream: 1, argv: vec![b"sh".to_vec(), b"-c".to_vec()], env: vec![b"A=b".to_vec()], cwd: b"/".to_vec() },
        Frame::Data { stream: 1, channel: Channel::Stdout, bytes: b"hello".to_vec() },
        Frame::Failed { stream: 1, errno: 2, message: b"no".to_vec() },
        Frame::Exited { stream: 1, exit: Exit::Signal(9) },
    ];
    let mut row = Vec::new();
    frames.iter().for_each(|frame| write_frame(&mut row, frame).unwrap());
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("runtime_frame", "row", row.clone()),
        ("runtime_frame", "long", [&u32::MAX.to_le_bytes()[..], &row].concat()),
        ("egress_http", "connect", text("CONNECT api.example.com:443 HTTP/1.1\r\nhost: api.example.com:443\r\n\r\n")),
        ("egress_http", "connect_v6", text("CONNECT [2001:db8::1]:443 HTTP/1.1\r\nhost: x\r\n\r\n")),
        (
            "egress_http",
            "absolute",
            text("GET http://Example.com/a?b HTTP/1.1\r\nhost: example.com\r\n\r\nGET http://127.1/ HTTP/1.1\r\n\r\n"),
        ),
        (
            "egress_http",
            "post",
            text("POST http://example.com:8080/ HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        ),
        ("egress_http", "server", text("GET /v1/whoami HTTP/1.1\r\nhost: creto.internal\r\n\r\n")),
        ("egress_http", "not_http", text("SSH-2.0-OpenSSH_9.2\r\n")),
    ]
}

fn messages() -> Vec<Seed> {
    let agent = |name: &str, device: u8| {
        let store = Arc::new(MemoryStore::new(Records::default()));
        let agent = Agent::new(store, Arc::new(ManualClock::at(now())), AgentPolicy::default());
        agent.enrol(&nhi(&format!("agent/{name}")), DeviceId::from_bytes([device; 16]), &mut SystemEntropy).unwrap();
        agent
    };
    let (alice, bob) = (agent("alice", 1), agent("bob", 2));
    let publication = bob.publication(1, &mut SystemEntropy).unwrap();
    let bundle = Bundle {
        statement: publication.statement.clone(),
        signed: publication.signed.clone(),
        last_resort: publication.last_resort.clone(),
        agreement_once: publication.agreement_once.first().cloned(),
        kem_once: publication.kem_once.first().cloned(),
    };
    let authorization = || Authorization {
        decision: Digest::of(b"decision"),
        policy: Digest::of(b"policy"),
        purpose: Purpose::new("report").unwrap(),
        expires: now().saturating_add(std::time::Duration::from_secs(3600)),
    };
    let peer = nhi("agent/bob");
    alice.open_session(&peer, &bundle.to_bytes(), None, Mode::Accountable, authorization(), &mut SystemEntropy).unwrap();
    let sent = alice.send(&peer, MessageId::generate(), b"hello", &authorization(), &mut SystemEntropy).unwrap();
    let envelope = sent.envelope.to_vec();
    vec![
        ("prekey_bundle", "bundle", bundle.to_bytes()),
        ("prekey_bundle", "publication", publication.to_bytes()),
        ("prekey_bundle", "statement", publication.statement.to_bytes()),
        ("prekey_bundle", "cut", bundle.to_bytes()[..100].to_vec()),
        ("message_envelope", "cut", envelope[..200].to_vec()),
        ("message_envelope", "opening", envelope),
    ]
}

fn mails() -> Vec<Seed> {
    let head =
        "From: Ada <ada@example.com>\r\nTo: <approvals+0123456789abcdef0123456789abcdef@creto.example>\r\nMessage-ID: <a@example.com>\r\n";
    let results =
        "Authentication-Results: mx.creto.example;\r\n\tdkim=pass (2048-bit key; secure) header.d=example.com header.b=\"a;b\"\r\n";
    let parts = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=\"c\"\r\n\r\n\
                 --c\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=FC=DFe\r\n\
                 --c\r\nContent-Type: text/html\r\n\r\n<p>gr&uuml;&szlig;e</p>\r\n--c--\r\n\
                 --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?=C3=BC?=\r\n\r\nwithin\r\n--b--\r\n";
    // The end of parts that end already, within a mail that stands among them: the parser finds no place for it.
    let ended = parts.replacen(
        "message/rfc822\r\n\r\n",
        "message/rfc822\r\nontent-Type: text/html\r\n\r\ngr\r\n--c--\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n",
        1,
    );
    let text = |parts: &[&str]| parts.concat().into_bytes();
    vec![
        ("mail_reply", "plain", text(&[results, head, "\r\nwait\r\n\r\nOn Sat, creto <creto@creto.example> wrote:\r\n> pay\r\n"])),
        ("mail_reply", "parts", text(&[head, parts])),
        ("mail_reply", "ended", text(&[head, &ended])),
        ("mail_reply", "program", text(&["Auto-Submitted: auto-replied\r\n", head, "\r\naway\r\n"])),
        ("mail_reply", "nobody", text(&["To: somebody@example.com\r\n\r\nhello\r\n"])),
    ]
}
