//! What a copy has done.

/// What a copy has done, so far or altogether.
///
/// See [`copy_tokens`](crate::copy_tokens) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CopyReport {
    /// Groups of users.
    pub groups: Copied,
    /// Users.
    pub users: Copied,
    /// Permissions of users.
    pub grants: Copied,
    /// Tokens.
    pub tokens: Copied,
    /// Events.
    pub events: Copied,
}

/// What a copy has done with one kind of rows.
///
/// See [`copy_tokens`](crate::copy_tokens) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Copied {
    /// How many were not in the target and were written.
    pub written: u64,
    /// How many were compared at the end and are the same on both sides: when the copy is complete,
    /// all that there are.
    pub verified: u64,
}

/// A report, and who is told of it.
pub(super) struct Told<'a> {
    pub(super) report: CopyReport,
    progress: &'a mut (dyn FnMut(&CopyReport) + Send),
}

impl<'a> Told<'a> {
    pub(super) fn to(progress: &'a mut (dyn FnMut(&CopyReport) + Send)) -> Self {
        Self { report: CopyReport::default(), progress }
    }

    pub(super) fn tell(&mut self) {
        (self.progress)(&self.report);
    }
}
