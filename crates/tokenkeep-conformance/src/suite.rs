//! The list of cases, and what runs them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::cases;
use crate::harness::{Case, Harness, UserHarness, run_and_clean_up};

/// Hands the list of store cases to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_cases {
    ([$($receiver:tt)*] $($arguments:tt)*) => {
        $($receiver)* ! {
            ($($arguments)*)
            find::finds_a_token_by_each_of_its_names ["find.1"],
            find::answers_none_for_a_token_that_is_not_there ["find.2"],
            find::tells_names_apart_that_differ_in_case ["find.3"],
            find::returns_every_field_as_it_was_written ["find.4"],
            find::forgets_names_that_were_given_up ["find.5"],
            keys::returns_the_peppers_of_its_digests ["keys.1"],
            keys::returns_the_sealing_keys_of_its_seals ["keys.2"],
            keys::keeps_the_first_check_value_of_a_secret ["keys.3"],
            keys::returns_the_owners_of_tokens ["owners.1"],
            keys::has_one_id_on_every_handle ["store-id.1"],
            list::filters_by_exact_values ["list.1"],
            list::filters_by_expiry_and_by_prefix ["list.1"],
            list::shows_only_what_is_visible ["list.2", "list.6"],
            list::searches_for_every_word ["list.3"],
            list::orders_by_each_field ["list.4"],
            list::orders_by_several_fields ["list.4"],
            list::cuts_windows_by_offset_and_counts_the_rest ["list.5", "list.6", "list.8"],
            list::walks_by_cursor_in_every_order ["list.7", "list.8"],
            list::walks_on_when_the_token_at_the_cursor_is_gone ["list.7"],
            commit::does_all_of_a_batch_or_nothing ["commit.1"],
            commit::inserts_a_token_as_it_is_given ["commit.2"],
            commit::replaces_each_field_by_itself ["commit.3", "commit.4"],
            commit::leaves_a_later_touch_alone_when_it_replaces ["commit.4"],
            commit::deletes_at_the_expected_revision ["commit.5"],
            commit::expects_a_revision_and_changes_nothing ["commit.6"],
            commit::refuses_every_change_of_a_stale_token ["commit.3", "commit.5", "commit.7"],
            commit::refuses_values_that_are_taken ["commit.8"],
            commit::reports_the_first_of_several_taken_values ["commit.8"],
            commit::does_changes_in_the_order_given ["commit.9"],
            commit::refuses_by_what_the_batch_has_done_before ["commit.7", "commit.8", "commit.9"],
            commit::keeps_what_was_acknowledged ["commit.12"],
            commit::does_a_batch_of_nothing ["commit.13"],
            commit::removes_a_token_at_any_revision ["commit.15"],
            commit::lets_tokens_exchange_what_they_release ["commit.16"],
            commit::refuses_a_release_that_is_not_replaced ["commit.17"],
            race::loses_no_update_of_a_token ["commit.10"],
            race::lets_one_of_those_who_want_a_revision_win ["commit.10"],
            race::lets_one_of_those_who_want_an_identifier_win ["commit.11"],
            race::lets_one_of_those_who_want_a_marker_win ["commit.11"],
            race::lets_one_of_those_who_want_a_key_win ["commit.11"],
            race::lets_nobody_pass_what_another_expects ["commit.6", "commit.10"],
            race::shows_no_part_of_a_commit ["commit.1"],
            race::shows_no_change_without_its_event ["commit.1"],
            race::shows_every_acknowledged_commit_at_once
                ["find.5", "find.6", "list.9", "events.7"],
            race::does_commits_beside_others_that_fail ["commit.14"],
            touch::records_when_a_token_was_used ["touch.1", "touch.4"],
            touch::never_moves_a_last_used_time_back ["touch.2"],
            touch::passes_over_tokens_that_are_gone ["touch.3"],
            changes::counts_every_change_of_a_token ["changes.1", "changes.2"],
            events::orders_the_events_of_a_token_newest_first ["events.1"],
            events::orders_the_events_of_all_tokens_by_commit ["events.2"],
            events::cuts_the_trail_by_time ["events.3"],
            events::reads_the_trail_page_by_page ["events.4"],
            events::keeps_the_events_of_a_token_that_is_gone ["events.5"],
            events::returns_every_field_of_an_event ["events.6"],
            events::prunes_what_is_older ["prune.1", "prune.2"],
            events::prunes_whatever_the_clocks_say ["prune.1", "prune.2", "events.1"],
            events::refuses_cursors_at_which_nothing_continues ["events.9"],
            events::refuses_cursors_of_another_query ["events.10"],
            events::refuses_cursors_of_a_later_state ["events.10"],
            race::shows_a_follower_every_event_once ["events.8"],
        }
    };
}

/// Hands the list of directory cases to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __user_store_cases {
    ([$($receiver:tt)*] $($arguments:tt)*) => {
        $($receiver)* ! {
            ($($arguments)*)
            users::tells_who_is_active ["active.1"],
            users::returns_users_as_they_were_written ["profiles.1"],
            users::returns_groups_with_their_ancestors ["profiles.2"],
            users::tells_what_a_user_holds ["permissions.1", "granted.1"],
            users::grants_and_revokes_one_permission_in_one_place
                ["grant.1", "grant.2", "revoke.1"],
            users::finds_users_by_name ["named.1", "matching.1"],
            users::replaces_a_user_of_the_same_id ["put-user.1"],
            users::refuses_users_that_cannot_be ["put-user.3", "put-user.4"],
            users::refuses_users_that_not_every_directory_can_keep ["put-user.2", "put-group.2"],
            users::tells_the_first_of_several_reasons ["put-user.5"],
            users::removes_a_user_with_all_that_it_had ["remove-user.1"],
            users::replaces_a_group_of_the_same_id ["put-group.1"],
            users::refuses_groups_that_cannot_be ["put-group.3", "put-group.4"],
            users::removes_a_group_from_members_and_children ["remove-group.1"],
            user_list::lists_users_as_they_were_written ["users.1", "users.2"],
            user_list::lists_users_page_by_page ["users.1", "users.3"],
            user_list::lists_groups_page_by_page ["groups.1", "groups.2"],
            user_list::lists_what_every_user_holds ["grants.1", "grants.2"],
            changes::counts_every_change_of_a_user ["user-changes.1"],
            users::keeps_what_was_written ["put-user.1", "put-group.1", "grant.1"],
        }
    };
}

/// Makes a test of every case for stores. The expression makes a new [`Harness`] for each.
///
/// Where a backend is not on every machine, a function stands before it, which is told the name of
/// each test when that begins; when it answers false, the test does no more. It is for the function
/// to say so aloud: a test that was not run looks like one that passed.
///
/// ```
/// use std::sync::Arc;
/// use async_trait::async_trait;
/// use tokenkeep::TokenStore;
/// use tokenkeep_conformance::Harness;
/// use tokenkeep_memory::MemoryStore;
///
/// #[derive(Default)]
/// struct Memory(Arc<MemoryStore>);
///
/// #[async_trait]
/// impl Harness for Memory {
///     async fn open(&self) -> Arc<dyn TokenStore> {
///         self.0.clone()
///     }
/// }
///
/// fn available(test: &str) -> bool {
///     eprintln!("not run: {test}");
///     false
/// }
///
/// mod conformance {
///     tokenkeep_conformance::store_tests!(if super::available, super::Memory::default());
/// }
/// ```
///
/// See the [crate's page](crate) for an example without.
#[macro_export]
macro_rules! store_tests {
    (if $available:path, $harness:expr) => {
        $crate::__store_cases! { [$crate::__tests] run_store_case, $harness, $available }
    };
    ($harness:expr) => {
        $crate::__store_cases! { [$crate::__tests] run_store_case, $harness, $crate::__always }
    };
}

/// Makes a test of every case for directories. The expression makes a new [`UserHarness`] for each.
///
/// ```
/// use std::sync::Arc;
/// use async_trait::async_trait;
/// use tokenkeep::UserStore;
/// use tokenkeep_conformance::UserHarness;
/// use tokenkeep_memory::MemoryStore;
///
/// #[derive(Default)]
/// struct Memory(Arc<MemoryStore>);
///
/// #[async_trait]
/// impl UserHarness for Memory {
///     async fn open(&self) -> Arc<dyn UserStore> {
///         self.0.clone()
///     }
/// }
///
/// mod conformance {
///     tokenkeep_conformance::user_store_tests!(super::Memory::default());
/// }
/// ```
///
/// As in [`store_tests!`], a function may stand before the expression.
#[macro_export]
macro_rules! user_store_tests {
    (if $available:path, $harness:expr) => {
        $crate::__user_store_cases! {
            [$crate::__tests] run_user_store_case, $harness, $available
        }
    };
    ($harness:expr) => {
        $crate::__user_store_cases! {
            [$crate::__tests] run_user_store_case, $harness, $crate::__always
        }
    };
}

/// Makes a test of each case of a list.
#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    (
        ($run:ident, $harness:expr, $available:path)
        $($module:ident :: $name:ident [$($clause:literal),*],)*
    ) => {
        $(
            #[test]
            fn $name() {
                if $available(concat!(module_path!(), "::", stringify!($name))) {
                    $crate::$run(stringify!($name), &$harness);
                }
            }
        )*
    };
}

/// For a backend that is on every machine.
#[doc(hidden)]
#[must_use]
pub fn __always(_test: &str) -> bool {
    true
}

/// Makes a table of a list of cases.
macro_rules! table {
    (() $($module:ident :: $name:ident [$($clause:literal),*],)*) => {
        &[$(Case {
            name: stringify!($name),
            clauses: &[$($clause),*],
            run: |harness| Box::pin(cases::$module::$name(harness)),
        }),*]
    };
}

/// Every case for stores.
pub const STORE_CASES: &[Case<dyn Harness>] = __store_cases!([table]);

/// Every case for directories.
pub const USER_STORE_CASES: &[Case<dyn UserHarness>] = __user_store_cases!([table]);

/// Runs one case for stores on a harness that has not been used: what each test of
/// [`store_tests!`](crate::store_tests) does. There is an example under [`Harness`].
///
/// # Panics
///
/// When the store does not do what the case asks for, and when there is no such case.
pub fn run_store_case(name: &str, harness: &(dyn Harness + 'static)) {
    let case = named(STORE_CASES, name);
    run_and_clean_up(
        || harness.block_on((case.run)(harness)),
        || harness.block_on(Box::pin(harness.clean_up())),
    );
}

/// Runs one case for directories on a harness that has not been used: what each test of
/// [`user_store_tests!`](crate::user_store_tests) does, where there is an example.
///
/// # Panics
///
/// When the directory does not do what the case asks for, and when there is no such case.
pub fn run_user_store_case(name: &str, harness: &(dyn UserHarness + 'static)) {
    let case = named(USER_STORE_CASES, name);
    run_and_clean_up(
        || harness.block_on((case.run)(harness)),
        || harness.block_on(Box::pin(harness.clean_up())),
    );
}

fn named<H: ?Sized>(cases: &'static [Case<H>], name: &str) -> &'static Case<H> {
    let case = cases.iter().find(|case| case.name == name);
    case.unwrap_or_else(|| panic!("there is no case {name}"))
}

/// Runs every case for stores, one after the other, where a test of each is not wanted. There is an
/// example under [`Harness`].
///
/// # Panics
///
/// When a case fails; the message names all that do.
pub fn check_store(harness: impl Fn() -> Box<dyn Harness>) {
    let fails = |case: &&Case<dyn Harness>| {
        let run = AssertUnwindSafe(|| run_store_case(case.name, &*harness()));
        catch_unwind(run).is_err()
    };
    let failed: Vec<_> = STORE_CASES.iter().filter(fails).map(|case| case.name).collect();
    assert!(failed.is_empty(), "the store fails {failed:?}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The clauses that a file's documentation numbers.
    fn clauses(source: &str) -> BTreeSet<&str> {
        let marked = source.lines().filter_map(|line| line.trim().strip_prefix("/// - **"));
        let names = marked.filter_map(|line| line.split_once("**")).map(|(name, _)| name);
        names.filter(|name| name.ends_with(|last: char| last.is_ascii_digit())).collect()
    }

    fn cited<H: ?Sized>(cases: &[Case<H>]) -> BTreeSet<&'static str> {
        cases.iter().flat_map(|case| case.clauses).copied().collect()
    }

    #[test]
    fn every_clause_of_the_store_has_a_case() {
        let source = include_str!("../../tokenkeep/src/store/mod.rs");
        assert_eq!(clauses(source), cited(STORE_CASES));
    }

    #[test]
    fn every_clause_of_the_directory_has_a_case() {
        let source = include_str!("../../tokenkeep/src/directory.rs");
        assert_eq!(clauses(source), cited(USER_STORE_CASES));
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = STORE_CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), STORE_CASES.len());
    }
}
