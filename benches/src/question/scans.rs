//! Three questions. What does a search cost a user who sees few tokens? How long do authentications take
//! while searches run? Does deleting an owner cost the same for each of its tokens?

use std::time::Instant;

use tokenkeep::{Caller, TokenList, TokenService, User, UserStore};
use tokenkeep_sqlite::{Durability, SqliteOptions};
use uuid::Uuid;

use crate::compare::{compare, for_a_while, in_turns};
use crate::files::Files;
use crate::finding::{Findings, Row};
use crate::goal::Unit;
use crate::load::{USERS, authenticate, service, token, user};
use crate::question::callers::runtime;
use crate::scale::Scale;

/// Measures it.
pub fn measure(scale: &Scale) -> Findings {
    let rows = vec![limited(scale), beside(scale), owner(scale)];
    Findings { rows, ..Findings::default() }
}

fn quick() -> SqliteOptions {
    SqliteOptions::new().durability(Durability::Normal)
}

/// A search by a user who sees its own tokens only, beside the same search where there are
/// [`USERS`].
fn limited(scale: &Scale) -> Row {
    let [many, few] = [(); 2].map(|()| Files::new(&quick(), scale.tokens));
    pollster::block_on(async {
        for number in USERS..scale.tokens {
            let uuid = Uuid::from_u128(number.into());
            let name = format!("user-{number}");
            let user = User::new(user(number), uuid, name, tokenkeep::Timestamp::MIN);
            many.store.put_user(user).await.unwrap();
        }
    });
    let [many, few] = [many, few].map(|files| (service(&files.store), files));
    let search = |service: &TokenService, call: u64| {
        let caller = Caller::User(user(call % USERS));
        let list = TokenList::new().search("user pipeline");
        let found = pollster::block_on(service.list(&caller, &list)).unwrap();
        assert!(!found.tokens.is_empty());
    };
    let paired = compare(scale, 400, |call| search(&many.0, call), |call| search(&few.0, call));
    let note = format!("{} and {USERS} users, {} tokens each", scale.tokens, scale.tokens / USERS);
    Row::ratio("search-limited", paired, Unit::Seconds).noting(note)
}

/// The time within which 99 of 100 authentications are done, while eight searches read every token
/// again and again.
fn beside(scale: &Scale) -> Row {
    let files = Files::new(&SqliteOptions::new(), scale.many);
    let service = service(&files.store);
    let p99 = |round: u64| {
        let times = for_a_while(scale.turn * 4, round * 1_000_000, |call| {
            pollster::block_on(authenticate(&service, call, scale.many));
        });
        times.at(990).as_secs_f64()
    };
    let beside_searches = |round: u64| {
        let runtime = runtime();
        for _ in 0..8 {
            let service = service.clone();
            runtime.spawn(async move {
                let list = TokenList::new().search("no token has this");
                // One that waits too long for a thread fails.
                while service
                    .list(&Caller::System, &list)
                    .await
                    .is_ok_and(|page| page.tokens.is_empty())
                {}
            });
        }
        let p99 = p99(2 * round);
        // Dropped searches end.
        runtime.shutdown_background();
        p99
    };
    let paired = in_turns(scale, beside_searches, |round| p99(2 * round + 1));
    Row::figure_beside("authenticate-beside-scans", paired)
}

/// What each token takes when its owner is deleted: an owner with twice as many tokens as usual, compared
/// with one that has a quarter.
fn owner(scale: &Scale) -> Row {
    let each = |tokens: u64| {
        let of_one = move |number| tokenkeep::Token { owner: user(1), ..token(number) };
        let files = Files::with(&SqliteOptions::new(), (0..tokens).map(of_one));
        let service = service(&files.store);
        let start = Instant::now();
        pollster::block_on(service.owner_deleted(user(1))).unwrap();
        start.elapsed().as_secs_f64() / tokens as f64
    };
    let (many, few) = (2 * scale.tokens, scale.tokens / 4);
    let paired = in_turns(&scale.rounds(3), |_| each(many), |_| each(few));
    let seconds = |each: f64, tokens: u64| each * tokens as f64;
    let note = format!(
        "{many} tokens in {:.2} s, {few} in {:.2} s",
        seconds(paired.ours.median, many),
        seconds(paired.floor.median, few)
    );
    Row::ratio("owner-deleted", paired, Unit::Seconds).noting(note)
}
