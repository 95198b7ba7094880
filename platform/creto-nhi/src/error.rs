//! How identity fails: one enum, each variant with its stable code.

use creto_crypto::{CryptoError, KeyId};
use creto_db::DbError;
use creto_kernel::canonical::CanonicalError;
use creto_kernel::id::LinkId;
use creto_kernel::nhi_id::NhiIdError;
use creto_kernel::{Coded, ErrorCode, Kind, NhiId, NhiKind, Timestamp};

use crate::model::principal::Role;

/// Why an identity, a chain or a credential was refused.
#[derive(Debug, thiserror::Error)]
pub enum NhiError {
    /// The chain token cannot be read.
    #[error("the chain token cannot be read: {0}")]
    TokenMalformed(String),
    /// The chain token is too long.
    #[error("the chain token has {actual} bytes, more than the {limit} allowed")]
    TokenTooLarge {
        /// Its length.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// A chain without links.
    #[error("the delegation chain has no link")]
    ChainEmpty,
    /// More links than a chain may have.
    #[error("the delegation chain has {links} links, more than the {limit} allowed")]
    ChainTooDeep {
        /// How many.
        links: usize,
        /// The limit.
        limit: usize,
    },
    /// The chain begins at an agent.
    #[error("`{0}` cannot be the root of a delegation chain: only a human or a service is")]
    RootKind(NhiId),
    /// A link hands authority to a human.
    #[error("`{0}` cannot hold a delegation: a human acts on their own authority")]
    DelegateKind(NhiId),
    /// An identity of another trust domain.
    #[error("`{0}` is not of this server's trust domain")]
    ForeignTrustDomain(NhiId),
    /// The chain crosses tenants.
    #[error("`{0}` is of another tenant than the root of its chain")]
    CrossTenant(NhiId),
    /// A link does not start where the one before it ended.
    #[error("link `{0}` does not start at the identity the link before it names")]
    Broken(LinkId),
    /// A link signs another parent.
    #[error("link `{0}` was made for another parent link")]
    ParentMismatch(LinkId),
    /// An identity appears twice.
    #[error("`{0}` appears twice in the chain")]
    Cycle(NhiId),
    /// A grant that breaks a limit of its own.
    #[error("the grant cannot be used: {0}")]
    GrantInvalid(&'static str),
    /// A grant that is wider than the one above it.
    #[error("the grant widens `{field}` beyond what its parent holds")]
    Widened {
        /// Which field.
        field: &'static str,
    },
    /// A link ended.
    #[error("link `{link}` ended at {at}")]
    ChainExpired {
        /// Which link.
        link: LinkId,
        /// When.
        at: Timestamp,
    },
    /// A link from the future.
    #[error("link `{0}` was issued in the future")]
    NotYetValid(LinkId),
    /// A signature that does not verify.
    #[error("the signature of link `{0}` does not verify")]
    BadSignature(LinkId),
    /// A key that is not the signer's, or was not at that time.
    #[error("key `{key}` was not a key of `{identity}` when the link was issued")]
    ForeignKey {
        /// Who is said to have signed.
        identity: NhiId,
        /// With which key.
        key: KeyId,
    },
    /// An identity in a chain that this authority does not know.
    #[error("`{0}` is not known here")]
    Stranger(NhiId),
    /// A revoked link.
    #[error("link `{0}` was revoked")]
    LinkRevoked(LinkId),
    /// A suspended identity.
    #[error("`{0}` is suspended")]
    IdentitySuspended(NhiId),
    /// A revoked identity.
    #[error("`{0}` was revoked")]
    IdentityRevoked(NhiId),
    /// No such identity, or of another tenant.
    #[error("there is no identity `{0}`")]
    IdentityUnknown(NhiId),
    /// Not a name for an identity.
    #[error(transparent)]
    IdentityName(#[from] NhiIdError),
    /// More identities than one server keeps.
    #[error("the server already keeps {0} identities")]
    IdentityLimit(usize),
    /// The actor is of another tenant.
    #[error("`{0}` cannot change identities of another tenant")]
    OtherTenant(NhiId),
    /// The server does not hold the key.
    #[error("the server does not hold the key of `{0}`, so it cannot sign for it")]
    NotCustodial(NhiId),
    /// Not a credential.
    #[error("the credential cannot be read")]
    CredentialMalformed,
    /// No such credential, or the wrong secret: the two are never told apart.
    #[error("the credential is not known")]
    CredentialUnknown,
    /// An expired credential.
    #[error("the credential ended at {0}")]
    CredentialExpired(Timestamp),
    /// A revoked credential.
    #[error("the credential was revoked")]
    CredentialRevoked,
    /// A role that this kind of identity never has.
    #[error("a credential with the role `{role}` cannot be issued to an identity of kind `{}`", kind.as_str())]
    RoleRefused {
        /// The role asked for.
        role: Role,
        /// The identity's kind.
        kind: NhiKind,
    },
    /// An agent's key without its chain, another's chain, or a chain where none belongs.
    #[error("{0}")]
    CredentialChain(&'static str),
    /// An end that is not in the allowed span.
    #[error("the credential must end after now and within {0} days")]
    CredentialLifetime(u32),
    /// A request signature that cannot be read.
    #[error("the request signature cannot be read: {0}")]
    ProofMalformed(&'static str),
    /// A part of the request that the signature must cover.
    #[error("the request signature must cover `{0}`")]
    ProofUncovered(&'static str),
    /// The body is not the signed one.
    #[error("the body does not have the digest that `content-digest` states")]
    ProofDigest,
    /// Too old, or from the future.
    #[error("the request signature was created outside the accepted window")]
    ProofStale,
    /// Not a key of the acting identity.
    #[error("the request is signed by a key that is not a current key of `{0}`")]
    ProofKey(NhiId),
    /// The request signature does not verify.
    #[error("the request signature does not verify")]
    ProofSignature,
    /// A nonce used before.
    #[error("the nonce of the request signature was used before")]
    ProofReplayed,
    /// Too many requests within one window to remember their nonces.
    #[error("too many signed requests within the window to remember their nonces")]
    ProofCrowded,
    /// A key that was offered and not taken.
    #[error("the key is not registered: {0}")]
    RegistrationRefused(&'static str),
    /// Wrong name or password: the two are never told apart.
    #[error("the name or the password is wrong")]
    LoginFailed,
    /// Too many failed attempts.
    #[error("too many failed attempts: try again in {retry_after_secs} seconds")]
    LoginThrottled {
        /// When an attempt is accepted again, from now.
        retry_after_secs: u64,
    },
    /// A password that is too short or too long.
    #[error("a password has {min} to {max} bytes")]
    PasswordLength {
        /// Fewest bytes.
        min: usize,
        /// Most bytes.
        max: usize,
    },
    /// A passkey's answer does not count.
    #[error("the passkey was refused: {0}")]
    Passkey(#[from] crate::core::webauthn::PasskeyFault),
    /// No such passkey, or none at all.
    #[error("there is no such passkey")]
    PasskeyUnknown,
    /// Somebody who did not sign in at the console.
    #[error("passkeys are managed by a person who signed in")]
    PasskeySession,
    /// Passkeys are changed with one that is held, and none of theirs answered.
    #[error("whoever holds a passkey adds and removes passkeys with it, and none of yours answered")]
    PasskeyProof,
    /// As many passkeys as one may have.
    #[error("a person has at most {0} passkeys")]
    PasskeyLimit(usize),
    /// A passkey without a name, or with a long one.
    #[error("a passkey has a name of 1 to {0} bytes")]
    PasskeyLabel(usize),
    /// The invitation is unknown, used or too old.
    #[error("the invitation is not good: it was used, or is too old, or never was")]
    InviteUnknown,
    /// No such session.
    #[error("there is no such session")]
    SessionUnknown,
    /// The session was idle too long, or reached its end.
    #[error("the session has ended")]
    SessionExpired,
    /// A state-changing request of a browser without its token.
    #[error("the request does not carry the token of its session")]
    CsrfRefused,
    /// What is stored cannot be read.
    #[error("a stored identity record cannot be read: {0}")]
    Stored(String),
    /// The server is stopping.
    #[error("the server is stopping; whether the change was made is shown by a new request")]
    Stopping,
    /// A value without a canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The database refused.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The key ring refused.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl NhiError {
    /// Code and kind, side by side so that they stay together.
    fn class(&self) -> (ErrorCode, Kind) {
        use Kind::{Denied, Internal, Invalid, Limited, NotFound, TooLarge, Unauthenticated, Unavailable};
        match self {
            Self::TokenMalformed(_) => (ErrorCode::new("nhi.chain_malformed"), Invalid),
            Self::TokenTooLarge { .. } => (ErrorCode::new("nhi.chain_too_large"), TooLarge),
            Self::ChainEmpty => (ErrorCode::new("nhi.chain_empty"), Invalid),
            Self::ChainTooDeep { .. } => (ErrorCode::new("nhi.chain_too_deep"), TooLarge),
            Self::RootKind(_) => (ErrorCode::new("nhi.chain_root_kind"), Denied),
            Self::DelegateKind(_) => (ErrorCode::new("nhi.chain_delegate_kind"), Denied),
            Self::ForeignTrustDomain(_) => (ErrorCode::new("nhi.chain_trust_domain"), Denied),
            Self::CrossTenant(_) => (ErrorCode::new("nhi.chain_cross_tenant"), Denied),
            Self::Broken(_) => (ErrorCode::new("nhi.chain_broken"), Unauthenticated),
            Self::ParentMismatch(_) => (ErrorCode::new("nhi.chain_parent"), Unauthenticated),
            Self::Cycle(_) => (ErrorCode::new("nhi.chain_cycle"), Denied),
            Self::GrantInvalid(_) => (ErrorCode::new("nhi.grant_invalid"), Invalid),
            Self::Widened { .. } => (ErrorCode::new("nhi.chain_widened"), Denied),
            Self::ChainExpired { .. } => (ErrorCode::new("nhi.chain_expired"), Unauthenticated),
            Self::NotYetValid(_) => (ErrorCode::new("nhi.chain_not_yet_valid"), Unauthenticated),
            Self::BadSignature(_) => (ErrorCode::new("nhi.chain_signature"), Unauthenticated),
            Self::ForeignKey { .. } => (ErrorCode::new("nhi.chain_key"), Unauthenticated),
            Self::Stranger(_) => (ErrorCode::new("nhi.chain_stranger"), Unauthenticated),
            Self::LinkRevoked(_) => (ErrorCode::new("nhi.link_revoked"), Unauthenticated),
            Self::IdentitySuspended(_) => (ErrorCode::new("nhi.identity_suspended"), Denied),
            Self::IdentityRevoked(_) => (ErrorCode::new("nhi.identity_revoked"), Denied),
            Self::IdentityUnknown(_) => (ErrorCode::new("nhi.identity_unknown"), NotFound),
            Self::IdentityName(_) => (ErrorCode::new("nhi.identity_name"), Invalid),
            Self::IdentityLimit(_) => (ErrorCode::new("nhi.identity_limit"), Limited),
            Self::OtherTenant(_) => (ErrorCode::new("nhi.other_tenant"), Denied),
            Self::NotCustodial(_) => (ErrorCode::new("nhi.not_custodial"), Kind::Conflict),
            Self::CredentialMalformed => (ErrorCode::new("nhi.credential_malformed"), Unauthenticated),
            Self::CredentialUnknown => (ErrorCode::new("nhi.credential_unknown"), Unauthenticated),
            Self::CredentialExpired(_) => (ErrorCode::new("nhi.credential_expired"), Unauthenticated),
            Self::CredentialRevoked => (ErrorCode::new("nhi.credential_revoked"), Unauthenticated),
            Self::RoleRefused { .. } => (ErrorCode::new("nhi.role_refused"), Denied),
            Self::CredentialChain(_) => (ErrorCode::new("nhi.credential_chain"), Invalid),
            Self::CredentialLifetime(_) => (ErrorCode::new("nhi.credential_lifetime"), Invalid),
            Self::ProofMalformed(_) => (ErrorCode::new("nhi.proof_malformed"), Unauthenticated),
            Self::ProofUncovered(_) => (ErrorCode::new("nhi.proof_uncovered"), Unauthenticated),
            Self::ProofDigest => (ErrorCode::new("nhi.proof_digest"), Unauthenticated),
            Self::ProofStale => (ErrorCode::new("nhi.proof_stale"), Unauthenticated),
            Self::ProofKey(_) => (ErrorCode::new("nhi.proof_key"), Unauthenticated),
            Self::ProofSignature => (ErrorCode::new("nhi.proof_signature"), Unauthenticated),
            Self::ProofReplayed => (ErrorCode::new("nhi.proof_replayed"), Unauthenticated),
            Self::ProofCrowded => (ErrorCode::new("nhi.proof_crowded"), Limited),
            Self::RegistrationRefused(_) => (ErrorCode::new("nhi.registration_refused"), Denied),
            Self::LoginFailed => (ErrorCode::new("nhi.login_failed"), Unauthenticated),
            Self::LoginThrottled { .. } => (ErrorCode::new("nhi.login_throttled"), Limited),
            Self::PasswordLength { .. } => (ErrorCode::new("nhi.password_length"), Invalid),
            Self::Passkey(_) => (ErrorCode::new("nhi.passkey_refused"), Unauthenticated),
            Self::PasskeyUnknown => (ErrorCode::new("nhi.passkey_unknown"), NotFound),
            Self::PasskeySession => (ErrorCode::new("nhi.passkey_session"), Denied),
            Self::PasskeyProof => (ErrorCode::new("nhi.passkey_proof"), Denied),
            Self::PasskeyLimit(_) => (ErrorCode::new("nhi.passkey_limit"), Limited),
            Self::PasskeyLabel(_) => (ErrorCode::new("nhi.passkey_label"), Invalid),
            Self::InviteUnknown => (ErrorCode::new("nhi.invite_unknown"), Unauthenticated),
            Self::SessionUnknown => (ErrorCode::new("nhi.session_unknown"), Unauthenticated),
            Self::SessionExpired => (ErrorCode::new("nhi.session_expired"), Unauthenticated),
            Self::CsrfRefused => (ErrorCode::new("nhi.csrf_refused"), Denied),
            Self::Stored(_) => (ErrorCode::new("nhi.stored_damaged"), Internal),
            Self::Stopping => (ErrorCode::new("nhi.stopping"), Unavailable),
            Self::Canonical(_) => (ErrorCode::new("nhi.not_canonical"), Internal),
            Self::Db(e) => (e.code(), e.kind()),
            Self::Crypto(e) => (e.code(), e.kind()),
        }
    }
}

impl Coded for NhiError {
    fn code(&self) -> ErrorCode {
        self.class().0
    }

    fn kind(&self) -> Kind {
        self.class().1
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::ChainExpired { .. } | Self::LinkRevoked(_) => {
                Some("ask the identity that issued the link for a new delegation".to_owned())
            }
            Self::Widened { field } => Some(format!("ask the parent for a wider `{field}`, or request less")),
            Self::NotCustodial(identity) => {
                Some(format!("sign the link with the key of `{identity}` and hand the signed chain in for registration"))
            }
            Self::ProofStale => Some("set the clock of the client, sign again and send at once".to_owned()),
            Self::RegistrationRefused(_) => Some("make the registration anew with `creto agent key register`".to_owned()),
            Self::ProofReplayed => Some("sign each request anew, with a fresh random nonce".to_owned()),
            Self::CredentialExpired(_) | Self::CredentialRevoked | Self::CredentialUnknown => {
                Some("create a new key with `creto key create`".to_owned())
            }
            Self::SessionUnknown | Self::SessionExpired => Some("log in again".to_owned()),
            Self::RoleRefused { .. } => {
                Some("agents get the role `agent`; `operator` and `approver` belong to people, `operator` to services too".to_owned())
            }
            Self::Db(e) => e.hint(),
            Self::Crypto(e) => e.hint(),
            _ => None,
        }
    }
}
