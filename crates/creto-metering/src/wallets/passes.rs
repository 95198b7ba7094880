//! What time and falling balances do to wallets. Each act is a commit of its own under a key, so that a pass that was cut, or two at
//! once, do it once.

use creto_db::Sealed;
use creto_kernel::{Micros, NhiId, Timestamp};

use super::{Asked, Wallets, told, transaction_of};
use crate::catalog::{boxed, canonical_text, commit, event_leaf};
use crate::core::credits::{self, Balance};
use crate::core::period;
use crate::core::zone::Zone;
use crate::error::MeteringError;
use crate::model::plan::BillingTime;
use crate::model::wallet::{TopUpMethod, TopUpRule, TopUpTrigger, Wallet};
use crate::model::wallets::{Movement, MovementKind, WalletId, WalletRecord, WalletTransaction};
use crate::store::catalog::CHANGED;
use crate::store::wallets as store;

/// Lots and wallets looked at in one step.
const STEP_MAX: i64 = 200;

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Credits that are gone with time.
    pub expired: u64,
    /// Movements that rules made.
    pub topped_up: Vec<WalletTransaction>,
}

/// When each interval rule of a new wallet comes first: one interval after its beginning.
pub(super) fn first_due(wallet: &Wallet, now: Timestamp) -> Vec<Option<Timestamp>> {
    wallet.recurring_transaction_rules.iter().map(|rule| next_due(rule, now, now)).collect()
}

/// The first beginning of an interval after `now`, counted from `since`, in UTC.
fn next_due(rule: &TopUpRule, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let (interval, zone) = (rule.interval?, Zone::utc());
    let period = period::containing(zone.day(now), interval, BillingTime::Anniversary, zone.day(since));
    Some(period.to_exclusive(&zone))
}

impl Wallets {
    /// Everything that is due by `now`: credits expire, interval rules fill up.
    pub async fn pass_time(&self, by: &NhiId, now: Timestamp) -> Result<Filled, MeteringError> {
        let mut filled = Filled { expired: self.expire(by, now).await?, topped_up: Vec::new() };
        let mut after = String::new();
        loop {
            let wallets = store::walk(&self.db, by.tenant(), &after, STEP_MAX).await?;
            let Some(last) = wallets.last() else { return Ok(filled) };
            after = last.id.to_string();
            for record in wallets {
                filled.topped_up.extend(self.interval_rules(by, record, now).await?);
            }
        }
    }

    /// Takes out what is left of lots whose time is over.
    async fn expire(&self, by: &NhiId, now: Timestamp) -> Result<u64, MeteringError> {
        let tenant = by.tenant();
        let mut expired = 0;
        loop {
            let lots = store::expired_lots(&self.db, tenant, now, STEP_MAX).await?;
            if lots.is_empty() {
                return Ok(expired);
            }
            for lot in lots {
                let record = self.record_of(tenant, lot.wallet).await?;
                let (credits, movement) = (super::credits_of(&record, lot.left), Movement::default());
                let once = format!("expires:{}", lot.id);
                let asked = Asked { kind: MovementKind::Expired, credits: &credits, movement: &movement, source: "expiry", once };
                let mut it = transaction_of(&record, &asked, now)?;
                it.amount = lot.left;
                let mut writes = vec![store::insert_transaction(tenant, &it, &asked.once, &canonical_text(&it)?)];
                writes.extend(store::use_lot(tenant, it.id, &lot, lot.left));
                let from = format!("wallet:{}", record.id);
                writes.extend(store::post(tenant, &it, record.wallet.currency.as_str(), &from, "expired", now));
                let leaf = event_leaf(&*self.clock, by, "metering.expire_credits", &from)?.fact("expired", lot.left);
                match commit(&self.db, told(tenant, &[it], Sealed::new(leaf).steps(boxed(writes)))).await {
                    Ok(()) => expired += 1,
                    Err(MeteringError::Conflict { code, .. }) if code == CHANGED || code == store::ONCE => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Fills up by the interval rules that are due; a rule that was missed for long comes once.
    async fn interval_rules(&self, by: &NhiId, record: WalletRecord, now: Timestamp) -> Result<Vec<WalletTransaction>, MeteringError> {
        let mut made = Vec::new();
        let mut after = record.clone();
        let mut writes = Vec::new();
        for (at, rule) in record.wallet.recurring_transaction_rules.iter().enumerate() {
            let Some(due) = record.rules_due.get(at).copied().flatten().filter(|due| *due <= now) else { continue };
            let state = self.state(by.tenant(), record.clone()).await?;
            let paid = match (rule.method, &rule.target_ongoing_balance) {
                (TopUpMethod::Target, Some(target)) => (target - &state.credits_balance - &rule.granted_credits).floor_zero(),
                _ => rule.paid_credits.clone(),
            };
            let key = format!("rule:{}:{at}:{due}", record.id);
            for (kind, credits) in [(MovementKind::Purchased, &paid), (MovementKind::Granted, &rule.granted_credits)] {
                if credits.is_positive() {
                    let movement = Movement::default();
                    let once = format!("{key}:{}", kind.as_str());
                    let asked = Asked { kind, credits, movement: &movement, source: "interval", once };
                    let (transaction, more) = self.movement(by.tenant(), &record, &asked, now)?;
                    made.push(transaction);
                    writes.extend(more);
                }
            }
            if let Some(slot) = after.rules_due.get_mut(at) {
                *slot = next_due(rule, record.created_at, now);
            }
        }
        if after == record {
            return Ok(made);
        }
        (after.updated_at, after.revision) = (now, record.revision.saturating_add(1));
        writes.push(store::replace_wallet(by.tenant(), &after, &canonical_text(&after)?));
        self.filled(by, &record, writes, made).await
    }

    /// Fills a wallet up by its threshold rules, where what is left after `unbilled` usage is at or below a threshold.
    pub async fn check_thresholds(&self, by: &NhiId, id: WalletId, unbilled: Micros) -> Result<Vec<WalletTransaction>, MeteringError> {
        let tenant = by.tenant();
        let state = self.get(tenant, id).await?;
        let record = &state.record;
        let used = super::credits_of(record, unbilled);
        let pending = super::credits_of(record, state.pending);
        let mut balance = Balance { ongoing: &state.credits_balance - &used, pending };
        let (mut made, mut writes) = (Vec::new(), Vec::new());
        for rule in record.wallet.recurring_transaction_rules.iter().filter(|rule| rule.trigger == TopUpTrigger::Threshold) {
            let paid = credits::top_up(rule, &balance);
            if !paid.is_positive() {
                continue;
            }
            for (kind, credits) in [(MovementKind::Purchased, &paid), (MovementKind::Granted, &rule.granted_credits)] {
                if credits.is_positive() {
                    let movement = Movement::default();
                    let asked = Asked { kind, credits, movement: &movement, source: "threshold", once: String::new() };
                    let (transaction, more) = self.movement(tenant, record, &asked, self.clock.now())?;
                    balance.pending += &transaction.credits;
                    made.push(transaction);
                    writes.extend(more);
                }
            }
        }
        if made.is_empty() {
            return Ok(made);
        }
        // Two looks at one falling balance fill up once: both follow the same revision.
        let mut after = record.clone();
        (after.updated_at, after.revision) = (self.clock.now(), record.revision.saturating_add(1));
        writes.push(store::replace_wallet(tenant, &after, &canonical_text(&after)?));
        self.filled(by, record, writes, made).await
    }

    async fn filled(
        &self,
        by: &NhiId,
        record: &WalletRecord,
        writes: Vec<creto_db::Write>,
        made: Vec<WalletTransaction>,
    ) -> Result<Vec<WalletTransaction>, MeteringError> {
        let mut leaf = event_leaf(&*self.clock, by, "metering.fill_wallet", &format!("wallet:{}", record.id))?;
        for it in &made {
            leaf = leaf.fact(it.kind.as_str(), it.amount);
        }
        match commit(&self.db, told(by.tenant(), &made, Sealed::new(leaf).steps(boxed(writes)))).await {
            Ok(()) => Ok(made),
            // Somebody else filled it up.
            Err(MeteringError::Conflict { code, .. }) if code == CHANGED || code == store::ONCE => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_rule_comes_one_interval_after_the_wallets_beginning() {
        let rule = serde_json::json!({ "trigger": "interval", "interval": "monthly", "paid_credits": "1" });
        let rule: TopUpRule = serde_json::from_value(rule).unwrap();
        let begin: Timestamp = "2026-01-31T10:00:00Z".parse().unwrap();
        let due = next_due(&rule, begin, begin).unwrap();
        assert_eq!(due, "2026-02-28T00:00:00Z".parse().unwrap());
        assert_eq!(next_due(&rule, begin, due), Some("2026-03-31T00:00:00Z".parse().unwrap()));
    }
}
