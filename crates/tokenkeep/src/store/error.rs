//! How a store fails.

use std::error::Error;
use std::fmt;

/// A store could not do what it was asked to, for a reason of its own. Its `Display` is one line
/// without the cause, which is its [`source`](Error::source); neither holds a key or a value of a
/// row.
///
/// ```
/// use tokenkeep::{StoreError, StoreErrorKind};
///
/// let error = StoreError::new("sqlite", StoreErrorKind::Busy);
/// assert!(error.is_retryable());
/// assert_eq!(error.to_string(), "sqlite: another process holds the store for too long");
/// ```
#[derive(Debug)]
pub struct StoreError {
    backend: &'static str,
    kind: StoreErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What went wrong in a store, as far as a host can act on it.
///
/// See [`StoreError`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Another process or instance holds what is needed for too long. Try again.
    Busy,
    /// There is no room. Nothing was changed; try again when there is.
    Full,
    /// The store cannot be reached or does not accept this call. Try again later; where the store
    /// says so, only after it has been opened anew.
    Unavailable,
    /// The call took longer than the store allows. Nothing was changed. Try again, or ask for less.
    Timeout,
    /// The cursor belongs to another store, to another state of this one or to another token, or
    /// events after it were pruned. Read the trail from its start.
    InvalidCursor,
    /// A commit may or may not have been done, or may still be on its way: read the token's events
    /// to find out, as a service does before it passes this on.
    OutcomeUnknown,
    /// What is stored cannot be what was written. An operator has to look at it.
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column, or what it holds.
        column: &'static str,
        /// The row, as far as it can be named.
        id: String,
    },
    /// The store cannot do this at all.
    Unsupported(&'static str),
    /// Anything else, with nothing changed.
    Other,
}

impl StoreError {
    /// An error of `backend`.
    #[must_use]
    pub const fn new(backend: &'static str, kind: StoreErrorKind) -> Self {
        Self { backend, kind, source: None }
    }

    /// The error with its cause, which must not hold a key or a value of a row.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> &StoreErrorKind {
        &self.kind
    }

    /// The backend's name.
    #[must_use]
    pub const fn backend(&self) -> &'static str {
        self.backend
    }

    /// Whether the same call may succeed later. An unknown outcome is not retryable as it is:
    /// what was done once must not be done twice.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Busy
                | StoreErrorKind::Full
                | StoreErrorKind::Unavailable
                | StoreErrorKind::Timeout
        )
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.backend)?;
        match &self.kind {
            StoreErrorKind::Busy => f.write_str("another process holds the store for too long"),
            StoreErrorKind::Full => f.write_str("there is no room"),
            StoreErrorKind::Unavailable => f.write_str("the store is unavailable"),
            StoreErrorKind::Timeout => f.write_str("the call took too long; ask for less"),
            StoreErrorKind::InvalidCursor => {
                f.write_str("the trail cannot continue at this cursor")
            }
            StoreErrorKind::OutcomeUnknown => f.write_str("it is unknown whether this was done"),
            StoreErrorKind::Corrupt { table, column, id } => {
                write!(f, "{table}.{column} of {id} is corrupt")
            }
            StoreErrorKind::Unsupported(what) => write!(f, "{what} is not supported"),
            StoreErrorKind::Other => f.write_str("the store failed"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_backend_and_has_its_cause() {
        let error = StoreError::new("sqlite", StoreErrorKind::Full);
        assert_eq!(
            (error.backend(), error.to_string()),
            ("sqlite", "sqlite: there is no room".into())
        );
        assert!(error.source().is_none());
        let error = error.with_source("disk full");
        assert_eq!(error.source().unwrap().to_string(), "disk full");
    }
}
