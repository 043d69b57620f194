//! The deletion of an owner.

use std::sync::Arc;

use crate::error::TokenError;
use crate::service::TokenService;
use crate::store::Filter;
use crate::token::Token;
use crate::user::UserId;

impl TokenService {
    /// Deletes every token of a user, with an event each, and returns them as they were listed: for
    /// hosts that delete the user. A change of such a token at the same time does not delay that.
    /// It goes on in batches, and repeats until no token of the user is left.
    ///
    /// Remove the user from the directory first: from then on its tokens authenticate nobody, and
    /// it can create none. A create that was under way at that moment may still end afterwards; its
    /// token authenticates nobody either, and the next call deletes it. A user that gets the same id
    /// later [owns what is left](crate::UserDirectory#reused-ids).
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store.clone()).open().await?;
    /// let alice = UserId::new(2);
    /// service.create(&Caller::User(alice), TokenChange::new().identifier("ci")).await?;
    /// store.remove_user(alice).await?;
    /// assert_eq!(service.owner_deleted(alice).await?.len(), 1);
    /// assert_eq!(service.owner_deleted(alice).await?.len(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Random`](TokenError::Random) and [`Store`](TokenError::Store). Some tokens may be deleted
    /// then; call it again for the others.
    pub async fn owner_deleted(&self, owner: UserId) -> Result<Vec<Arc<Token>>, TokenError> {
        let mut removed = Vec::new();
        loop {
            let tokens = self.all(Filter { owner: Some(owner), ..Filter::default() }).await?;
            if tokens.is_empty() {
                return Ok(removed);
            }
            self.remove(tokens, &mut removed).await?;
        }
    }
}
