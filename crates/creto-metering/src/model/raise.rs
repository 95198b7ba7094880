//! Whether, and how, a human may be asked to raise the ceiling of an account that has no room.

use creto_enablement_common::gate::RESERVE_MAX;
use creto_kernel::{Micros, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::definition::DefinitionError;

creto_kernel::typed_ids! {
    /// Terms of raises, as they were set once.
    RaiseTermsId = "rst";
}

/// Most questions about one account in a day that terms may name.
const A_DAY_MAX: u32 = 100;

/// How a human may be asked to raise a ceiling. Nobody is asked where an owner did not say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RaiseTerms {
    /// What is asked for at a time, and the most one raise gives, as a decimal text. An action that lacks more asks nobody.
    #[schema(value_type = String)]
    pub step: Micros,
    /// Most questions in a day, in UTC.
    pub a_day: u32,
    /// Nobody is asked from this moment on; always somebody where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub until: Option<Timestamp>,
}

impl RaiseTerms {
    /// Refuses terms that mean nothing.
    pub(crate) fn check(&self, ceiling: Option<Micros>, now: Timestamp) -> Result<(), DefinitionError> {
        let wrong = |problem: &str| Err(DefinitionError::new("ask_to_raise", problem));
        if ceiling.is_none() {
            return wrong("raises nothing where there is no ceiling");
        }
        if self.step <= Micros::ZERO || self.step > RESERVE_MAX {
            return wrong("has no step above zero and of at most a million");
        }
        if !(1..=A_DAY_MAX).contains(&self.a_day) {
            return wrong("asks from 1 to 100 times a day");
        }
        if self.until.is_some_and(|until| until <= now) {
            return wrong("ends before it begins");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_mean_nothing_are_refused() {
        let now = Timestamp::from_secs(1_000).unwrap();
        let terms = |step: i64, a_day, until: Option<i64>| RaiseTerms {
            step: Micros::new(step),
            a_day,
            until: until.map(|secs| Timestamp::from_secs(secs).unwrap()),
        };
        let ceiling = Some(Micros::new(1));
        assert!(terms(1, 1, Some(1_001)).check(ceiling, now).is_ok());
        assert!(terms(RESERVE_MAX.get(), 100, None).check(ceiling, now).is_ok());
        assert!(terms(1, 1, None).check(None, now).is_err(), "nothing to raise");
        for bad in [terms(0, 1, None), terms(-1, 1, None), terms(RESERVE_MAX.get() + 1, 1, None), terms(1, 0, None), terms(1, 101, None)] {
            assert!(bad.check(ceiling, now).is_err(), "{bad:?}");
        }
        assert!(terms(1, 1, Some(1_000)).check(ceiling, now).is_err(), "over already");
    }
}
