//! The accounts of one commit: what each has room for, and what it will have spent.
//!
//! INVARIANT: as the database's own steps, room is computed by subtraction and nothing is spent where any account of the chain has none.

use std::collections::BTreeMap;

use creto_kernel::Micros;

use crate::model::account::AccountRef;

/// What an account stands at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Most that may be spent and held; none where absent.
    pub ceiling: Option<Micros>,
    /// Spent before this commit.
    pub spent: Micros,
    /// Held.
    pub held: Micros,
    /// Spent by this commit; below zero where it gives back.
    pub change: Micros,
    /// Whether the account is there already.
    pub known: bool,
}

/// Accounts by name.
#[derive(Clone, Debug, Default)]
pub struct Purse(BTreeMap<String, Standing>);

impl Purse {
    /// An account as it was read.
    pub fn add(&mut self, account: &str, ceiling: Option<Micros>, spent: Micros, held: Micros) {
        self.0.insert(account.to_owned(), Standing { ceiling, spent, held, change: Micros::ZERO, known: true });
    }

    /// The first account of the chain that has no room for `amount`.
    #[must_use]
    pub fn short<'a>(&self, accounts: &'a [AccountRef], amount: Micros) -> Option<&'a AccountRef> {
        accounts.iter().find(|account| self.room(account) < i128::from(amount.get()))
    }

    fn room(&self, account: &AccountRef) -> i128 {
        let wide = |amount: Micros| i128::from(amount.get());
        match self.0.get(&account.account) {
            Some(at) => at.ceiling.map_or(i128::from(i64::MAX), wide) - wide(at.spent) - wide(at.change) - wide(at.held),
            None => account.ceiling.map_or(i128::from(i64::MAX), wide),
        }
    }

    /// Spends `amount` at every account, whatever room there is; opens those that are not there. `false`, and nothing spent, where an
    /// amount would not fit.
    #[must_use]
    pub fn spend(&mut self, accounts: &[AccountRef], amount: Micros) -> bool {
        let fits = accounts.iter().all(|account| match self.0.get(&account.account) {
            Some(at) => at.change.checked_add(amount).and_then(|change| change.checked_add(at.spent)).is_some(),
            None => true,
        });
        if !fits {
            return false;
        }
        for account in accounts {
            let opened =
                || Standing { ceiling: account.ceiling, spent: Micros::ZERO, held: Micros::ZERO, change: Micros::ZERO, known: false };
            let at = self.0.entry(account.account.clone()).or_insert_with(opened);
            at.change = at.change.checked_add(amount).unwrap_or(at.change);
        }
        true
    }

    /// What an account stands at.
    #[must_use]
    pub fn at(&self, account: &str) -> Option<&Standing> {
        self.0.get(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Vec<AccountRef> {
        let of = |account: &str, ceiling: Option<i64>| AccountRef {
            account: account.to_owned(),
            identity: "spiffe://creto.test/tenant/default/agent/a".parse().unwrap(),
            ceiling: ceiling.map(Micros::new),
            parent: None,
        };
        vec![of("tenant", None), of("link:a", Some(100)), of("link:b", Some(50))]
    }

    #[test]
    fn the_tightest_account_of_a_chain_binds_and_what_is_held_counts() {
        let accounts = accounts();
        let mut purse = Purse::default();
        purse.add("link:a", Some(Micros::new(100)), Micros::new(40), Micros::new(20));
        let short = |purse: &Purse, amount| purse.short(&accounts, Micros::new(amount)).map(|a| a.account.clone());
        assert_eq!((short(&purse, 40), short(&purse, 41)), (None, Some("link:a".to_owned())));
        assert!(purse.spend(&accounts, Micros::new(40)));
        assert_eq!(short(&purse, 1), Some("link:a".to_owned()));
        assert_eq!(purse.at("link:b").unwrap(), &Standing { change: Micros::new(40), known: false, ..opened(50) });
        assert!(purse.spend(&accounts, Micros::new(-15)), "what is given back makes room again");
        assert_eq!((short(&purse, 15), short(&purse, 16)), (None, Some("link:a".to_owned())));
    }

    fn opened(ceiling: i64) -> Standing {
        Standing { ceiling: Some(Micros::new(ceiling)), spent: Micros::ZERO, held: Micros::ZERO, change: Micros::ZERO, known: true }
    }

    #[test]
    fn an_amount_that_fits_nowhere_is_spent_nowhere() {
        let accounts = accounts();
        let mut purse = Purse::default();
        purse.add("tenant", None, Micros::new(i64::MAX - 5), Micros::ZERO);
        assert!(!purse.spend(&accounts, Micros::new(6)));
        assert_eq!((purse.at("link:a"), purse.at("tenant").unwrap().change), (None, Micros::ZERO));
        assert!(purse.short(&accounts, Micros::new(6)).is_some());
    }
}
