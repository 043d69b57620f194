//! What a host gets that accepts staleness.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokenkeep::{
    Caching, Expected, Intent, KeyChange, Token, TokenChange, TokenError, TokenService, User,
    VerifyCache,
};
use tokenkeep_tests::meddling::MeddledStore;
use tokenkeep_tests::scene::{ADMIN, ALICE, HOUR, Scene, bearer, row, shifted, user};

/// A service on a store that cannot tell what has changed.
async fn on_deaf(scene: &Scene, cache: VerifyCache) -> TokenService {
    let deaf = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
    scene.builder(deaf).cache(cache).open().await.unwrap()
}

#[pollster::test]
async fn a_revocation_binds_when_the_accepted_time_has_passed() {
    for scene in Scene::everywhere().await {
        let staleness = Duration::from_millis(300);
        let service = on_deaf(&scene, VerifyCache::of(100).accept_staleness(staleness)).await;
        assert_eq!(service.caching(), Caching::Stale(staleness));
        let header = bearer(&scene.create("stale", Intent::Api).await.key);
        service.authenticate(Some(&header)).await.unwrap();
        scene.service.delete(&ADMIN, "stale", Expected::Anything).await.unwrap();
        thread::sleep(staleness + Duration::from_millis(1));
        let late = service.authenticate(Some(&header)).await;
        assert!(matches!(late, Err(TokenError::InvalidKey)), "{}", scene.name());
    }
}

/// What a service has acknowledged itself binds its own cache, however stale that may be.
#[pollster::test]
async fn own_revocation_binds_the_own_cache_at_once() {
    for scene in Scene::everywhere().await {
        let hour = Duration::from_secs(3_600);
        let service = on_deaf(&scene, VerifyCache::of(100).accept_staleness(hour)).await;
        for revoke in 0..4 {
            let header = bearer(&scene.create("own", Intent::Api).await.key);
            service.authenticate(Some(&header)).await.unwrap();
            service.authenticate(Some(&header)).await.unwrap();
            match revoke {
                0 => drop(service.delete(&ADMIN, "own", Expected::Anything).await.unwrap()),
                1 => drop(service.rotate(&ADMIN, "own", Expected::Anything).await.unwrap()),
                2 => {
                    let key = KeyChange::new("a key that is set, and is long enough to be one");
                    drop(service.set_key(&ADMIN, "own", key).await.unwrap());
                }
                _ => drop(service.owner_deleted(ALICE).await.unwrap()),
            }
            let refused = service.authenticate(Some(&header)).await;
            assert!(matches!(refused, Err(TokenError::InvalidKey)), "{} {revoke}", scene.name());
            let _ = scene.service.delete(&ADMIN, "own", Expected::Anything).await;
        }
    }
}

/// The state of an owner is asked for at each call, since no counter says when it changes.
#[pollster::test]
async fn deactivation_binds_a_stale_cache_at_once() {
    for scene in Scene::everywhere().await {
        let hour = Duration::from_secs(3_600);
        let service = on_deaf(&scene, VerifyCache::of(100).accept_staleness(hour)).await;
        let header = bearer(&scene.create("active", Intent::Api).await.key);
        service.authenticate(Some(&header)).await.unwrap();
        let users = &scene.backend.users;
        users.put_user(User { is_active: false, ..user(ALICE, "alice") }).await.unwrap();
        let refused = service.authenticate(Some(&header)).await;
        assert!(matches!(refused, Err(TokenError::InvalidKey)), "{}", scene.name());
        users.put_user(user(ALICE, "alice")).await.unwrap();
        service.authenticate(Some(&header)).await.unwrap();
        assert!(users.remove_user(ALICE).await.unwrap());
        assert!(service.authenticate(Some(&header)).await.is_err(), "{}", scene.name());
    }
}

#[pollster::test]
async fn expiry_is_judged_at_each_call() {
    for scene in Scene::everywhere().await {
        let hour = Duration::from_secs(3_600);
        let service = on_deaf(&scene, VerifyCache::of(100).accept_staleness(hour)).await;
        let soon = Some(shifted(scene.now(), HOUR));
        let token = row(1, "expires", ALICE, "the key of a token that expires");
        scene.insert([Token { expires: soon, expiring: true, ..token }]).await;
        let header = b"Bearer the key of a token that expires";
        service.authenticate(Some(header)).await.unwrap();
        scene.clock.advance(hour + Duration::from_micros(1));
        let late = service.authenticate(Some(header)).await;
        assert!(matches!(late, Err(TokenError::InvalidKey)), "{}", scene.name());
    }
}

#[pollster::test]
async fn what_is_used_once_is_judged_by_the_store_whatever_a_cache_knows() {
    for scene in Scene::everywhere().await {
        let hour = Duration::from_secs(3_600);
        let service = on_deaf(&scene, VerifyCache::of(100).accept_staleness(hour)).await;
        let key = scene.create("link", Intent::Recovery).await.key;
        // The cache meets it, and it is changed behind the cache's back.
        assert!(service.authenticate(Some(&bearer(&key))).await.is_err());
        let change = TokenChange::new().description("changed meanwhile");
        scene.service.partial_update(&ADMIN, "link", change).await.unwrap();
        let consumed = service.consume(Intent::Recovery, &key).await.unwrap();
        assert_eq!(consumed.token.revision.get(), 2);
        let again = service.consume(Intent::Recovery, &key).await;
        assert!(matches!(again, Err(TokenError::InvalidKey)), "{}: {again:?}", scene.name());
    }
}

#[pollster::test]
async fn a_store_that_cannot_tell_is_not_cached_unless_that_is_accepted() {
    for scene in Scene::everywhere().await {
        for cache in [VerifyCache::of(100), VerifyCache::of(100).accept_staleness(Duration::ZERO)] {
            let service = on_deaf(&scene, cache).await;
            assert_eq!(service.caching(), Caching::Off);
            let created = scene.create("uncached", Intent::Api).await;
            let header = bearer(&created.key);
            service.authenticate(Some(&header)).await.unwrap();
            service.delete(&ADMIN, "uncached", Expected::Anything).await.unwrap();
            assert!(service.authenticate(Some(&header)).await.is_err(), "{}", scene.name());
        }
    }
}
