//! Links and chains as they travel: signed, and untrusted until verified.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use creto_crypto::Signature;
use creto_kernel::canonical::{self, CanonicalError, Limits};
use creto_kernel::id::LinkId;
use creto_kernel::{Digest, NhiId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::NhiError;
use crate::model::grant::{DEPTH_MAX, Grant};

/// The signature domain of a link.
pub const DELEGATION_DOMAIN: &str = "creto/delegation/v1";
/// What a chain token begins with.
pub const TOKEN_PREFIX: &str = "creto1.";
/// Longest chain token, in bytes: eight hybrid-signed links with generous grants.
pub const TOKEN_BYTES_MAX: usize = 128 * 1024;
/// Deepest nesting of a token's JSON: chain, links, link, grant, list.
pub const TOKEN_DEPTH_MAX: usize = 6;

/// What a link says and its signature covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkBody {
    /// This link.
    pub id: LinkId,
    /// Who delegates, and signs.
    pub from: NhiId,
    /// To whom.
    pub to: NhiId,
    /// What.
    pub grant: Grant,
    /// The digest of the link before this one, or [`root_anchor`] of `from` where there is none. It pins the link to one chain: it
    /// cannot be moved below a wider parent.
    pub parent: Digest,
    /// When, by the signer's clock; the signer's key must have been valid then.
    pub issued_at: Timestamp,
}

impl LinkBody {
    /// The RFC 8785 bytes the signature covers.
    pub fn canonical_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_vec(self)
    }

    /// Adds the signature.
    #[must_use]
    pub fn signed(self, signature: Signature) -> Link {
        let Self { id, from, to, grant, parent, issued_at } = self;
        Link { id, from, to, grant, parent, issued_at, signature }
    }
}

/// One signed link: untrusted bytes until [`crate::Authority::verify`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// This link.
    pub id: LinkId,
    /// Who delegates, and signs.
    pub from: NhiId,
    /// To whom.
    pub to: NhiId,
    /// What.
    pub grant: Grant,
    /// The digest of the link before this one, or [`root_anchor`] of `from`.
    pub parent: Digest,
    /// When, by the signer's clock.
    pub issued_at: Timestamp,
    /// Over the RFC 8785 bytes of all other fields, in [`DELEGATION_DOMAIN`], by a key of `from`.
    pub signature: Signature,
}

impl Link {
    /// What the signature covers.
    #[must_use]
    pub fn body(&self) -> LinkBody {
        LinkBody {
            id: self.id,
            from: self.from.clone(),
            to: self.to.clone(),
            grant: self.grant.clone(),
            parent: self.parent,
            issued_at: self.issued_at,
        }
    }

    /// SHA-256 over the RFC 8785 bytes of the link, signature included: what the next link names as its parent.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        Ok(Digest::of(&canonical::to_vec(self)?))
    }
}

/// What the first link of a chain names as its parent: nothing but the root itself.
#[must_use]
pub fn root_anchor(root: &NhiId) -> Digest {
    Digest::of_parts(&[b"creto/delegation-root/v1\0", root.as_str().as_bytes()])
}

/// Links from a root to an acting identity, in order: untrusted until [`crate::Authority::verify`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationChain {
    links: Vec<Link>,
}

impl DelegationChain {
    /// A chain of these links, root's first. Nothing is checked but their number.
    pub fn from_links(links: Vec<Link>) -> Result<Self, NhiError> {
        match links.len() {
            0 => Err(NhiError::ChainEmpty),
            many if many > usize::from(DEPTH_MAX) => Err(NhiError::ChainTooDeep { links: many, limit: usize::from(DEPTH_MAX) }),
            _ => Ok(Self { links }),
        }
    }

    /// The links, root's first; one to [`DEPTH_MAX`].
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// This chain with one more link.
    pub fn extended(&self, link: Link) -> Result<Self, NhiError> {
        Self::from_links(self.links.iter().cloned().chain([link]).collect())
    }

    /// The identity said to act; unproven before verification.
    #[must_use]
    pub fn claimed_leaf(&self) -> Option<&NhiId> {
        self.links.last().map(|link| &link.to)
    }

    /// SHA-256 over the RFC 8785 bytes of the whole chain.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        Ok(Digest::of(&canonical::to_vec(self)?))
    }

    /// The token form: `creto1.` and the base64url (no padding) of the RFC 8785 bytes.
    pub fn to_token(&self) -> Result<String, NhiError> {
        let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(canonical::to_vec(self)?));
        if token.len() > TOKEN_BYTES_MAX {
            return Err(NhiError::TokenTooLarge { actual: token.len(), limit: TOKEN_BYTES_MAX });
        }
        Ok(token)
    }

    /// Reads a token. What comes back is well-formed and still untrusted.
    pub fn from_token(token: &str) -> Result<Self, NhiError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(NhiError::TokenTooLarge { actual: token.len(), limit: TOKEN_BYTES_MAX });
        }
        let body =
            token.strip_prefix(TOKEN_PREFIX).ok_or_else(|| NhiError::TokenMalformed(format!("it must begin with `{TOKEN_PREFIX}`")))?;
        let json = URL_SAFE_NO_PAD.decode(body).map_err(|_| NhiError::TokenMalformed("it is not base64url without padding".to_owned()))?;
        let limits = Limits { bytes_max: TOKEN_BYTES_MAX, depth_max: TOKEN_DEPTH_MAX };
        let chain: Self = canonical::parse_as(&json, limits).map_err(|e| NhiError::TokenMalformed(e.to_string()))?;
        Self::from_links(chain.links)
    }
}
