//! Whether raising a ceiling would make room, and which.

use creto_enablement_common::{Raise, Room};
use creto_kernel::{Micros, Timestamp};

use crate::model::account::{AccountRef, AccountState};

/// What would make room for `wanted` on a chain, outermost account first. Nobody is asked for what would not fit all the same: every
/// account without room must let somebody be asked for what it lacks.
#[must_use]
pub fn room(chain: &[(AccountRef, Option<AccountState>)], wanted: Micros, now: Timestamp) -> Room {
    let mut raises = Vec::new();
    let mut asks = false;
    for (account, state) in chain {
        let left = match state {
            Some(state) => state.left(),
            None => i128::from(account.ceiling.map_or(i64::MAX, Micros::get)),
        };
        let raise = state.as_ref().and_then(|state| raise(account, state, i128::from(wanted.get()) - left, now));
        asks |= raise.is_some();
        if left < i128::from(wanted.get()) {
            let Some(raise) = raise.filter(|raise| raise.missing <= raise.step) else { return Room::Nobody };
            raises.push(raise);
        }
    }
    match raises.into_iter().next() {
        Some(raise) => Room::Raise(raise),
        None if asks => Room::There,
        None => Room::Nobody,
    }
}

/// The raise of an account whose owner lets somebody be asked now.
fn raise(account: &AccountRef, state: &AccountState, missing: i128, now: Timestamp) -> Option<Raise> {
    let terms = state.ask_to_raise.as_ref().filter(|terms| terms.until.is_none_or(|until| now < until))?;
    let ceiling = state.ceiling?;
    ceiling.checked_add(terms.step)?;
    Some(Raise {
        account: account.account.clone(),
        whose: account.identity.clone(),
        ceiling,
        missing: Micros::new(i64::try_from(missing).unwrap_or(i64::MAX)),
        step: terms.step,
        terms: state.terms.clone()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::raise::RaiseTerms;

    const NOW: i64 = 1_000;

    fn account(name: &str, ceiling: i64, spent: i64, step: Option<i64>) -> (AccountRef, Option<AccountState>) {
        let identity = "spiffe://creto.test/tenant/default/agent/a";
        let named = AccountRef { account: name.to_owned(), identity: identity.parse().unwrap(), ceiling: None, parent: None };
        let state = AccountState {
            currency: None,
            account: name.to_owned(),
            identity: identity.to_owned(),
            ceiling: Some(Micros::new(ceiling)),
            spent: Micros::new(spent),
            held: Micros::new(1),
            parent: None,
            ask_to_raise: step.map(|step| RaiseTerms { step: Micros::new(step), a_day: 1, until: Timestamp::from_secs(NOW + 1) }),
            terms: step.map(|_| format!("rst_{name}")),
        };
        (named, Some(state))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs).unwrap()
    }

    /// What is asked for: (account, missing).
    fn asked(chain: &[(AccountRef, Option<AccountState>)], wanted: i64) -> Result<(String, i64), Room> {
        match room(chain, Micros::new(wanted), at(NOW)) {
            Room::Raise(raise) => Ok((raise.account, raise.missing.get())),
            other => Err(other),
        }
    }

    #[test]
    fn the_outermost_account_without_room_is_asked_about_and_what_would_not_fit_all_the_same_is_not() {
        let asking = || account("b", 10, 4, Some(5));
        assert_eq!(asked(&[account("a", 100, 0, None), asking()], 5), Err(Room::There), "what is held counts");
        assert_eq!(asked(&[account("a", 100, 0, None), asking()], 6), Ok(("b".to_owned(), 1)));
        assert_eq!(asked(&[account("a", 100, 0, None), asking()], 10), Ok(("b".to_owned(), 5)));
        assert_eq!(asked(&[account("a", 100, 0, None), asking()], 11), Err(Room::Nobody), "a step is not enough");
        assert_eq!(asked(&[account("a", 5, 0, None), asking()], 6), Err(Room::Nobody), "another account has no room and nobody to ask");
        assert_eq!(asked(&[account("a", 5, 0, Some(9)), asking()], 6), Ok(("a".to_owned(), 2)));
        assert_eq!(asked(&[account("a", 5, 20, Some(30)), asking()], 6), Ok(("a".to_owned(), 22)), "what was overspent is missing too");
    }

    #[test]
    fn nobody_is_asked_where_nobody_said_so_nor_after_its_time_nor_beyond_what_is_an_amount() {
        assert_eq!(asked(&[account("a", 5, 0, None)], 1), Err(Room::Nobody));
        assert_eq!(asked(&[account("a", i64::MAX - 2, i64::MAX - 4, Some(5))], 3), Err(Room::Nobody));
        let late = room(&[account("a", 5, 5, Some(9))], Micros::new(2), at(NOW + 1));
        assert_eq!(late, Room::Nobody);
    }
}
