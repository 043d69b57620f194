//! Committing.

use std::sync::Arc;

use tokenkeep::{
    Change, CommitError, Event, EventQuery, Intent, Lookup, Revision, SealedKey, Token, TokenField,
    TokenFields, TokenStore, Touch, UniqueField, UserId,
};

use crate::harness::Harness;
use crate::sample::{
    assert_is, assert_stale, by_id, changes, commit, delete, digest, event, events, expect, found,
    identifier, insert, insert_all, marker, revised, time, token,
};

/// How many events there are.
async fn event_count(store: &dyn TokenStore) -> usize {
    trail(store).await.len()
}

/// Every event.
async fn trail(store: &dyn TokenStore) -> Vec<Event> {
    store.events(&EventQuery::default()).await.expect("the store can be read").events
}

fn assert_taken(committed: Result<(), CommitError>, place: usize, wanted: UniqueField) {
    match committed {
        Err(CommitError::Taken { change, field }) => assert_eq!((change, field), (place, wanted)),
        other => panic!("{other:?} instead of a taken {wanted} of change {place}"),
    }
}

pub(crate) async fn does_all_of_a_batch_or_nothing(harness: &dyn Harness) {
    let store = harness.open().await;
    let (kept, gone) = (token(1), token(2));
    insert_all(&*store, &[kept.clone(), gone.clone()]).await;
    let after = revised(&kept, |token| token.identifier = identifier("renamed"));
    let mut batch = changes([
        Change::replace(&kept, after.clone()),
        insert(&token(3)),
        delete(&gone),
        insert(&Token { key_digest: kept.key_digest.clone(), ..token(4) }),
    ]);
    batch.events = vec![event(1, &after)];
    assert_taken(store.commit(batch.clone()).await, 3, UniqueField::Key);
    assert_is(&*store, &kept).await;
    assert_is(&*store, &gone).await;
    assert_eq!(by_id(&*store, token(3).id).await, None);
    assert_eq!(event_count(&*store).await, 0);

    batch.changes.pop();
    commit(&*store, batch).await;
    assert_is(&*store, &after).await;
    assert_is(&*store, &token(3)).await;
    assert_eq!(by_id(&*store, gone.id).await, None);
    assert_eq!(event_count(&*store).await, 1);
}

pub(crate) async fn inserts_a_token_as_it_is_given(harness: &dyn Harness) {
    let store = harness.open().await;
    let given = Token { revision: Revision::new(41).expect("a revision"), ..token(1) };
    commit(&*store, changes([insert(&given)])).await;
    assert_is(&*store, &given).await;
}

pub(crate) async fn replaces_each_field_by_itself(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut current = Token { last_used: Some(time(5)), ..token(1) };
    insert_all(&*store, std::slice::from_ref(&current)).await;
    let other = Token {
        owner: UserId::new(2),
        intent: Intent::AppPassword,
        description: "other".into(),
        expires: None,
        expiring: false,
        managed: Some(marker("other")),
        created: time(-100),
        last_used: Some(time(100)),
        owner_may_view_key: true,
        key_digest: digest("other"),
        sealed_key: Some(SealedKey::from_bytes(b"sealed")),
        identifier: identifier("other"),
        ..token(1)
    };
    let each = TokenField::ALL.map(|field| TokenFields::NONE.with(field));
    for fields in [TokenFields::NONE].into_iter().chain(each) {
        let expected = current.revision;
        let wanted = revised(
            &Token { revision: expected, updated: current.updated, ..other.clone() },
            |_| {},
        );
        let replace = Change::Replace { expected, fields, token: Arc::new(wanted.clone()) };
        commit(&*store, changes([replace])).await;
        current = current.with_fields_of(&wanted, fields);
        assert_is(&*store, &current).await;
    }
    assert_eq!((current.created, current.last_used), (time(0), Some(time(5))));
    assert_eq!(current.description, other.description, "every field has been replaced");
}

pub(crate) async fn leaves_a_later_touch_alone_when_it_replaces(harness: &dyn Harness) {
    let store = harness.open().await;
    let before = token(1);
    insert_all(&*store, std::slice::from_ref(&before)).await;
    let after = revised(&before, |token| token.description = "after".into());
    let touch = Touch { token: before.id, at: time(50) };
    store.touch(&[touch]).await.expect("the store can be written");
    commit(&*store, changes([Change::replace(&before, after.clone())])).await;
    assert_is(&*store, &Token { last_used: Some(time(50)), ..after }).await;
}

pub(crate) async fn deletes_at_the_expected_revision(harness: &dyn Harness) {
    let store = harness.open().await;
    let (gone, kept) = (token(1), token(2));
    insert_all(&*store, &[gone.clone(), kept.clone()]).await;
    commit(&*store, changes([delete(&gone)])).await;
    assert_eq!(by_id(&*store, gone.id).await, None);
    assert_is(&*store, &kept).await;
    insert_all(&*store, std::slice::from_ref(&gone)).await;
    assert_is(&*store, &gone).await;
}

pub(crate) async fn expects_a_revision_and_changes_nothing(harness: &dyn Harness) {
    let store = harness.open().await;
    let there = token(1);
    insert_all(&*store, std::slice::from_ref(&there)).await;
    let mut batch = changes([expect(&there)]);
    batch.events = vec![event(1, &there)];
    commit(&*store, batch.clone()).await;
    assert_is(&*store, &there).await;
    assert_eq!(event_count(&*store).await, 1);

    let after = revised(&there, |_| {});
    commit(&*store, changes([Change::replace(&there, after.clone())])).await;
    batch.events = vec![event(2, &there)];
    assert_stale(store.commit(batch).await, 0, Some(&after));
    assert_eq!(event_count(&*store).await, 1);
}

pub(crate) async fn refuses_every_change_of_a_stale_token(harness: &dyn Harness) {
    let store = harness.open().await;
    let (first, other) = (token(1), token(2));
    insert_all(&*store, &[first.clone(), other.clone()]).await;
    let second = revised(&first, |token| token.description = "second".into());
    commit(&*store, changes([Change::replace(&first, second.clone())])).await;

    let again = revised(&first, |token| token.description = "again".into());
    let from_the_future = revised(&second, |_| {});
    let missing = token(9);
    for (change, there) in [
        (Change::replace(&first, again), Some(&second)),
        (delete(&first), Some(&second)),
        (expect(&first), Some(&second)),
        (Change::replace(&from_the_future, revised(&from_the_future, |_| {})), Some(&second)),
        (delete(&from_the_future), Some(&second)),
        (expect(&from_the_future), Some(&second)),
        (Change::replace(&missing, revised(&missing, |_| {})), None),
        (delete(&missing), None),
        (expect(&missing), None),
    ] {
        let batch = changes([expect(&other), change]);
        assert_stale(store.commit(batch).await, 1, there);
        assert_is(&*store, &second).await;
    }
}

pub(crate) async fn refuses_values_that_are_taken(harness: &dyn Harness) {
    let store = harness.open().await;
    let holder = Token { managed: Some(marker("m")), ..token(1) };
    let other = token(2);
    insert_all(&*store, &[holder.clone(), other.clone()]).await;
    let new = token(3);
    let (id, key) = (holder.id, holder.key_digest.clone());
    let (name, managed) = (holder.identifier.clone(), holder.managed.clone());
    for (refused, field) in [
        (Token { id, ..new.clone() }, UniqueField::Id),
        (Token { identifier: name.clone(), ..new.clone() }, UniqueField::Identifier),
        (Token { managed: managed.clone(), ..new.clone() }, UniqueField::Managed),
        (Token { key_digest: key.clone(), ..new.clone() }, UniqueField::Key),
    ] {
        assert_taken(store.commit(changes([insert(&refused)])).await, 0, field);
    }
    for (refused, field) in [
        (revised(&other, |token| token.identifier = name.clone()), UniqueField::Identifier),
        (revised(&other, |token| token.managed.clone_from(&managed)), UniqueField::Managed),
        (revised(&other, |token| token.key_digest = key.clone()), UniqueField::Key),
    ] {
        let replace = Change::replace(&other, refused);
        assert_taken(store.commit(changes([expect(&holder), replace])).await, 1, field);
    }
    assert_is(&*store, &holder).await;
    assert_is(&*store, &other).await;
    assert_eq!(by_id(&*store, new.id).await, None);

    // A token's own values are not in its way, and no marker is no value.
    let fields = TokenField::ALL.into_iter().collect();
    let same = revised(&holder, |_| {});
    let replace = Change::Replace { expected: holder.revision, fields, token: Arc::new(same) };
    commit(&*store, changes([replace, insert(&new)])).await;
}

pub(crate) async fn reports_the_first_of_several_taken_values(harness: &dyn Harness) {
    let store = harness.open().await;
    let holder = Token { managed: Some(marker("m")), ..token(1) };
    insert_all(&*store, std::slice::from_ref(&holder)).await;
    let mut refused = holder.clone();
    for (field, free) in [
        (UniqueField::Id, token(2)),
        (UniqueField::Identifier, token(2)),
        (UniqueField::Managed, token(2)),
        (UniqueField::Key, token(2)),
    ] {
        assert_taken(store.commit(changes([insert(&refused)])).await, 0, field);
        match field {
            UniqueField::Id => refused.id = free.id,
            UniqueField::Identifier => refused.identifier = free.identifier,
            UniqueField::Managed => refused.managed = None,
            UniqueField::Key => refused.key_digest = free.key_digest,
        }
    }
    commit(&*store, changes([insert(&refused)])).await;
}

pub(crate) async fn refuses_by_what_the_batch_has_done_before(harness: &dyn Harness) {
    let store = harness.open().await;
    let there = token(1);
    insert_all(&*store, std::slice::from_ref(&there)).await;
    let first = Token { managed: Some(marker("m")), ..token(2) };
    let other = token(3);
    let (id, managed) = (first.id, first.managed.clone());
    let (name, key) = (first.identifier.clone(), first.key_digest.clone());
    for (second, field) in [
        (Token { id, ..other.clone() }, UniqueField::Id),
        (Token { identifier: name, ..other.clone() }, UniqueField::Identifier),
        (Token { managed, ..other.clone() }, UniqueField::Managed),
        (Token { key_digest: key, ..other.clone() }, UniqueField::Key),
    ] {
        assert_taken(store.commit(changes([insert(&first), insert(&second)])).await, 1, field);
    }
    let after = revised(&there, |token| token.description = "after".into());
    let replace = || Change::replace(&there, after.clone());
    for (batch, current) in [
        ([delete(&there), delete(&there)], None),
        ([delete(&there), replace()], None),
        ([replace(), replace()], Some(&after)),
        ([replace(), delete(&there)], Some(&after)),
        ([replace(), expect(&there)], Some(&after)),
    ] {
        assert_stale(store.commit(changes(batch)).await, 1, current);
    }
    assert_is(&*store, &there).await;
    assert_eq!(by_id(&*store, first.id).await, None);

    // What was inserted can be changed, and what was changed deleted.
    let renamed = revised(&first, |token| token.identifier = identifier("renamed"));
    let changed = Change::replace(&first, renamed.clone());
    commit(&*store, changes([insert(&first), changed, replace(), delete(&after)])).await;
    assert_is(&*store, &renamed).await;
    assert_eq!(by_id(&*store, there.id).await, None);
}

pub(crate) async fn does_changes_in_the_order_given(harness: &dyn Harness) {
    let store = harness.open().await;
    let first = Token { managed: Some(marker("m")), ..token(1) };
    insert_all(&*store, std::slice::from_ref(&first)).await;
    // The first gives everything up, the second takes it, and is changed again at once.
    let moved = revised(&first, |token| {
        token.identifier = identifier("moved");
        token.managed = None;
        token.key_digest = digest("moved");
    });
    let heir = Token { id: token(2).id, ..first.clone() };
    let richer = revised(&heir, |token| token.description = "heir".into());
    let again = Token { id: moved.id, ..token(3) };
    let batch = [
        Change::replace(&first, moved.clone()),
        insert(&heir),
        Change::replace(&heir, richer.clone()),
        expect(&richer),
        delete(&moved),
        insert(&again),
    ];
    commit(&*store, changes(batch)).await;
    assert_is(&*store, &richer).await;
    assert_is(&*store, &again).await;

    let both_fail = [insert(&again), delete(&heir)];
    assert_taken(store.commit(changes(both_fail)).await, 0, UniqueField::Id);
    let both_fail = [delete(&heir), insert(&again)];
    assert_stale(store.commit(changes(both_fail)).await, 0, Some(&richer));
}

pub(crate) async fn keeps_what_was_acknowledged(harness: &dyn Harness) {
    let store = harness.open().await;
    let (kept, gone) = (token(1), token(2));
    let mut batch = changes([insert(&kept), insert(&gone)]);
    batch.events = vec![event(1, &kept)];
    commit(&*store, batch).await;
    let after = revised(&kept, |token| token.description = "after".into());
    commit(&*store, changes([Change::replace(&kept, after.clone()), delete(&gone)])).await;
    drop(store);

    let store = harness.open().await;
    assert_is(&*store, &after).await;
    assert_eq!(by_id(&*store, gone.id).await, None);
    assert_eq!(event_count(&*store).await, 1);
}

pub(crate) async fn does_a_batch_of_nothing(harness: &dyn Harness) {
    let store = harness.open().await;
    commit(&*store, changes([])).await;
    commit(&*store, events([event(1, &token(1))])).await;
    assert_eq!(event_count(&*store).await, 1, "an event needs no change");
}

pub(crate) async fn removes_a_token_at_any_revision(harness: &dyn Harness) {
    let store = harness.open().await;
    let (first, other) = (token(1), token(2));
    insert_all(&*store, &[first.clone(), other.clone()]).await;
    let renamed = revised(&first, |token| token.identifier = identifier("renamed"));
    commit(&*store, changes([Change::replace(&first, renamed.clone())])).await;

    let remove = |token: &Token| Change::Remove { id: token.id };
    let mut batch = changes([remove(&other), remove(&first)]);
    batch.events = vec![event(1, &other), event(2, &first)];
    commit(&*store, batch.clone()).await;
    assert_eq!(by_id(&*store, first.id).await, None);
    assert_eq!(by_id(&*store, other.id).await, None);
    let (identifier, revision) = (renamed.identifier.clone(), renamed.revision);
    let found = Event { identifier, revision, ..event(2, &first) };
    assert_eq!(trail(&*store).await, [event(1, &other), found]);

    // A token that is gone is stale, and what came before it in the batch is not done.
    insert_all(&*store, std::slice::from_ref(&other)).await;
    assert_stale(store.commit(batch).await, 1, None);
    assert_is(&*store, &other).await;
    // A single one with its event, and one whose event is of another token.
    let mut batch = changes([remove(&other)]);
    batch.events = vec![event(3, &token(9))];
    commit(&*store, batch).await;
    assert_eq!(by_id(&*store, other.id).await, None);
    insert_all(&*store, std::slice::from_ref(&renamed)).await;
    let mut batch = changes([remove(&renamed)]);
    batch.events = vec![event(4, &first)];
    commit(&*store, batch.clone()).await;
    let events = trail(&*store).await;
    assert_eq!(events.get(2), Some(&event(3, &token(9))));
    assert_eq!(events.get(3).map(|event| event.revision), Some(renamed.revision));
    assert_stale(store.commit(batch).await, 0, None);
    assert_eq!(event_count(&*store).await, 4);
}

pub(crate) async fn lets_tokens_exchange_what_they_release(harness: &dyn Harness) {
    let store = harness.open().await;
    let marked = |number: u8| Token { managed: Some(marker(&number.to_string())), ..token(number) };
    let before = [marked(1), marked(2), marked(3)];
    insert_all(&*store, &before).await;
    let release = |token: &Token| Change::Release { id: token.id, expected: token.revision };
    // Each takes what the one after it has.
    let takes = |from: &Token, of: &Token| {
        revised(from, |token| {
            token.identifier = of.identifier.clone();
            token.managed.clone_from(&of.managed);
            token.key_digest = of.key_digest.clone();
        })
    };
    let [first, second, third] = &before;
    let after = [takes(first, second), takes(second, third), takes(third, first)];
    let replaces = before.iter().zip(&after).map(|(b, a)| Change::replace(b, a.clone()));
    let batch = changes([release(first)].into_iter().chain(replaces.rev()));
    commit(&*store, batch).await;
    for token in &after {
        assert_is(&*store, token).await;
        for lookup in [
            Lookup::Identifier(&token.identifier),
            Lookup::Marker(token.managed.as_ref().expect("it is managed")),
            Lookup::KeyDigest(&token.key_digest),
        ] {
            assert_eq!(found(&*store, lookup).await.as_deref(), Some(token), "{lookup:?}");
        }
    }
    // A batch that fails later gives nothing up.
    let [first, second, _] = &after;
    let fields = [TokenField::Identifier, TokenField::Managed, TokenField::Key];
    let same = Change::Replace {
        expected: first.revision,
        fields: fields.into_iter().collect(),
        token: Arc::new(revised(first, |_| {})),
    };
    let heir = Token { id: token(9).id, ..first.clone() };
    let stolen = [release(first), insert(&heir), same.clone()];
    assert_taken(store.commit(changes(stolen)).await, 2, UniqueField::Identifier);
    assert_is(&*store, first).await;
    assert_eq!(found(&*store, Lookup::KeyDigest(&first.key_digest)).await.as_deref(), Some(first));
    // It needs the expected revision.
    let stale = Change::Release { id: second.id, expected: Revision::FIRST };
    let same_at = |token: &Token, expected| Change::Replace {
        expected,
        fields: fields.into_iter().collect(),
        token: Arc::new(revised(token, |_| {})),
    };
    let same = |token: &Token| same_at(token, token.revision);
    let batch = changes([stale, same_at(second, Revision::FIRST)]);
    assert_stale(store.commit(batch).await, 0, Some(second));
    commit(&*store, changes([release(second), same(second)])).await;
    assert_is(&*store, &revised(second, |_| {})).await;
}

pub(crate) async fn refuses_a_release_that_is_not_replaced(harness: &dyn Harness) {
    let store = harness.open().await;
    let (first, other) = (token(1), token(2));
    insert_all(&*store, &[first.clone(), other.clone()]).await;
    let release = || Change::Release { id: first.id, expected: first.revision };
    let renamed = revised(&first, |token| token.identifier = identifier("renamed"));
    let replace = |expected| Change::Replace {
        expected,
        fields: [TokenField::Identifier, TokenField::Managed, TokenField::Key]
            .into_iter()
            .collect(),
        token: Arc::new(renamed.clone()),
    };
    let expect = |token: &Token| Change::Expect { id: token.id, expected: token.revision };
    for batch in [
        vec![release()],
        vec![release(), Change::replace(&first, renamed.clone())],
        vec![Change::replace(&first, renamed.clone()), release()],
        vec![release(), delete(&first)],
        vec![release(), replace(first.revision.next().expect("it is the first"))],
        vec![release(), release(), replace(first.revision)],
        vec![release(), expect(&first), replace(first.revision)],
        vec![release(), delete(&first), replace(first.revision)],
    ] {
        let refused = store.commit(changes(batch)).await;
        assert!(matches!(refused, Err(CommitError::Store(_))), "{refused:?}");
        assert_is(&*store, &first).await;
        assert_eq!(
            found(&*store, Lookup::Identifier(&first.identifier)).await.as_deref(),
            Some(&first)
        );
    }
}
