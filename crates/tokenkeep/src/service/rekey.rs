//! Moving keys to the current pepper and sealing key.

use crate::access::Caller;
use crate::error::TokenError;
use crate::event::EventKind;
use crate::expected::Expected;
use crate::key::UnsealError;
use crate::service::TokenService;
use crate::store::{SortField, SortKey, TokenQuery, Window};
use crate::token::Token;

/// What [`rekey`](TokenService::rekey) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RekeyReport {
    /// How many keys are kept anew, with the current pepper and sealing key.
    pub renewed: u64,
    /// How many tokens were changed by somebody else at that moment: call it again.
    pub left_alone: u64,
    /// How many sealed keys were deleted, since the scheme seals nothing. Their tokens stay valid.
    pub unsealed: u64,
    /// How many keys were kept by other peppers than the current one, or none, and stay so, since
    /// only their digest is there. They are valid as long as that pepper is configured.
    pub digest_only: u64,
    /// How many keys stay as they are because they cannot be opened, or because another token has
    /// the same one under another pepper.
    pub failed: u64,
}

impl TokenService {
    /// Seals every sealed key with the current sealing key, and digests it with the current pepper,
    /// where it is not so already: after it, earlier sealing keys are needed no more, and earlier
    /// peppers only for tokens of which no key is retained. A scheme that seals nothing deletes the
    /// sealed keys, so that they cannot be viewed any more. Each token that is changed gets a new
    /// revision, and an event.
    ///
    /// Keys are renewed one by one, so that others are not held up. It can be called while the
    /// service runs, from any process, and again when it was dropped or failed.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::{KeyScheme, SealingKey};
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let (old_secret, new_secret) = ([1; 32], [2; 32]);
    /// # let alice = Caller::User(UserId::new(2));
    /// let builder = || TokenService::builder(store.clone(), store.clone());
    /// let old = builder().keys(KeyScheme::sealing(SealingKey::new(1, old_secret))).open().await?;
    /// let key = old.create(&alice, TokenChange::new().identifier("ci")).await?.key;
    ///
    /// let both = KeyScheme::sealing(SealingKey::new(2, new_secret))
    ///     .also_opening(SealingKey::new(1, old_secret));
    /// assert_eq!(builder().keys(both).open().await?.rekey().await?.renewed, 1);
    ///
    /// let new = builder().keys(KeyScheme::sealing(SealingKey::new(2, new_secret))).open().await?;
    /// assert_eq!(new.view_key(&alice, "ci").await?, key);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Random`](TokenError::Random) and [`Store`](TokenError::Store).
    pub async fn rekey(&self) -> Result<RekeyReport, TokenError> {
        let mut report = RekeyReport::default();
        let order = vec![SortKey { field: SortField::Id, descending: false }];
        let mut query = TokenQuery { order, ..TokenQuery::default() };
        loop {
            let page = self.parts.list(&query).await?;
            for token in &page.tokens {
                self.rekey_token(token, &mut report).await?;
            }
            let Some(next) = page.next else { return Ok(report) };
            query.window = Window::After { cursor: Some(next), limit: query.window.limit() };
        }
    }

    async fn rekey_token(&self, token: &Token, report: &mut RekeyReport) -> Result<(), TokenError> {
        let keys = &self.parts.keys;
        let Some(sealed) = &token.sealed_key else {
            report.digest_only += u64::from(!keys.digests_like(&token.key_digest));
            return Ok(());
        };
        let seals = keys.retains_keys();
        if seals && keys.is_current(&token.key_digest, sealed) {
            return Ok(());
        }
        let after = match keys.open(sealed, token.id) {
            Ok(key) => self.with_key(token, &key)?,
            Err(UnsealError::UnknownKey(id)) if !seals && keys.is_lost(id) => {
                report.digest_only += u64::from(!keys.digests_like(&token.key_digest));
                Token { sealed_key: None, ..token.clone() }
            }
            Err(_) => {
                report.failed += 1;
                return Ok(());
            }
        };
        // A session each: a rekey may take hours, and an event tells when it happened.
        let session = self.session(&Caller::System).await?;
        let (commit, _) = session.replacing(EventKind::Updated, token, after)?;
        match self.commit_or_lose(commit, &Expected::Anything).await {
            Ok(true) if seals => report.renewed += 1,
            Ok(true) => report.unsealed += 1,
            Ok(false) => report.left_alone += 1,
            Err(TokenError::Invalid(_)) => report.failed += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
