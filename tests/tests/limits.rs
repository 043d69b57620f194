//! What a caller can make others pay, and what it cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokenkeep::{
    Caller, Changes, Expected, FieldError, Intent, Permission, Permissions, Policy, Profile,
    StoreError, StoreId, TokenChange, TokenError, TokenField, TokenId, TokenList, TokenService,
    UserDirectory, UserId,
};
use tokenkeep_tests::scene::{ADMIN, ALICE, BOB, Scene, row, sealing, user};

const ALICES: Caller = Caller::User(ALICE);

/// A directory of the host's own, which counts the users that it compares and loads.
#[derive(Debug)]
struct HostDirectory {
    inner: Arc<dyn UserDirectory>,
    searches: AtomicUsize,
    loaded: AtomicUsize,
}

#[async_trait]
impl UserDirectory for HostDirectory {
    async fn is_active(&self, user: UserId) -> Result<Option<bool>, StoreError> {
        self.inner.is_active(user).await
    }

    async fn profiles(&self, users: &[UserId]) -> Result<Vec<Profile>, StoreError> {
        self.loaded.fetch_add(users.len(), Ordering::SeqCst);
        self.inner.profiles(users).await
    }

    async fn permissions(
        &self,
        user: UserId,
        on: Option<TokenId>,
    ) -> Result<Permissions, StoreError> {
        self.inner.permissions(user, on).await
    }

    async fn granted_tokens(
        &self,
        user: UserId,
        permission: Permission,
    ) -> Result<Vec<TokenId>, StoreError> {
        self.inner.granted_tokens(user, permission).await
    }

    async fn user_named(&self, username: &str) -> Result<Option<UserId>, StoreError> {
        self.inner.user_named(username).await
    }

    async fn users_matching(&self, word: &str) -> Result<Vec<UserId>, StoreError> {
        self.searches.fetch_add(1, Ordering::SeqCst);
        self.inner.users_matching(word).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        self.inner.changes()
    }

    fn store_id(&self) -> Option<StoreId> {
        None
    }
}

/// The identifiers that a search finds.
async fn found(service: &TokenService, caller: &Caller, words: &str) -> Vec<String> {
    let listing = service.list(caller, &TokenList::new().search(words)).await.unwrap();
    listing.tokens.iter().map(|view| view.token.identifier.to_string()).collect()
}

/// Users of whom the caller sees no token are neither compared nor loaded, whatever the words are.
#[pollster::test]
async fn search_by_a_limited_user_compares_owners_of_visible_tokens_only() {
    for scene in Scene::everywhere().await {
        for number in 100..300 {
            let name = format!("a-user-{number}");
            scene.backend.users.put_user(user(UserId::new(number), &name)).await.unwrap();
        }
        let (carol, dave) = (UserId::new(101), UserId::new(102));
        let rows = [(1, ALICE), (2, BOB), (3, carol), (4, dave)];
        scene.insert(rows.map(|(n, owner)| row(n, &format!("t{n}"), owner, &n.to_string()))).await;
        let granted = scene.find("t3").await.unwrap().id;
        scene.backend.users.grant(ALICE, Permission::ViewToken, Some(granted)).await.unwrap();

        let host = Arc::new(HostDirectory {
            inner: scene.backend.users.clone(),
            searches: AtomicUsize::new(0),
            loaded: AtomicUsize::new(0),
        });
        let builder = TokenService::builder(scene.backend.tokens.clone(), host.clone());
        let service = builder.clock(scene.clock.clone()).keys(sealing()).open().await.unwrap();
        for (words, expected) in [
            ("a-user", &["t3"][..]),
            ("A-USER-101 T3", &["t3"]),
            ("a s e r - u 1 0", &["t3"]),
            ("alice", &["t1"]),
            ("a", &["t1", "t3"]),
            ("a-user-102", &[]),
            ("bob", &[]),
        ] {
            host.loaded.store(0, Ordering::SeqCst);
            assert_eq!(found(&service, &ALICES, words).await, expected, "{words}");
            // The caller, two owners to compare, and the owners of the page.
            assert!(host.loaded.load(Ordering::SeqCst) <= 5, "{words}");
            assert_eq!(found(&scene.service, &ALICES, words).await, expected, "{words}, joined");
        }
        assert_eq!(host.searches.load(Ordering::SeqCst), 0, "no user was searched for");
        // Who sees everything searches everything, with either directory.
        for service in [&service, &scene.service] {
            assert_eq!(found(service, &ADMIN, "a-user").await, ["t3", "t4"], "{}", scene.name());
            assert_eq!(found(service, &Caller::System, "BOB").await, ["t2"]);
        }
        assert_eq!(host.searches.load(Ordering::SeqCst), 2);
    }
}

#[pollster::test]
async fn create_beyond_the_limit_of_the_owner_is_refused() {
    for scene in Scene::everywhere().await {
        let policy = Policy { maximum_tokens_per_owner: Some(2), ..Policy::default() };
        let builder = scene.builder(scene.backend.tokens.clone()).policy(policy).keys(sealing());
        let service = builder.open().await.unwrap();
        let named = |name: &str| TokenChange::new().identifier(name);
        scene.create("bobs", Intent::Api).await;
        for name in ["one", "two"] {
            let _ = scene.service.delete(&ADMIN, name, Expected::Anything).await;
        }
        scene.service.delete(&ADMIN, "bobs", Expected::Anything).await.unwrap();
        for name in ["one", "two"] {
            service.create(&ALICES, named(name)).await.unwrap();
        }
        let before = scene.state().await;
        let refused = service.create(&ALICES, named("three")).await.unwrap_err();
        let errors = refused.field_errors().unwrap().get(TokenField::User).to_vec();
        assert_eq!(errors, [FieldError::TooManyTokens]);
        assert_eq!(scene.state().await, before);
        // The limit is one of what users do by themselves.
        service.create(&ADMIN, named("three").owner(ALICE)).await.unwrap();
        service.create(&Caller::User(BOB), named("four")).await.unwrap();
    }
}

/// A machine whose clock is years ahead would sweep what is valid for everybody else.
#[pollster::test]
async fn sweep_by_a_clock_far_ahead_of_the_trail_is_refused() {
    for scene in Scene::everywhere().await {
        let policy =
            Policy { maximum_clock_lead: Some(Duration::from_secs(86_400)), ..Policy::default() };
        let builder = scene.builder(scene.backend.tokens.clone()).policy(policy).keys(sealing());
        let service = builder.open().await.unwrap();
        assert_eq!(service.sweep().await.unwrap().deleted, 0, "an empty trail says nothing");
        scene.create("mail", Intent::AppPassword).await;
        scene.clock.advance(Duration::from_secs(3600 * (365 * 24)));
        let before = scene.state().await;
        let refused = service.sweep().await.unwrap_err();
        assert!(matches!(refused, TokenError::ClockAhead), "{refused:?}");
        assert_eq!(scene.state().await, before);
        // An event of this year says that the clock is right.
        scene.create("new", Intent::AppPassword).await;
        scene.clock.advance(Duration::from_secs(82_800));
        assert_eq!(service.sweep().await.unwrap().deleted, 1);
        assert!(scene.find("new").await.is_some());
    }
}

/// The rows of permissions would grow without end, and belong to whoever gets the id again.
#[pollster::test]
async fn permissions_on_a_token_end_with_the_token() {
    for scene in Scene::everywhere().await {
        let users = &scene.backend.users;
        let mut ids = Vec::new();
        for name in ["deleted", "removed", "kept"] {
            let id = scene.create_own(name).await.view.token.id;
            users.grant(BOB, Permission::ViewToken, Some(id)).await.unwrap();
            users.grant(BOB, Permission::ChangeToken, Some(id)).await.unwrap();
            ids.push(id);
        }
        users.grant(BOB, Permission::ChangeToken, None).await.unwrap();
        scene.service.delete(&ADMIN, "deleted", Expected::Anything).await.unwrap();
        let stale = scene.service.retrieve(&ADMIN, "removed").await.unwrap().version();
        scene
            .service
            .partial_update(&ADMIN, "removed", TokenChange::new().description("x"))
            .await
            .unwrap();
        // A delete that is refused takes nothing away.
        scene.service.delete(&ADMIN, "removed", stale).await.unwrap_err();
        assert_eq!(users.granted_tokens(BOB, Permission::ViewToken).await.unwrap().len(), 2);
        let held = users.grants(None, 100).await.unwrap();
        assert_eq!(held.len(), 5, "{held:?}");
        scene.service.delete(&ADMIN, "removed", Expected::Anything).await.unwrap();
        assert_eq!(users.granted_tokens(BOB, Permission::ViewToken).await.unwrap(), [ids[2]]);
        scene.service.owner_deleted(ALICE).await.unwrap();
        let held = users.grants(None, 100).await.unwrap();
        assert_eq!(held.len(), 1, "what is held on all tokens stays: {held:?}");
    }
}
