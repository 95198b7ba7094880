//! What is remembered, on each engine.

#[cfg(test)]
mod memory {
    use std::sync::Arc;
    use std::time::Duration;

    use creto_db::testkit::each_engine;
    use creto_db::{Db, params};
    use creto_kernel::time::ManualClock;
    use creto_kernel::{Coded, Digest, Leaf, NhiId, Timestamp};
    use creto_memory::{ChangeKind, Item, MIGRATIONS, Memory, MemoryError, MemoryId, NewItem, Search, TEXT_BYTES_MAX};

    fn agent(tenant: &str, name: &str) -> NhiId {
        format!("spiffe://creto.local/tenant/{tenant}/agent/{name}").parse().unwrap()
    }

    fn second(number: i64) -> Timestamp {
        Timestamp::from_secs(number).unwrap()
    }

    fn open(db: Db) -> (Memory, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(second(100)));
        (Memory::new(db, clock.clone()), clock)
    }

    fn words(text: &str) -> Search {
        Search { text: text.to_owned(), author: None, at: None, limit: 10 }
    }

    async fn found(memory: &Memory, search: &Search) -> Vec<MemoryId> {
        memory.search(agent("default", "a").tenant(), search).await.unwrap().into_iter().map(|item| item.id).collect()
    }

    async fn leaves(db: &Db) -> Vec<Leaf> {
        let rows = db.query("SELECT body FROM audit_leaf ORDER BY sequence", params![]).await.unwrap();
        rows.iter().map(|row| serde_json::from_slice(row.blob(0).unwrap()).unwrap()).collect()
    }

    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: Result<T, MemoryError>, code: &str) {
        assert_eq!(result.unwrap_err().code().as_str(), code);
    }

    #[tokio::test]
    async fn an_item_is_read_back_as_it_was_put() {
        each_engine(&[MIGRATIONS], async |db| {
            let (memory, _) = open(db.clone());
            let a = agent("default", "a");
            let action = Digest::of(b"action");
            let new = NewItem {
                valid_from: Some(second(50)),
                valid_to: Some(second(500)),
                action: Some(action),
                ..NewItem::new("tool:search", "the invoice is due\n\u{202e}tomorrow")
            };
            let item = memory.put(&a, Some(Digest::of(b"chain")), new).await.unwrap();
            assert_eq!(memory.get(a.tenant(), item.id).await.unwrap().unwrap(), item);
            assert_eq!(item.text.as_ref().unwrap().raw(), "the invoice is due\n\u{202e}tomorrow");
            let leaf = leaves(&db).await.pop().unwrap();
            assert_eq!((leaf.id, leaf.chain, leaf.resource.as_str()), (item.leaf, Some(Digest::of(b"chain")), &*format!("memory:{a}")));
            let stored = db.query("SELECT salt FROM memory_item", params![]).await.unwrap();
            assert_eq!(leaf.digests["reason_of"], Digest::of_parts(&[stored[0].blob(0).unwrap(), action.as_bytes()]));
            assert!(!String::from_utf8(leaf.canonical_bytes().unwrap()).unwrap().contains("invoice"));
        })
        .await;
    }

    #[tokio::test]
    async fn search_wants_every_word_and_answers_the_latest_first() {
        each_engine(&[MIGRATIONS], async |db| {
            let (memory, _) = open(db);
            let (a, b) = (agent("default", "a"), agent("default", "b"));
            let put = async |author: &NhiId, text: &str| memory.put(author, None, NewItem::new("note", text)).await.unwrap().id;
            let first = put(&a, "Budget approved for api.example.com").await;
            let second = put(&b, "the budget of the second quarter: Größe 12").await;
            assert_eq!(found(&memory, &words("BUDGET")).await, [second, first]);
            assert_eq!(found(&memory, &words("budget approved")).await, [first]);
            assert_eq!(found(&memory, &words("example")).await, [first]);
            assert_eq!(found(&memory, &words("größe")).await, [second]);
            assert_eq!(found(&memory, &Search { author: Some(a.clone()), ..words("budget") }).await, [first]);
            assert_eq!(found(&memory, &Search { limit: 1, ..words("budget") }).await, [second]);
            for nothing in ["budge", "", "\"", "* OR budget", "budget) OR (approved", "body:budget", "budget & !approved | x", "%", "'"] {
                assert_eq!(found(&memory, &words(nothing)).await, [], "{nothing}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_correction_ends_what_it_corrects_and_both_stay_readable() {
        each_engine(&[MIGRATIONS], async |db| {
            let (memory, clock) = open(db.clone());
            let a = agent("default", "a");
            let old = memory.put(&a, None, NewItem::new("note", "the price is 5")).await.unwrap();
            clock.advance(Duration::from_secs(100));
            let new = NewItem { supersedes: Some(old.id), ..NewItem::new("note", "the price is 6") };
            let new = memory.put(&a, None, new).await.unwrap();
            assert_eq!(found(&memory, &words("price")).await, [new.id]);
            assert_eq!(found(&memory, &Search { at: Some(second(150)), ..words("price") }).await, [old.id]);
            assert_eq!(found(&memory, &Search { at: Some(second(99)), ..words("price") }).await, []);
            let kinds = |changes: Vec<creto_memory::Change>| changes.into_iter().map(|c| (c.kind, c.leaf)).collect::<Vec<_>>();
            let history = memory.history(a.tenant(), old.id).await.unwrap();
            assert_eq!(kinds(history), [(ChangeKind::Put, old.leaf), (ChangeKind::Invalidated, new.leaf)]);
            refused(memory.put(&a, None, NewItem { supersedes: Some(old.id), ..NewItem::new("note", "again") }).await, "memory.not_valid");
            assert_eq!((found(&memory, &words("again")).await, leaves(&db).await.len()), (vec![], 2));
        })
        .await;
    }

    #[tokio::test]
    async fn an_invalidated_item_is_no_longer_found_and_still_read() {
        each_engine(&[MIGRATIONS], async |db| {
            let (memory, _) = open(db);
            let a = agent("default", "a");
            let item = memory.put(&a, None, NewItem::new("note", "a rumour")).await.unwrap();
            refused(memory.invalidate(&a, None, item.id, Some(second(99))).await, "memory.not_valid");
            memory.invalidate(&a, None, item.id, None).await.unwrap();
            assert_eq!(found(&memory, &words("rumour")).await, []);
            let kept = memory.get(a.tenant(), item.id).await.unwrap().unwrap();
            assert_eq!(kept, Item { valid_to: Some(second(100)), ..item.clone() });
            refused(memory.invalidate(&a, None, item.id, None).await, "memory.not_valid");
        })
        .await;
    }

    #[tokio::test]
    async fn forgetting_erases_text_words_and_salt_and_keeps_the_digest_in_the_leaf() {
        each_engine(&[MIGRATIONS], async |db| {
            let (memory, _) = open(db.clone());
            let a = agent("default", "a");
            let item = memory.put(&a, None, NewItem::new("note", "secretword about bob")).await.unwrap();
            let stored = db.query("SELECT body, salt FROM memory_item", params![]).await.unwrap();
            let digest = Digest::of_parts(&[stored[0].blob(1).unwrap(), b"secretword about bob"]);
            assert_eq!(leaves(&db).await[0].digests["text"], digest);
            memory.forget(&a, None, item.id).await.unwrap();
            let stored = db.query("SELECT body, salt FROM memory_item", params![]).await.unwrap();
            assert_eq!((stored[0].opt_text(0).unwrap(), stored[0].opt_blob(1).unwrap()), (None, None));
            assert_eq!(found(&memory, &words("secretword")).await, []);
            assert_eq!(memory.get(a.tenant(), item.id).await.unwrap().unwrap().text, None);
            assert_eq!(leaves(&db).await[0].digests["text"], digest);
            let last = memory.history(a.tenant(), item.id).await.unwrap().pop().unwrap();
            assert_eq!((last.kind, last.by, last.leaf), (ChangeKind::Forgotten, a.clone(), leaves(&db).await[1].id));
            refused(memory.forget(&a, None, item.id).await, "memory.forgotten");
            assert_eq!(leaves(&db).await.len(), 2);
        })
        .await;
    }

    #[tokio::test]
    async fn the_reasons_of_an_action_are_found_by_its_digest() {
        each_engine(&[MIGRATIONS], async |db| {
            let (memory, _) = open(db);
            let a = agent("default", "a");
            let reason = |text: &str, of: &[u8]| NewItem { action: Some(Digest::of(of)), ..NewItem::new("plan", text) };
            let first = memory.put(&a, None, reason("because of x", b"one")).await.unwrap();
            memory.put(&a, None, reason("because of y", b"two")).await.unwrap();
            let second = memory.put(&a, None, reason("and of z", b"one")).await.unwrap();
            assert_eq!(memory.reasoning(a.tenant(), Digest::of(b"one")).await.unwrap(), [first, second]);
            assert_eq!(memory.reasoning(a.tenant(), Digest::of(b"three")).await.unwrap(), []);
        })
        .await;
    }

    #[tokio::test]
    async fn another_tenants_items_do_not_exist() {
        each_engine(&[MIGRATIONS], async |db| {
            let (memory, _) = open(db);
            let (ours, other) = (agent("default", "a"), agent("other", "a"));
            let new = NewItem { action: Some(Digest::of(b"action")), ..NewItem::new("note", "ours alone") };
            let item = memory.put(&ours, None, new).await.unwrap();
            let tenant = other.tenant();
            assert_eq!(memory.get(tenant, item.id).await.unwrap(), None);
            assert_eq!(memory.search(tenant, &words("ours")).await.unwrap(), []);
            assert_eq!(memory.reasoning(tenant, Digest::of(b"action")).await.unwrap(), []);
            refused(memory.history(tenant, item.id).await, "memory.not_found");
            refused(memory.invalidate(&other, None, item.id, None).await, "memory.not_found");
            refused(memory.forget(&other, None, item.id).await, "memory.not_found");
            let steal = NewItem { supersedes: Some(item.id), ..NewItem::new("note", "x") };
            refused(memory.put(&other, None, steal).await, "memory.not_found");
            assert_eq!(memory.get(ours.tenant(), item.id).await.unwrap().unwrap(), item);
        })
        .await;
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused() {
        each_engine(&[MIGRATIONS], async |db| {
            let (memory, _) = open(db);
            let a = agent("default", "a");
            let long = "x".repeat(TEXT_BYTES_MAX);
            memory.put(&a, None, NewItem::new("note", long.clone())).await.unwrap();
            refused(memory.put(&a, None, NewItem::new("note", long + "x")).await, "memory.too_large");
            for (source, text) in [("note", ""), ("note", "a\0b"), ("", "a"), ("two words", "a"), (&"s".repeat(129), "a")] {
                refused(memory.put(&a, None, NewItem::new(source, text)).await, "memory.invalid");
            }
            let backwards = NewItem { valid_to: Some(second(100)), ..NewItem::new("note", "a") };
            refused(memory.put(&a, None, backwards).await, "memory.invalid");
        })
        .await;
    }
}
