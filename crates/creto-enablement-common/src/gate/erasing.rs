//! The Gate's own words: the arguments of actions, and what was said where they were refused.

use creto_db::{Column, Many, Sql, Step, Write, params};
use creto_kernel::id::{AdmissionId, RunId};
use creto_kernel::{Digest, TenantId};

use super::{Gate, refusal_of};
use crate::erasure::{Count, ERASED, Erasing, Erasure};
use crate::refusal::Refusal;

const ERASE: &str = "UPDATE gate_action SET arguments = 'null', digest = $6, note = NULL, salt = $7
    WHERE tenant = $1 AND opened_at < $2 AND ($3 = '' OR agent = $3) AND ($4 = '' OR run = $4) AND ($5 = '' OR digest = $5)
    AND state IN ('done', 'failed', 'refused') AND digest <> $6";

const FORGET_ATTEMPTS: &str = "UPDATE gate_attempt SET digest = $2 WHERE tenant = $1 AND digest <> $2
    AND admission IN (SELECT admission FROM gate_action WHERE tenant = $1 AND digest = $2)";

impl Gate {
    /// Erases arguments, refusals' words, digests and salts of settled actions.
    #[must_use]
    pub fn erasing(&self, what: &Erasure) -> Erasing {
        let count = Count::default();
        let mut values = what.params();
        values.extend(params![ERASED, vec![0_u8; 32]]);
        let step: Box<dyn Step> = Box::new(Write::new(ERASE, values).counted(count.0.clone()));
        // An attempt that comes again later is then another action's, and is refused: it is not done twice.
        let attempts: Box<dyn Step> = Box::new(Write::new(FORGET_ATTEMPTS, params![&what.tenant, ERASED]));
        Erasing { steps: vec![step, attempts], count }
    }

    /// Erases the arguments and digests of these settled actions. What a human was asked about is kept: it is the evidence of that.
    #[must_use]
    pub fn erasing_admissions(&self, tenant: &TenantId, admissions: &[AdmissionId]) -> Vec<Box<dyn Step>> {
        let which = || vec![Column::texts(admissions.iter().map(ToString::to_string))];
        let actions = Many::new(
            Sql::per_engine(
                "UPDATE gate_action SET arguments = 'null', digest = $2, salt = $3 WHERE tenant = $1 AND admission = $4 \
                 AND state IN ('done', 'failed', 'refused') AND approval IS NULL",
                "UPDATE gate_action SET arguments = 'null', digest = $2, salt = $3 WHERE tenant = $1 AND admission = ANY($4::text[]) \
                 AND state IN ('done', 'failed', 'refused') AND approval IS NULL",
            ),
            params![tenant, ERASED, vec![0_u8; 32]],
            which(),
        );
        let attempts = Many::new(
            Sql::per_engine(
                "UPDATE gate_attempt SET digest = $2 WHERE tenant = $1 AND admission = (SELECT admission FROM gate_action \
                 WHERE tenant = $1 AND admission = $3 AND digest = $2)",
                "UPDATE gate_attempt SET digest = $2 WHERE tenant = $1 AND admission IN (SELECT admission FROM gate_action \
                 WHERE tenant = $1 AND admission = ANY($3::text[]) AND digest = $2)",
            ),
            params![tenant, ERASED],
            which(),
        );
        vec![Box::new(actions), Box::new(attempts)]
    }

    /// The digests of a run's actions: by these, reasons are recorded elsewhere.
    ///
    /// # Errors
    /// What the database says.
    pub async fn digests_of(&self, tenant: &TenantId, run: RunId) -> Result<Vec<Digest>, Refusal> {
        let select = "SELECT DISTINCT digest FROM gate_action WHERE tenant = $1 AND run = $2 AND digest <> $3";
        let rows = self.options.db.query(select, params![tenant, run, ERASED]).await.map_err(refusal_of)?;
        rows.iter().map(|row| row.parse(0)).collect::<Result<_, _>>().map_err(refusal_of)
    }
}
