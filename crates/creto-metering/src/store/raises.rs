//! Terms of raises, the questions that count against them, and the raise itself.

use creto_db::{Row, Write, params};
use creto_enablement_common::gate::{MOVED, RAISES_OVER};
use creto_enablement_common::ports::Raise;
use creto_kernel::{Micros, TenantId, Timestamp};

use crate::model::raise::{RaiseTerms, RaiseTermsId};

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

pub(crate) fn put(tenant: &TenantId, account: &str, terms: &RaiseTerms) -> Write {
    Write::new(
        "INSERT INTO meter_raise (tenant, account, id, step, a_day, until) VALUES ($1,$2,$3,$4,$5,$6) \
         ON CONFLICT (tenant, account) DO UPDATE SET id = excluded.id, step = excluded.step, a_day = excluded.a_day, \
         until = excluded.until, day = 0, asked = 0",
        params![tenant, account, RaiseTermsId::generate().to_string(), terms.step, terms.a_day, terms.until],
    )
}

pub(crate) fn remove(tenant: &TenantId, account: &str) -> Write {
    Write::new("DELETE FROM meter_raise WHERE tenant = $1 AND account = $2", params![tenant, account])
}

/// Counts a question, where the terms it is asked under are in force and let one more be asked today.
pub(crate) fn ask(tenant: &TenantId, raise: &Raise, now: Timestamp) -> Write {
    let day = now.as_micros().div_euclid(DAY_MICROS);
    Write::new(
        "UPDATE meter_raise SET asked = CASE WHEN day = $1 THEN asked + 1 ELSE 1 END, day = $1 \
         WHERE tenant = $2 AND account = $3 AND id = $4 AND (until IS NULL OR until > $5) AND (day <> $1 OR asked < a_day)",
        params![day, tenant, raise.account.as_str(), raise.terms.as_str(), now],
    )
    .exactly(1, RAISES_OVER, "nobody is asked to raise this ceiling any more today")
}

/// The ceiling is still the one that is asked about: whoever looked before it was raised must not ask about the old one again.
pub(crate) fn stands(tenant: &TenantId, raise: &Raise) -> Write {
    Write::new(
        "UPDATE meter_account SET ceiling = ceiling WHERE tenant = $1 AND account = $2 AND ceiling = $3",
        params![tenant, raise.account.as_str(), raise.ceiling],
    )
    .exactly(1, MOVED, moved(raise))
}

fn moved(raise: &Raise) -> String {
    format!("the ceiling of `{}` is no longer {}", raise.account, raise.ceiling)
}

// INVARIANT: the ceiling that was asked about, under the terms it was asked under, becomes another one; that happens once, because then
// it is not that ceiling any more.
pub(crate) fn apply(tenant: &TenantId, raise: &Raise, ceiling: Micros) -> Write {
    Write::new(
        "UPDATE meter_account SET ceiling = $1 WHERE tenant = $2 AND account = $3 AND ceiling = $4 \
         AND EXISTS (SELECT 1 FROM meter_raise r WHERE r.tenant = $2 AND r.account = $3 AND r.id = $5)",
        params![ceiling, tenant, raise.account.as_str(), raise.ceiling, raise.terms.as_str()],
    )
    .exactly(1, MOVED, moved(raise))
}

/// The terms in an account's row, where it has any, with their name.
pub(super) fn read(row: &Row, first: usize) -> Result<Option<(String, RaiseTerms)>, creto_db::DbError> {
    let Some(id) = row.opt_text(first)?.map(str::to_owned) else { return Ok(None) };
    let a_day = u32::try_from(row.int(first + 2)?).map_err(|_| creto_db::DbError::Corrupt("terms of raises".to_owned()))?;
    let until = row.opt_int(first + 3)?.and_then(Timestamp::from_micros);
    Ok(Some((id, RaiseTerms { step: Micros::new(row.int(first + 1)?), a_day, until })))
}
