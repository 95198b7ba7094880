//! The form a session has at rest: versioned, strict, and sealed by the store before it touches a disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::core::ratchet::{CHAINS_MAX, Ratchet, Receiving, SKIPPED_KEYS_MAX, Sending, SkippedKey};
use crate::core::session::{Role, Session};
use crate::core::suite::{AgreementSecret, Key};
use crate::error::MessagingError;
use crate::model::envelope::{Mode, Opening};
use crate::model::identity::IdentityKeyId;
use crate::model::ids::{AgreementPublic, RouteId, SessionId};
use crate::model::wire::{Reader, VERSION, WireError, Writer};

/// Longest session at rest, in bytes: two thousand kept keys and an opening.
pub const SESSION_BYTES_MAX: usize = 160 << 10;

fn key(input: &mut Reader<'_>, field: &'static str) -> Result<Key, WireError> {
    input.array(field).map(Key::from_bytes)
}

fn flag(input: &mut Reader<'_>, field: &'static str) -> Result<bool, WireError> {
    match input.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::Value(field)),
    }
}

fn agreement(input: &mut Reader<'_>, field: &'static str) -> Result<AgreementPublic, WireError> {
    input.array(field).map(AgreementPublic::from_bytes)
}

impl Session {
    /// The bytes to seal and store. They hold secrets: wiped on drop.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Writer::with_capacity(4096);
        out.u8(VERSION).digest(self.id.transcript()).u8(u8::from(self.role == Role::Responder)).nhi(&self.own).nhi(&self.peer);
        out.digest(self.peer_key.digest()).fixed(self.route_out.as_bytes()).fixed(self.route_in.as_bytes());
        out.u8(u8::from(self.mode == Mode::Deniable)).u8(u8::from(self.last_resort));
        out.optional(self.opening.as_ref(), |out, opening| opening.encode(out));
        out.u64(self.revision);
        self.ratchet.encode(&mut out);
        Zeroizing::new(out.into_bytes())
    }

    /// Reads stored bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessagingError> {
        let mut input = Reader::new(bytes);
        let session = Self::decode(&mut input).map_err(|_| MessagingError::Corrupt("session"))?;
        input.finish().map_err(|_| MessagingError::Corrupt("session"))?;
        Ok(session)
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, MessagingError> {
        input.version()?;
        Ok(Self {
            id: SessionId::new(input.digest("session id")?),
            role: if flag(input, "role")? { Role::Responder } else { Role::Initiator },
            own: input.nhi("own identity")?,
            peer: input.nhi("peer identity")?,
            peer_key: IdentityKeyId::from_digest(input.digest("peer key")?),
            route_out: RouteId::from_bytes(input.array("route out")?),
            route_in: RouteId::from_bytes(input.array("route in")?),
            mode: if flag(input, "mode")? { Mode::Deniable } else { Mode::Accountable },
            last_resort: flag(input, "last resort")?,
            opening: input.optional("opening", |input| Opening::decode(input).map(Arc::new))?,
            revision: input.u64("revision")?,
            ratchet: Ratchet::decode(input)?,
        })
    }
}

impl Ratchet {
    fn encode(&self, out: &mut Writer) {
        out.fixed(self.root.expose()).fixed(self.own.expose());
        out.optional(self.remote.as_ref(), |out, remote| {
            out.fixed(remote.as_bytes());
        });
        out.optional(self.sending.as_ref(), |out, sending| {
            out.fixed(sending.chain.expose()).fixed(sending.header.expose()).u32(sending.number).time(sending.since);
        });
        out.u32(self.previous).u8(u8::from(self.step_due));
        out.fixed(self.next_sending_header.expose()).fixed(self.next_receiving_header.expose());
        out.count(self.receiving.len());
        self.receiving.iter().for_each(|chain| chain.encode(out));
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, MessagingError> {
        Ok(Self {
            root: key(input, "root key")?,
            own: AgreementSecret::from_bytes(input.array("own ratchet key")?)?,
            remote: input.optional("remote ratchet key", |input| agreement(input, "remote ratchet key"))?,
            sending: input.optional::<_, WireError>("sending chain", |input| {
                Ok(Sending {
                    chain: key(input, "sending chain key")?,
                    header: key(input, "sending header key")?,
                    number: input.u32("sending number")?,
                    since: input.time("sending since")?,
                })
            })?,
            previous: input.u32("previous number")?,
            step_due: flag(input, "step due")?,
            next_sending_header: key(input, "next sending header key")?,
            next_receiving_header: key(input, "next receiving header key")?,
            receiving: {
                let count = input.count(CHAINS_MAX + 1, "receiving chains")?;
                Arc::new((0..count).map(|_| Receiving::decode(input)).collect::<Result<_, _>>()?)
            },
        })
    }
}

impl Receiving {
    fn encode(&self, out: &mut Writer) {
        out.fixed(self.header.expose()).fixed(self.remote.as_bytes());
        out.optional(self.chain.as_ref(), |out, chain| {
            out.fixed(chain.expose());
        });
        out.u32(self.number).u32(self.dropped_below).count(self.skipped.len());
        for (number, kept) in self.skipped.iter() {
            out.u32(*number).fixed(kept.key.expose()).time(kept.since);
        }
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let (header, remote) = (key(input, "receiving header key")?, agreement(input, "receiving ratchet key")?);
        let chain = input.optional("receiving chain key", |input| key(input, "receiving chain key"))?;
        let (number, dropped_below) = (input.u32("receiving number")?, input.u32("dropped below")?);
        let mut skipped = BTreeMap::new();
        for _ in 0..input.count(SKIPPED_KEYS_MAX, "skipped keys")? {
            let missing = input.u32("skipped number")?;
            let kept = SkippedKey { key: key(input, "skipped key")?, since: input.time("skipped since")? };
            // Ascending order makes the encoding the only one.
            if skipped.last_key_value().is_some_and(|(last, _)| *last >= missing) {
                return Err(WireError::Value("skipped number"));
            }
            skipped.insert(missing, kept);
        }
        Ok(Self { header, remote, chain, number, dropped_below, skipped: Arc::new(skipped) })
    }
}
