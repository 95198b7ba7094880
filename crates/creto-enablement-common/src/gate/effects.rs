//! Actions whose whole effect is our own state: admitted and done in one commit.

use std::sync::Arc;
use std::time::Duration;

use creto_db::{Lazily, Sealed, Step};
use creto_kernel::Micros;

use super::raising::Waiting;
use super::{
    ActionRow, ActionState, AdmitRequest, Clearance, Cleared, Effect, Gate, Settled, Stopped, billed, held, is_certain, refusal_of, with,
};
use crate::ports::{Bill, Funding, Held};
use crate::refusal::Refusal;

impl Gate {
    /// Admits and commits, in one commit, an action whose whole effect is our own state: its steps, the usage posting and the leaf
    /// happen together or not at all.
    pub async fn commit_effect(&self, request: AdmitRequest<'_>, mut effect: Effect) -> Result<Settled, Refusal> {
        // Steps that may be committed again once there is room for what they cost.
        let steps: Vec<Arc<dyn Step>> = std::mem::take(&mut effect.steps).into_iter().map(Arc::from).collect();
        let mut bill = Bill::default();
        let mut waiting = Waiting::for_effect(&request);
        let stopped = loop {
            let stopped = match self.clear(&request, Duration::MAX).await {
                Ok(Clearance::Pending(request, _)) => return Err(Refusal::NotDecided { request }),
                Ok(Clearance::Cleared(cleared)) => match self.commit_done(&request, &cleared, &effect, &steps, &mut bill).await {
                    Ok(settled) => return Ok(settled),
                    Err(refusal) => Stopped { cleared: Some(cleared), refusal },
                },
                Err(stopped) => stopped,
            };
            if !stopped.is_short() || bill.short() <= Micros::ZERO {
                break stopped;
            }
            match self.room_instead_of(&request, bill.short(), &mut waiting, stopped).await {
                Ok(_) => {}
                Err(stopped) => break stopped,
            }
        };
        Err(self.recorded(&request, stopped).await)
    }

    async fn commit_done(
        &self,
        request: &AdmitRequest<'_>,
        cleared: &Cleared,
        effect: &Effect,
        steps: &[Arc<dyn Step>],
        written: &mut Bill,
    ) -> Result<Settled, Refusal> {
        let now = self.options.clock.now();
        let mut posting = self.options.ledger.settle(Funding::Ahead, request.chain, cleared.admission, &effect.usage, now).await?;
        if let Some(bill) = &effect.bill {
            posting.cost = bill.clone();
        }
        *written = posting.cost.clone();
        let mut leaf = self.leaf(request, cleared, "done", now).fact("admission", cleared.admission);
        leaf.id = request.leaf.unwrap_or(leaf.id);
        leaf.facts.extend(effect.facts.clone());
        leaf.digests.extend(effect.digests.clone());
        let row = ActionRow::open(cleared, request, leaf.id, now)?;
        let bill = posting.cost.clone();
        let mut sealed = Sealed::new(leaf);
        if let Some(approval) = cleared.approval {
            // The approval is used and concluded in one step: the effect is this very commit.
            let tenant = &cleared.action.tenant;
            sealed = with(sealed, self.options.approvals.consume_done(tenant, approval, cleared.digest, cleared.admission).await?);
        }
        sealed = sealed
            .steps(steps.iter().map(|step| Box::new(Arc::clone(step)) as Box<dyn Step>))
            .steps(posting.steps)
            .steps(held(&cleared.leases).flat_map(|held| held.settle(Funding::Ahead, &effect.usage, &posting.cost)))
            .step(Lazily(move || row.clone().costing(bill.cost()).insert(ActionState::Done)))
            .late(billed(&posting.cost));
        for late in &effect.late {
            sealed = sealed.late(late.clone());
        }
        for message in &effect.messages {
            sealed = sealed.message(message.clone());
        }
        let committed = self.options.db.commit(sealed).await.map_err(refusal_of);
        if !committed.as_ref().is_err_and(is_certain) {
            held(&cleared.leases).for_each(Held::admitted);
        }
        let committed = committed?;
        held(&cleared.leases).for_each(Held::settled);
        Ok(Settled { admission: cleared.admission, leaf: committed.leaf, cost: posting.cost.cost() })
    }
}
