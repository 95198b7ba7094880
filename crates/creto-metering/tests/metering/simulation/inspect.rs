//! The books against what the clients were told.

use std::collections::BTreeMap;

use creto_db::testkit::{Random, drive};
use creto_enablement_common::gate::{ActionFilter, ActionState};
use creto_kernel::{Digest, Leaf, Timestamp};
use creto_metering::core::batch_tree;
use futures::FutureExt as _;

use super::clients::{Clients, Key, Witness};
use super::stage::{Life, Scene, Stage};

/// What a lost acknowledgement is called.
pub(crate) const LOST: &str = "was acknowledged and is lost";

/// How often what was not answered is sent again.
const RETRIES: usize = 4;

/// A record: place, cost, metric, moment, properties.
type Row = (i64, i64, String, Timestamp, String);

/// The one number that a query answers; 0 for none.
async fn number(scene: &Scene, sql: &'static str) -> Result<i64, String> {
    let row = scene.house.db.query_optional(sql, vec![]).await.map_err(|e| e.to_string())?;
    Ok(row.and_then(|row| row.opt_int(0).ok().flatten()).unwrap_or(0))
}

async fn rows(scene: &Scene) -> Result<BTreeMap<Key, Row>, String> {
    let sql = "SELECT subscription, transaction_id, seq, cost_micros, code, occurred_at, properties FROM meter_record ORDER BY seq";
    let mut rows = BTreeMap::new();
    for row in scene.house.db.query(sql, vec![]).await.map_err(|e| e.to_string())? {
        let text = |column| row.text(column).unwrap().to_owned();
        let found = (row.int(2).unwrap(), row.int(3).unwrap(), text(4), row.time(5).unwrap(), text(6));
        // What agents did is metered too, under identifiers of the server's own.
        if !text(1).starts_with("creto:") && rows.insert((text(0), text(1)), found).is_some() {
            return Err(format!("{:?} is there twice", (text(0), text(1))));
        }
    }
    Ok(rows)
}

/// Every event that was acknowledged is there once, as it was told; nothing is there that nobody sent; aggregates, ledger, accounts and
/// leaves agree.
pub(crate) async fn books(life: &Life, witness: &Witness) -> Result<(), String> {
    let scene = &life.scene;
    if !witness.wrong.is_empty() {
        return Err(witness.wrong.join("; "));
    }
    let rows = rows(scene).await?;
    for (key, (seq, cost, event)) in &witness.told {
        let row = rows.get(key).ok_or_else(|| format!("{key:?} {LOST}"))?;
        let told = (*seq, *cost, event.code.clone(), event.occurred_at, event.properties.clone());
        if *row != told {
            return Err(format!("{key:?} was told as {told:?} and is {row:?}"));
        }
    }
    for (key, (_, _, code, at, properties)) in &rows {
        let versions = witness.sent.get(key).map_or(&[][..], Vec::as_slice);
        if !versions.iter().any(|event| (&event.code, &event.occurred_at, &event.properties) == (code, at, properties)) {
            return Err(format!("{key:?} was never sent as {code} {properties}"));
        }
    }
    cancelled(scene, witness).await?;
    posted(scene, witness).await?;
    batches(scene, witness).await?;
    ceilings(scene).await?;
    let report = scene.meter.check(scene.by.tenant()).await.map_err(|e| e.to_string())?;
    if report.ok && report.debits == report.credits { Ok(()) } else { Err(format!("the books do not balance: {report:?}")) }
}

/// No account has spent and held more than its ceiling.
pub(crate) async fn ceilings(scene: &Scene) -> Result<(), String> {
    let accounts = scene.meter.accounts(scene.by.tenant()).await.map_err(|e| e.to_string())?;
    let over = accounts.iter().find(|a| a.ceiling.is_some_and(|ceiling| a.spent.get() + a.held.get() > ceiling.get()));
    over.map_or(Ok(()), |account| Err(format!("overspent: {account:?}")))
}

async fn cancelled(scene: &Scene, witness: &Witness) -> Result<(), String> {
    let sql = "SELECT subscription, transaction_id FROM meter_record WHERE cancelled_at IS NOT NULL";
    let found = scene.house.db.query(sql, vec![]).await.map_err(|e| e.to_string())?;
    let found: std::collections::BTreeSet<Key> =
        found.iter().map(|row| (row.text(0).unwrap().to_owned(), row.text(1).unwrap().to_owned())).collect();
    if let Some(key) = witness.cancelled.difference(&found).next() {
        return Err(format!("the cancellation of {key:?} {LOST}"));
    }
    let unasked = found.difference(&witness.cancelling).next();
    unasked.map_or(Ok(()), |key| Err(format!("{key:?} is cancelled, and nobody asked for it")))
}

async fn posted(scene: &Scene, witness: &Witness) -> Result<(), String> {
    for (admission, cost) in &witness.posted {
        let action = scene.house.gate.action(scene.by.tenant(), *admission).await.map_err(|e| e.to_string())?;
        let action = action.ok_or_else(|| format!("the posting of {admission} {LOST}"))?;
        if !matches!(action.state, ActionState::Done | ActionState::Failed) {
            return Err(format!("the posting of {admission} {LOST}: it is {:?}", action.state));
        }
        if action.cost.get() != *cost {
            return Err(format!("{admission} was told to cost {cost} and costs {}", action.cost));
        }
    }
    Ok(())
}

/// Batches cover the records without a gap; each root is of its digests; a leaf names each root that was told.
async fn batches(scene: &Scene, witness: &Witness) -> Result<(), String> {
    let db = &scene.house.db;
    let sql = "SELECT first, events, admission, root, digests FROM meter_batch ORDER BY first";
    let mut next = 1;
    let mut roots = BTreeMap::new();
    for row in db.query(sql, vec![]).await.map_err(|e| e.to_string())? {
        let (first, events) = (row.int(0).unwrap(), row.int(1).unwrap());
        if first != next {
            return Err(format!("a batch begins at {first} instead of {next}"));
        }
        next += events;
        let chunks = row.blob(4).unwrap().chunks_exact(32);
        let digests: Vec<Digest> = chunks.map(|bytes| Digest::from_bytes(bytes.try_into().unwrap())).collect();
        let root: Digest = row.parse(3).unwrap();
        if digests.len() as i64 != events || batch_tree::root(&digests) != root {
            return Err(format!("the root of the batch at {first} is of other events"));
        }
        roots.insert(row.text(2).unwrap().to_owned(), root);
    }
    let (records, last) =
        (number(scene, "SELECT count(*) FROM meter_record").await?, number(scene, "SELECT max(seq) FROM meter_record").await?);
    if (records, last) != (next - 1, next - 1) {
        return Err(format!("there are {records} records up to {last} in batches up to {}", next - 1));
    }
    let leaves = db.query("SELECT body FROM audit_leaf", vec![]).await.map_err(|e| e.to_string())?;
    let leaves: Vec<Leaf> = leaves.iter().map(|row| serde_json::from_slice(row.blob(0).unwrap()).unwrap()).collect();
    for (admission, root) in &witness.roots {
        if roots.get(&admission.to_string()) != Some(root) {
            return Err(format!("the batch of {admission} {LOST}"));
        }
        let named = |leaf: &Leaf| leaf.facts.get("admission") == Some(&admission.to_string()) && leaf.digests.get("events") == Some(root);
        if !leaves.iter().any(named) {
            return Err(format!("no leaf names the root of {admission}"));
        }
    }
    Ok(())
}

/// The last life: everybody is answered, what was left open is resolved, the log is sealed and verified, nothing stays held.
pub(crate) async fn end(life: &mut Life, stage: &Stage, clients: &mut Clients, random: &mut Random) -> Result<(), String> {
    for _ in 0..RETRIES {
        if !clients.plan_the_rest() {
            break;
        }
        drive(clients.act(&life.scene, &stage.disk), &mut life.steps, &stage.disk, random).await;
        clients.settle();
    }
    let Life { scene, steps } = &mut *life;
    let resolving = async {
        scene.house.gate.mark_in_doubt(&scene.by).await?;
        let filter = ActionFilter { state: Some(ActionState::InDoubt), ..ActionFilter::default() };
        for action in scene.house.gate.actions(scene.by.tenant(), &filter).await? {
            scene.house.gate.resolve_in_doubt(&scene.by, action.admission, false).await?;
        }
        Ok::<_, creto_enablement_common::Refusal>(())
    };
    let resolved = drive(vec![resolving.boxed_local()], steps, &stage.disk, random).await.pop().flatten();
    resolved.ok_or("the power went")?.map_err(|e| format!("what is in doubt: {e}"))?;
    books(life, clients.witness.get_mut()).await?;
    let held = life.scene.house.held().await;
    if held != 0 {
        return Err(format!("{held} stays held"));
    }
    let entries = stage.seal(life, random).await?;
    let leaves = number(&life.scene, "SELECT count(*) FROM audit_leaf").await?;
    if entries != leaves.unsigned_abs() {
        return Err(format!("the log has {entries} entries for {leaves} leaves"));
    }
    proofs(life, clients.witness.get_mut(), random).await
}

async fn proofs(life: &Life, witness: &Witness, random: &mut Random) -> Result<(), String> {
    for _ in 0..4 {
        let Some((subscription, id)) = witness.told.keys().nth(random.place(witness.told.len())) else { continue };
        let proof = life.scene.meter.event_proof(life.scene.by.tenant(), subscription, id).await.map_err(|e| e.to_string())?;
        if !batch_tree::verify(&proof.event, proof.index, proof.size, &proof.proof, &proof.root) {
            return Err(format!("{id} has no proof"));
        }
    }
    Ok(())
}
