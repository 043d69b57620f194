//! Each bug is seen by the case that is meant for it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use tokenkeep::{TokenStore, UserStore};
use tokenkeep_conformance::{
    Harness, STORE_CASES, USER_STORE_CASES, UserHarness, check_store, run_store_case,
    run_user_store_case,
};
use tokenkeep_tests::broken::{BrokenStore, Bug};
use tokenkeep_tests::broken_users::{BrokenUsers, UserBug};

struct Broken {
    bug: Bug,
    store: Arc<BrokenStore>,
}

impl Broken {
    fn with(bug: Bug) -> Self {
        Self { bug, store: Arc::new(BrokenStore::new(bug)) }
    }
}

#[async_trait]
impl Harness for Broken {
    async fn open(&self) -> Arc<dyn TokenStore> {
        match self.bug {
            Bug::Forgets => Arc::new(BrokenStore::new(Bug::None)),
            _ => self.store.clone(),
        }
    }
}

/// Every bug with the case that is meant for it.
const BUGS: [(Bug, &str); 67] = [
    (Bug::IgnoresMarkers, "finds_a_token_by_each_of_its_names"),
    (Bug::ReturnsOnePepper, "returns_the_peppers_of_its_digests"),
    (Bug::ReturnsNoSealingKeys, "returns_the_sealing_keys_of_its_seals"),
    (Bug::OverwritesChecks, "keeps_the_first_check_value_of_a_secret"),
    (Bug::ReturnsOneOwner, "returns_the_owners_of_tokens"),
    (Bug::ChangesItsId, "has_one_id_on_every_handle"),
    (Bug::RemovesAtOneRevision, "removes_a_token_at_any_revision"),
    (Bug::KeepsEventsOfRemoved, "removes_a_token_at_any_revision"),
    (Bug::IgnoresReleases, "lets_tokens_exchange_what_they_release"),
    (Bug::ForgetsReleases, "refuses_a_release_that_is_not_replaced"),
    (Bug::PassesEvents, "shows_a_follower_every_event_once"),
    (Bug::AcceptsAnyCursor, "refuses_cursors_at_which_nothing_continues"),
    (Bug::ContinuesAnyQuery, "refuses_cursors_of_another_query"),
    (Bug::ContinuesLaterStates, "refuses_cursors_of_a_later_state"),
    (Bug::PrunesInOrder, "prunes_whatever_the_clocks_say"),
    (Bug::FindsAnyToken, "answers_none_for_a_token_that_is_not_there"),
    (Bug::IgnoresCase, "tells_names_apart_that_differ_in_case"),
    (Bug::FindsOldNames, "forgets_names_that_were_given_up"),
    (Bug::CachesKeys, "shows_every_acknowledged_commit_at_once"),
    (Bug::RoundsTimes, "returns_every_field_as_it_was_written"),
    (Bug::IgnoresFilters, "filters_by_exact_values"),
    (Bug::IgnoresCaseOfPrefixes, "filters_by_expiry_and_by_prefix"),
    (Bug::IgnoresVisibility, "shows_only_what_is_visible"),
    (Bug::SearchesAnyWord, "searches_for_every_word"),
    (Bug::SortsNullsFirst, "orders_by_each_field"),
    (Bug::SortsByOneKey, "orders_by_several_fields"),
    (Bug::IgnoresCursors, "walks_by_cursor_in_every_order"),
    (Bug::SkipsAtCursors, "walks_by_cursor_in_every_order"),
    (Bug::NeedsTheTokenAtTheCursor, "walks_on_when_the_token_at_the_cursor_is_gone"),
    (Bug::CountsThePage, "cuts_windows_by_offset_and_counts_the_rest"),
    (Bug::KeepsHalfABatch, "does_all_of_a_batch_or_nothing"),
    (Bug::KeepsHalfABatch, "shows_no_part_of_a_commit"),
    (Bug::RestartsRevisions, "inserts_a_token_as_it_is_given"),
    (Bug::IgnoresDeletes, "deletes_at_the_expected_revision"),
    (Bug::RefusesEmptyBatches, "does_a_batch_of_nothing"),
    (Bug::HarmsTheNext, "does_commits_beside_others_that_fail"),
    (Bug::IgnoresRevisions, "refuses_every_change_of_a_stale_token"),
    (Bug::ChecksThenWrites, "lets_one_of_those_who_want_a_revision_win"),
    (Bug::ChecksThenWrites, "loses_no_update_of_a_token"),
    (Bug::IgnoresExpectations, "expects_a_revision_and_changes_nothing"),
    (Bug::HidesWhatIsThere, "refuses_every_change_of_a_stale_token"),
    (Bug::BlamesAnother, "refuses_every_change_of_a_stale_token"),
    (Bug::BlamesTheKey, "reports_the_first_of_several_taken_values"),
    (Bug::WritesEveryField, "replaces_each_field_by_itself"),
    (Bug::DeletesAndInserts, "leaves_a_later_touch_alone_when_it_replaces"),
    (Bug::AcceptsTakenNames, "refuses_values_that_are_taken"),
    (Bug::AcceptsTakenNames, "lets_one_of_those_who_want_an_identifier_win"),
    (Bug::SharesMarkers, "lets_one_of_those_who_want_a_marker_win"),
    (Bug::SharesKeys, "lets_one_of_those_who_want_a_key_win"),
    (Bug::ExpectsThenWrites, "lets_nobody_pass_what_another_expects"),
    (Bug::TellsLater, "shows_no_change_without_its_event"),
    (Bug::CountsNoChanges, "counts_every_change_of_a_token"),
    (Bug::CachesLists, "shows_every_acknowledged_commit_at_once"),
    (Bug::ReordersChanges, "does_changes_in_the_order_given"),
    (Bug::MergesABatch, "refuses_by_what_the_batch_has_done_before"),
    (Bug::DropsEvents, "does_all_of_a_batch_or_nothing"),
    (Bug::DropsChangedFields, "returns_every_field_of_an_event"),
    (Bug::Forgets, "keeps_what_was_acknowledged"),
    (Bug::IgnoresTouches, "records_when_a_token_was_used"),
    (Bug::TouchesOnce, "never_moves_a_last_used_time_back"),
    (Bug::MissesTouchedTokens, "passes_over_tokens_that_are_gone"),
    (Bug::SortsEventsByTime, "orders_the_events_of_a_token_newest_first"),
    (Bug::SortsEventsById, "orders_the_events_of_all_tokens_by_commit"),
    (Bug::DropsEventsOfTheDead, "keeps_the_events_of_a_token_that_is_gone"),
    (Bug::IncludesTheEnd, "cuts_the_trail_by_time"),
    (Bug::IgnoresEventLimits, "reads_the_trail_page_by_page"),
    (Bug::PrunesTheEnd, "prunes_what_is_older"),
];

#[test]
fn every_bug_is_caught_by_its_case() {
    for (bug, case) in BUGS {
        let ran = catch_unwind(AssertUnwindSafe(|| run_store_case(case, &Broken::with(bug))));
        let panic = ran.expect_err(&format!("{case} does not see {bug:?}"));
        assert!(!is_unknown(&*panic), "{case}");
        println!("{bug:?} is caught by {case}");
    }
}

/// Whether a case failed because there is none of that name.
fn is_unknown(panic: &(dyn Any + Send)) -> bool {
    let message = panic.downcast_ref::<String>();
    message.is_some_and(|message| message.contains("there is no case"))
}

struct BrokenDirectory(Arc<BrokenUsers>);

impl BrokenDirectory {
    fn with(bug: UserBug) -> Self {
        Self(Arc::new(BrokenUsers::new(bug)))
    }
}

#[async_trait]
impl UserHarness for BrokenDirectory {
    async fn open(&self) -> Arc<dyn UserStore> {
        match self.0.bug {
            UserBug::Forgets => Arc::new(BrokenUsers::new(UserBug::None)),
            _ => self.0.clone(),
        }
    }
}

/// Every bug of a directory with the case that is meant for it.
const USER_BUGS: [(UserBug, &str); 28] = [
    (UserBug::CachesStates, "tells_who_is_active"),
    (UserBug::CountsNoChanges, "counts_every_change_of_a_user"),
    (UserBug::DropsDates, "returns_users_as_they_were_written"),
    (UserBug::RoundsNumbers, "returns_users_as_they_were_written"),
    (UserBug::ForgetsAncestors, "returns_groups_with_their_ancestors"),
    (UserBug::HoldsOnEveryToken, "tells_what_a_user_holds"),
    (UserBug::HoldsOnNoToken, "tells_what_a_user_holds"),
    (UserBug::RevokesEverywhere, "grants_and_revokes_one_permission_in_one_place"),
    (UserBug::IgnoresCase, "finds_users_by_name"),
    (UserBug::ForgetsGrants, "replaces_a_user_of_the_same_id"),
    (UserBug::TakesNamesOver, "refuses_users_that_cannot_be"),
    (UserBug::KeepsAnything, "refuses_users_that_not_every_directory_can_keep"),
    (UserBug::LooksAtGroupsFirst, "tells_the_first_of_several_reasons"),
    (UserBug::LeavesGrants, "removes_a_user_with_all_that_it_had"),
    (UserBug::ForgetsMembers, "replaces_a_group_of_the_same_id"),
    (UserBug::AllowsCycles, "refuses_groups_that_cannot_be"),
    (UserBug::LeavesMembers, "removes_a_group_from_members_and_children"),
    (UserBug::ListsByName, "lists_users_as_they_were_written"),
    (UserBug::ListsAncestors, "lists_users_as_they_were_written"),
    (UserBug::IgnoresPlaces, "lists_users_page_by_page"),
    (UserBug::NeedsTheRowBefore, "lists_users_page_by_page"),
    (UserBug::ListsGroupsByName, "lists_groups_page_by_page"),
    (UserBug::IgnoresPlaces, "lists_groups_page_by_page"),
    (UserBug::NeedsTheRowBefore, "lists_groups_page_by_page"),
    (UserBug::ListsNoGlobalGrants, "lists_what_every_user_holds"),
    (UserBug::ListsGrantsAsDeclared, "lists_what_every_user_holds"),
    (UserBug::NeedsTheRowBefore, "lists_what_every_user_holds"),
    (UserBug::Forgets, "keeps_what_was_written"),
];

#[test]
fn every_bug_of_a_directory_is_caught_by_its_case() {
    for (bug, case) in USER_BUGS {
        let run = AssertUnwindSafe(|| run_user_store_case(case, &BrokenDirectory::with(bug)));
        let panic = catch_unwind(run).expect_err(&format!("{case} does not see {bug:?}"));
        assert!(!is_unknown(&*panic), "{case}");
        println!("{bug:?} is caught by {case}");
    }
}

#[test]
fn every_case_has_a_bug() {
    let stores = STORE_CASES.iter().map(|case| case.name);
    let directories = USER_STORE_CASES.iter().map(|case| case.name);
    let is_unproven = |name: &&str| {
        BUGS.iter().all(|(_, case)| case != name) && USER_BUGS.iter().all(|(_, case)| case != name)
    };
    let unproven: Vec<_> = stores.chain(directories).filter(is_unproven).collect();
    assert!(unproven.is_empty(), "nobody has seen these fail: {unproven:?}");
}

#[test]
fn the_same_without_a_bug_passes() {
    check_store(|| Box::new(Broken::with(Bug::None)));
    for case in USER_STORE_CASES {
        run_user_store_case(case.name, &BrokenDirectory::with(UserBug::None));
    }
}
