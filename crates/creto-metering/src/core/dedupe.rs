//! Idempotency: one event for each subscription and transaction identifier, for ever. The time is no part of the key.

use std::collections::BTreeMap;

use creto_kernel::Digest;

/// What Lago answers for a transaction identifier that was used before, whatever the event says.
pub const LAGO_CODE: &str = "value_already_exist";
/// The field Lago's answer names.
pub const LAGO_FIELD: &str = "transaction_id";
/// The status Lago's answer has.
pub const LAGO_STATUS: u16 = 422;

/// What makes two events the same one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose usage.
    pub subscription: String,
    /// The sender's identifier.
    pub transaction_id: String,
}

/// What becomes of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is recorded.
    New,
    /// It was recorded before: answered as the first time.
    Same,
    /// Its identifier was used for another event, which has this digest.
    Different(Digest),
}

/// Judges a batch in its order, against the digests that are `known` and against the events before it in the batch.
#[must_use]
pub fn judge(batch: &[(Key, Digest)], known: &BTreeMap<Key, Digest>) -> Vec<Verdict> {
    let mut first: BTreeMap<&Key, &Digest> = known.iter().collect();
    batch
        .iter()
        .map(|(key, digest)| match first.get(key) {
            Some(recorded) if *recorded == digest => Verdict::Same,
            Some(recorded) => Verdict::Different(**recorded),
            None => {
                first.insert(key, digest);
                Verdict::New
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_of_a_key_is_the_one() {
        let key =
            |subscription: &str, transaction: &str| Key { subscription: subscription.to_owned(), transaction_id: transaction.to_owned() };
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let known = BTreeMap::from([(key("s", "old"), a)]);
        let batch =
            [(key("s", "1"), a), (key("s", "1"), a), (key("s", "1"), b), (key("t", "1"), b), (key("s", "old"), b), (key("s", "old"), a)];
        let verdicts = judge(&batch, &known);
        assert_eq!(verdicts, [Verdict::New, Verdict::Same, Verdict::Different(a), Verdict::New, Verdict::Different(a), Verdict::Same]);
    }
}
