//! Erasing the words of requests: what was asked, why, and what was answered.

use creto_db::{Sql, Step, Write, params};
use creto_enablement_common::erasure::{Count, ERASED, Erasing, Erasure};

// The action keeps its names and loses its arguments, so that a closed request still says what it was about.
const ERASE: Sql = Sql::per_engine(
    "UPDATE oversight_request SET action = json_set(action, '$.arguments', json('{}')), digest = $6, salt = $7, reason = NULL, comment = NULL
     WHERE tenant = $1 AND opened_at < $2 AND ($3 = '' OR json_extract(action, '$.agent') = $3) AND ($4 = '' OR run = $4)
     AND ($5 = '' OR digest = $5) AND state IN ('denied', 'timed_out', 'cancelled', 'executed', 'failed') AND digest <> $6",
    "UPDATE oversight_request SET action = jsonb_set(action::jsonb, '{arguments}', '{}')::text, digest = $6, salt = $7, reason = NULL,
     comment = NULL
     WHERE tenant = $1 AND opened_at < $2 AND ($3 = '' OR action::jsonb ->> 'agent' = $3) AND ($4 = '' OR run = $4)
     AND ($5 = '' OR digest = $5) AND state IN ('denied', 'timed_out', 'cancelled', 'executed', 'failed') AND digest <> $6",
);

pub(crate) fn erasing(what: &Erasure) -> Erasing {
    let count = Count::default();
    let mut values = what.params();
    values.extend(params![ERASED, vec![0_u8; 32]]);
    let step: Box<dyn Step> = Box::new(Write::new(ERASE, values).counted(count.0.clone()));
    Erasing { steps: vec![step], count }
}
