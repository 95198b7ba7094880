//! What the entries say: that each is a leaf of this tenant, none is there twice, and which intents have no outcome.

use std::collections::{BTreeMap, HashSet};

use creto_kernel::canonical::{self, Limits};
use creto_kernel::id::{AdmissionId, LeafId};
use creto_kernel::{Leaf, Phase, TenantId};

use crate::core::tile::ENTRY_BYTES_MAX;
use crate::report::InDoubt;

const LEAF_LIMITS: Limits = Limits { bytes_max: ENTRY_BYTES_MAX, depth_max: 8 };

#[derive(Debug, Default)]
pub(super) struct Entries {
    seen: HashSet<LeafId>,
    open: BTreeMap<AdmissionId, InDoubt>,
    pub(super) outcomes_without_intent: Vec<u64>,
}

impl Entries {
    /// Takes entry `index`; answers what is wrong with it.
    pub(super) fn take(&mut self, tenant: &TenantId, index: u64, bytes: &[u8]) -> Result<(), String> {
        let leaf: Leaf = canonical::parse_as(bytes, LEAF_LIMITS).map_err(|e| e.to_string())?;
        if leaf.canonical_bytes().ok().as_deref() != Some(bytes) {
            return Err("it is not in canonical form".to_owned());
        }
        if leaf.v != 1 {
            return Err(format!("its version {} is not known here", leaf.v));
        }
        if leaf.tenant != *tenant {
            return Err(format!("it belongs to tenant `{}`", leaf.tenant));
        }
        if !self.seen.insert(leaf.id) {
            return Err(format!("leaf `{}` is there twice", leaf.id));
        }
        match leaf.phase {
            Phase::Event => {}
            Phase::Intent { admission } => {
                let intent = InDoubt { index, leaf: leaf.id, admission, time: leaf.time, action: leaf.action, resource: leaf.resource };
                self.open.insert(admission, intent);
            }
            Phase::Outcome { admission } => {
                if self.open.remove(&admission).is_none() {
                    self.outcomes_without_intent.push(index);
                }
            }
        }
        Ok(())
    }

    pub(super) fn in_doubt(&mut self) -> Vec<InDoubt> {
        let mut in_doubt: Vec<_> = std::mem::take(&mut self.open).into_values().collect();
        in_doubt.sort_by_key(|intent| intent.index);
        in_doubt
    }
}
