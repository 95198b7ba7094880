//! The form records have at rest: versioned and strict.

use std::collections::BTreeMap;
use std::sync::Arc;

use creto_crypto::Secret;
use creto_kernel::id::MessageId;
use zeroize::Zeroizing;

use super::{IdentitySecrets, PrekeyRecord, Received, Records};
use crate::core::session::{Plaintext, SESSION_BYTES_MAX, Session};
use crate::core::suite::AgreementSecret;
use crate::error::MessagingError;
use crate::model::bundle::{PrekeyId, PrekeyKind};
use crate::model::envelope::{Authorization, ENVELOPE_BYTES_MAX, TEXT_BYTES_MAX};
use crate::model::identity::{IdentityKeyId, IdentityStatement};
use crate::model::ids::SessionId;
use crate::model::wire::{Reader, VERSION, Writer};

const COUNT_MAX: usize = 1 << 20;
const SECRET_BYTES_MAX: usize = 4096;

pub(super) fn encode(records: &Records) -> Zeroizing<Vec<u8>> {
    let mut out = Writer::with_capacity(64 << 10);
    out.u8(VERSION);
    out.optional(records.identity.as_ref(), |out, identity| {
        identity.statement.encode(out);
        out.fixed(identity.agreement.expose()).bytes(identity.signing.expose());
    });
    out.u32(records.next_prekey).count(records.prekeys.len());
    for ((kind, id), record) in &records.prekeys {
        out.u8(kind.byte()).u32(id.0).time(record.not_after).bytes(record.secret.expose());
    }
    out.count(records.pins.len());
    for (peer, key) in &records.pins {
        out.nhi(peer).digest(key.digest());
    }
    out.count(records.openings.len());
    for (id, until) in &records.openings {
        out.digest(id.transcript()).time(*until);
    }
    out.count(records.sessions.len());
    for session in records.sessions.values() {
        out.bytes(&session.to_bytes());
    }
    out.count(records.newest.len());
    for (peer, id) in &records.newest {
        out.nhi(peer).digest(id.transcript());
    }
    out.count(records.inbox.len());
    for received in records.inbox.values() {
        out.fixed(received.message.as_bytes()).nhi(&received.sender).digest(received.session.transcript());
        received.authorization.encode(&mut out);
        out.time(received.at).bytes(received.text.as_bytes());
    }
    out.count(records.outbox.len());
    for (message, bytes) in &records.outbox {
        out.fixed(message.as_bytes()).bytes(bytes);
    }
    Zeroizing::new(out.into_bytes())
}

pub(super) fn decode(bytes: &[u8]) -> Result<Records, MessagingError> {
    let mut input = Reader::new(bytes);
    let records = read(&mut input).map_err(|_| MessagingError::Corrupt("records"))?;
    input.finish().map_err(|_| MessagingError::Corrupt("records"))?;
    Ok(records)
}

fn entries<K: Ord, V>(
    input: &mut Reader<'_>,
    field: &'static str,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<(K, V), MessagingError>,
) -> Result<BTreeMap<K, V>, MessagingError> {
    let count = input.count(COUNT_MAX, field)?;
    let mut map = BTreeMap::new();
    for _ in 0..count {
        let (key, value) = read(input)?;
        // Ascending order makes the encoding the only one.
        if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(MessagingError::Corrupt(field));
        }
        map.insert(key, value);
    }
    Ok(map)
}

fn read(input: &mut Reader<'_>) -> Result<Records, MessagingError> {
    input.version()?;
    let identity = input.optional::<_, MessagingError>("identity", |input| {
        Ok(IdentitySecrets {
            statement: IdentityStatement::decode(input)?,
            agreement: AgreementSecret::from_bytes(input.array("agreement key")?)?,
            signing: Secret::copy_of(input.bytes(SECRET_BYTES_MAX, "signing key")?),
        })
    })?;
    let next_prekey = input.u32("next prekey")?;
    let prekeys = entries(input, "prekeys", |input| {
        let name = (PrekeyKind::decode(input)?, PrekeyId(input.u32("prekey id")?));
        let not_after = input.time("prekey end")?;
        Ok((name, PrekeyRecord { not_after, secret: Secret::copy_of(input.bytes(SECRET_BYTES_MAX, "prekey")?) }))
    })?;
    let pins = entries(input, "pins", |input| Ok((input.nhi("peer")?, IdentityKeyId::from_digest(input.digest("pin")?))))?;
    let openings = entries(input, "openings", |input| Ok((SessionId::new(input.digest("opening")?), input.time("opening end")?)))?;
    let sessions = entries(input, "sessions", |input| {
        let session = Session::from_bytes(input.bytes(SESSION_BYTES_MAX, "session")?)?;
        Ok((session.id(), Arc::new(session)))
    })?;
    let newest = entries(input, "newest sessions", |input| Ok((input.nhi("peer")?, SessionId::new(input.digest("session")?))))?;
    let inbox = entries(input, "inbox", |input| {
        let received = Received {
            message: MessageId::from_bytes(input.array("message")?),
            sender: input.nhi("sender")?,
            session: SessionId::new(input.digest("session")?),
            authorization: Authorization::decode(input)?,
            at: input.time("received at")?,
            text: Plaintext::new(input.bytes(TEXT_BYTES_MAX, "text")?.to_vec()),
        };
        Ok((received.message, Arc::new(received)))
    })?;
    let outbox = entries(input, "outbox", |input| {
        let message = MessageId::from_bytes(input.array("message")?);
        Ok((message, Arc::from(input.bytes(ENVELOPE_BYTES_MAX, "envelope")?)))
    })?;
    let routes = sessions.values().map(|session| (session.route_in(), session.id())).collect();
    Ok(Records { identity, prekeys, next_prekey, pins, openings, sessions, routes, newest, inbox, outbox })
}
