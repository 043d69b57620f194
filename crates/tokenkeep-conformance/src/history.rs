//! Whether what callers saw fits into one order of their calls: linearizability.
//!
//! The search is that of Wing and Gong with the memo of Lowe ("Testing for linearizability", 2017):
//! without the memo it does not end for histories of any length.

use std::collections::HashSet;

use tokenkeep::{Revision, TokenId};

/// Which version of a token a call saw or expects. A token that is created after another one of the same
/// name was deleted is another token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// The token: any number that differs from those of others with the same name.
    pub token: u64,
    /// Its revision.
    pub revision: Revision,
}

impl Version {
    /// Returns the version of a token, whose number is made of the last bytes of its id.
    #[must_use]
    pub fn new(token: TokenId, revision: Revision) -> Self {
        let last = token.as_bytes().last_chunk().copied().unwrap_or_default();
        Self { token: u64::from_be_bytes(last), revision }
    }
}

/// What somebody asked of one token. Values and keys are numbers: a history gives each only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Looks the token up.
    Find,
    /// Creates it.
    Create {
        /// What one of its fields is to hold.
        value: u64,
        /// Its key.
        key: u64,
    },
    /// Changes the field.
    Update {
        /// At which version, if at none other.
        expected: Option<Version>,
        /// What it is to hold.
        value: u64,
    },
    /// Gives it another key.
    SetKey(u64),
    /// Deletes it.
    Delete(Option<Version>),
    /// Authenticates with a key that was its own at some time.
    Authenticate(u64),
}

impl Operation {
    const fn writes(self) -> bool {
        !matches!(self, Self::Find | Self::Authenticate(_))
    }
}

/// What the caller got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, at that version and with that value.
    Found(Version, u64),
    /// It is not there.
    Missing,
    /// It was created, changed or given the key, and has that version.
    Written(Version),
    /// It was deleted.
    Deleted,
    /// It was there already.
    Taken,
    /// It is another token than expected, or has another revision.
    Stale,
    /// The key opens it.
    Accepted,
    /// The key opens nothing.
    Refused,
    /// Nobody knows: the answer was lost, and the operation may yet be done.
    Unknown,
}

/// One call of a history. Times are of one clock that never goes back, in any unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// What was answered. A call that is known to have done nothing, such as one that was refused
    /// because the store was busy, is left out of the history.
    pub outcome: Outcome,
    /// When it began, or a moment before.
    pub began: u64,
    /// When it ended, or a moment after.
    pub ended: u64,
}

/// What a history tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order in which everything that was seen is true, and in which each call lies
    /// between its beginning and its end.
    Linearizable,
    /// There is none.
    Impossible,
    /// None was found within the steps that were allowed.
    Undecided,
}

/// A token that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Live {
    /// `None` as long as no answer has it: that of the create was lost.
    token: Option<u64>,
    revision: Revision,
    value: u64,
    key: u64,
}

impl Live {
    /// Whether the token can be this one.
    fn can_be(&self, version: Version) -> bool {
        self.token.is_none_or(|token| token == version.token) && self.revision == version.revision
    }
}

type State = Option<Live>;

/// Judges the calls about one token, which is not there at first, in at most so many steps. A step
/// places one call behind others, and takes about 150 bytes. The verdict depends on the calls and the
/// steps alone, not on how fast the machine is.
///
/// ```
/// use tokenkeep::Revision;
/// use tokenkeep_conformance::{Call, Operation, Outcome, Verdict, Version, judge};
///
/// let first = Version { token: 1, revision: Revision::FIRST };
/// let call = |operation, outcome, began, ended| Call { operation, outcome, began, ended };
/// let created = call(
///     Operation::Create { value: 1, key: 1 }, Outcome::Written(first), 0, 10,
/// );
/// let missed = |began, ended| call(Operation::Find, Outcome::Missing, began, ended);
/// assert_eq!(judge(&[created, missed(5, 15)], 1_000), Verdict::Linearizable);
/// assert_eq!(judge(&[created, missed(11, 15)], 1_000), Verdict::Impossible);
/// ```
#[must_use]
pub fn judge(calls: &[Call], steps: u64) -> Verdict {
    let mut calls = calls.to_vec();
    // A read without an answer says nothing and does nothing.
    calls.retain(|call| call.outcome != Outcome::Unknown || call.operation.writes());
    calls.sort_by_key(|call| call.began);
    let mut search = Search { calls: &calls, steps_left: steps, seen: HashSet::new() };
    match search.goes_on(&mut Done::of(calls.len()), None) {
        Some(true) => Verdict::Linearizable,
        Some(false) => Verdict::Impossible,
        None => Verdict::Undecided,
    }
}

/// Which calls have been placed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Done(Box<[u64]>);

impl Done {
    fn of(calls: usize) -> Self {
        Self(vec![0; calls.div_ceil(64)].into())
    }

    fn has(&self, call: usize) -> bool {
        self.0[call / 64] & 1 << (call % 64) != 0
    }

    /// Before this one, all have been placed.
    fn first_left(&self) -> usize {
        let full = self.0.iter().take_while(|word| **word == u64::MAX).count();
        full * 64 + self.0.get(full).map_or(0, |word| word.trailing_ones() as usize)
    }

    fn flip(&mut self, call: usize) {
        self.0[call / 64] ^= 1 << (call % 64);
    }
}

struct Search<'a> {
    /// In the order of their beginnings.
    calls: &'a [Call],
    steps_left: u64,
    /// From where no order leads to the end.
    seen: HashSet<(Done, State)>,
}

impl Search<'_> {
    /// Whether the calls that are left can be placed, from this state on; `None` when that takes
    /// too many steps.
    fn goes_on(&mut self, done: &mut Done, state: State) -> Option<bool> {
        let Some(next) = self.next(done) else { return Some(true) };
        self.steps_left = self.steps_left.checked_sub(1)?;
        if !self.seen.insert((done.clone(), state)) {
            return Some(false);
        }
        let calls = self.calls;
        let placed = next.into_iter().filter_map(|call| Some((call, after(state, &calls[call])?)));
        let placed: Vec<_> = placed.collect();
        // What is true now and changes nothing can come first, whatever follows.
        let idle = placed.iter().find(|(_, after)| *after == state).copied();
        for (call, after) in idle.map_or(placed, |idle| vec![idle]) {
            done.flip(call);
            let goes_on = self.goes_on(done, after);
            done.flip(call);
            if goes_on != Some(false) {
                return goes_on;
            }
        }
        Some(false)
    }

    /// The calls that may come next: none of the others ended before they began. `None` when every
    /// call with an answer has been placed.
    fn next(&self, done: &Done) -> Option<Vec<usize>> {
        let (mut first_end, mut next) = (None, Vec::new());
        for call in (done.first_left()..self.calls.len()).filter(|call| !done.has(*call)) {
            let Call { outcome, began, ended, .. } = self.calls[call];
            if first_end.is_some_and(|end| began > end) {
                break;
            }
            next.push(call);
            if outcome != Outcome::Unknown {
                first_end = Some(first_end.map_or(ended, |end: u64| end.min(ended)));
            }
        }
        let end = first_end?;
        next.retain(|call| self.calls[*call].began <= end);
        Some(next)
    }
}

/// What the token is after a call, if the call can have been answered so; after one whose outcome is
/// unknown, what it is if the call was done.
fn after(state: State, call: &Call) -> Option<State> {
    let returned = match call.outcome {
        Outcome::Written(version) => Some(version),
        _ => None,
    };
    if call.outcome == Outcome::Unknown {
        return Some(done(state, call.operation, None)?).filter(|after| *after != state);
    }
    // The token of a create whose answer was lost can be any.
    let is_stale = |expected: Option<Version>| {
        let differs = |live: Live, expected: Version| {
            live.token != Some(expected.token) || live.revision != expected.revision
        };
        state.zip(expected).is_some_and(|(live, expected)| differs(live, expected))
    };
    let is_true = match (call.operation, call.outcome) {
        (Operation::Find, Outcome::Found(version, value)) => {
            state.is_some_and(|live| live.can_be(version) && live.value == value)
        }
        (Operation::Create { .. }, Outcome::Taken) => state.is_some(),
        (Operation::Delete(_), Outcome::Deleted) => return done(state, call.operation, None),
        (_, Outcome::Written(version)) => {
            let after = done(state, call.operation, returned)?;
            return after.is_some_and(|live| live.can_be(version)).then_some(after);
        }
        (Operation::Authenticate(key), outcome) => {
            let opens = state.is_some_and(|live| live.key == key);
            outcome == if opens { Outcome::Accepted } else { Outcome::Refused }
        }
        (_, Outcome::Missing) => {
            state.is_none() && !matches!(call.operation, Operation::Create { .. })
        }
        (Operation::Update { expected, .. } | Operation::Delete(expected), Outcome::Stale) => {
            is_stale(expected)
        }
        _ => false,
    };
    is_true.then_some(state)
}

/// What the token is once an operation that writes is done; `None` where it cannot be done. `returned`
/// is the version that the caller got.
fn done(state: State, operation: Operation, returned: Option<Version>) -> Option<State> {
    let returned = returned.map(|version| version.token);
    let changed = |live: Live, expected: Option<Version>| {
        let token = live.token.or(expected.map(|version| version.token)).or(returned);
        Some(Live { token, revision: live.revision.next()?, ..live })
    };
    let may = |live: Live, expected: Option<Version>| {
        expected.is_none_or(|expected| live.can_be(expected))
    };
    match (operation, state) {
        (Operation::Create { value, key }, None) => {
            Some(Some(Live { token: returned, revision: Revision::FIRST, value, key }))
        }
        (Operation::Update { expected, value }, Some(live)) if may(live, expected) => {
            Some(Some(Live { value, ..changed(live, expected)? }))
        }
        (Operation::SetKey(key), Some(live)) => Some(Some(Live { key, ..changed(live, None)? })),
        (Operation::Delete(expected), Some(live)) if may(live, expected) => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: u64 = 1_000_000;

    fn call(operation: Operation, outcome: Outcome, began: u64, ended: u64) -> Call {
        Call { operation, outcome, began, ended }
    }

    fn revision(number: u64) -> Version {
        version(1, number)
    }

    fn version(token: u64, number: u64) -> Version {
        Version { token, revision: Revision::new(number.try_into().unwrap()).unwrap() }
    }

    fn created(began: u64, ended: u64) -> Call {
        let create = Operation::Create { value: 1, key: 1 };
        call(create, Outcome::Written(revision(1)), began, ended)
    }

    fn updated(from: Option<u64>, to: u64, began: u64, ended: u64) -> Call {
        let update = Operation::Update { expected: from.map(revision), value: to };
        call(update, Outcome::Written(revision(to)), began, ended)
    }

    fn found(number: u64, began: u64, ended: u64) -> Call {
        call(Operation::Find, Outcome::Found(revision(number), number), began, ended)
    }

    #[test]
    fn what_overlaps_may_come_in_any_order() {
        let calls = [created(0, 1), updated(None, 2, 2, 10), found(1, 3, 9), found(2, 3, 9)];
        assert_eq!(judge(&calls, STEPS), Verdict::Linearizable);
    }

    #[test]
    fn nobody_sees_the_past() {
        let calls = [created(0, 1), updated(None, 2, 2, 3), found(1, 4, 5)];
        assert_eq!(judge(&calls, STEPS), Verdict::Impossible);
        let calls = [created(0, 1), updated(None, 2, 2, 10), found(2, 3, 4), found(1, 5, 6)];
        assert_eq!(judge(&calls, STEPS), Verdict::Impossible);
    }

    #[test]
    fn one_of_two_who_expect_the_same_is_stale() {
        let both = [created(0, 1), updated(Some(1), 2, 2, 9), updated(Some(1), 3, 2, 9)];
        assert_eq!(judge(&both, STEPS), Verdict::Impossible);
        let stale = Operation::Update { expected: Some(revision(1)), value: 3 };
        let one = [created(0, 1), updated(Some(1), 2, 2, 9), call(stale, Outcome::Stale, 2, 9)];
        assert_eq!(judge(&one, STEPS), Verdict::Linearizable);
        assert_eq!(judge(&[one[0], one[2]], STEPS), Verdict::Impossible, "no other call wrote");
    }

    #[test]
    fn update_of_a_later_token_of_the_same_name_is_impossible() {
        let delete = call(Operation::Delete(None), Outcome::Deleted, 2, 3);
        let create = Operation::Create { value: 5, key: 5 };
        let again = |outcome| call(create, outcome, 4, 5);
        let update = Operation::Update { expected: Some(version(1, 1)), value: 6 };
        let updated = |outcome| call(update, outcome, 6, 7);
        let written = |token, number| Outcome::Written(version(token, number));
        for (again, updated, verdict) in [
            (again(written(2, 1)), updated(written(2, 2)), Verdict::Impossible),
            (again(written(2, 1)), updated(written(1, 2)), Verdict::Impossible),
            (again(written(2, 1)), updated(Outcome::Stale), Verdict::Linearizable),
            (again(Outcome::Unknown), updated(Outcome::Stale), Verdict::Linearizable),
        ] {
            let calls = [created(0, 1), delete, again, updated];
            assert_eq!(judge(&calls, STEPS), verdict, "{calls:?}");
        }
    }

    #[test]
    fn an_old_key_opens_nothing() {
        let set = call(Operation::SetKey(2), Outcome::Written(revision(2)), 2, 3);
        let opens = |key, outcome| call(Operation::Authenticate(key), outcome, 4, 5);
        for (key, outcome, verdict) in [
            (1, Outcome::Accepted, Verdict::Impossible),
            (1, Outcome::Refused, Verdict::Linearizable),
            (2, Outcome::Accepted, Verdict::Linearizable),
            (2, Outcome::Refused, Verdict::Impossible),
        ] {
            assert_eq!(judge(&[created(0, 1), set, opens(key, outcome)], STEPS), verdict);
        }
        let delete = call(Operation::Delete(None), Outcome::Deleted, 2, 3);
        let calls = [created(0, 1), delete, opens(1, Outcome::Accepted)];
        assert_eq!(judge(&calls, STEPS), Verdict::Impossible);
    }

    #[test]
    fn a_lost_answer_may_mean_either_and_at_any_time_after() {
        let lost = call(Operation::Delete(None), Outcome::Unknown, 2, 3);
        let missing = |began, ended| call(Operation::Find, Outcome::Missing, began, ended);
        for seen in [vec![found(1, 4, 5)], vec![missing(4, 5)], vec![found(1, 4, 5), missing(6, 7)]]
        {
            let calls = [vec![created(0, 1), lost], seen].concat();
            assert_eq!(judge(&calls, STEPS), Verdict::Linearizable, "{calls:?}");
        }
        let back = [created(0, 1), lost, missing(4, 5), found(1, 6, 7)];
        assert_eq!(judge(&back, STEPS), Verdict::Impossible);
        let early = [created(0, 1), call(lost.operation, lost.outcome, 6, 7), missing(4, 5)];
        assert_eq!(judge(&early, STEPS), Verdict::Impossible);
    }

    #[test]
    fn what_takes_too_long_is_not_called_good() {
        // Every subset of thirty calls without an answer has to be tried, for nothing.
        let lost = |value| {
            let update = Operation::Update { expected: None, value };
            call(update, Outcome::Unknown, 2, 3)
        };
        let mut calls: Vec<_> = (10..40).map(lost).collect();
        calls.extend([created(0, 1), found(99, 100, 101)]);
        assert_eq!(judge(&calls, 10_000), Verdict::Undecided);
    }
}
