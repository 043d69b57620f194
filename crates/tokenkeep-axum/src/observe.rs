//! A span and two metrics for every request. None of them holds a header, a body or a key.

use std::error::Error;
use std::time::Instant;

use axum::response::Response;
use metrics::{counter, histogram};
use tokenkeep::TokenError;
use tracing::Span;
use tracing::field::Empty;

use crate::status::Failure;

/// One request, from its arrival to its answer. Dropped before that, as when the client leaves, it
/// is counted as `dropped`.
pub(crate) struct Watch {
    span: Span,
    operation: &'static str,
    outcome: &'static str,
    began: Instant,
}

impl Watch {
    pub(crate) fn begin(operation: &'static str) -> Self {
        let span = tracing::info_span!(
            "tokenkeep",
            operation,
            identifier = Empty,
            outcome = Empty,
            latency = Empty
        );
        Self { span, operation, outcome: "dropped", began: Instant::now() }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Notes how it ended: `ok`, or the code of the error.
    pub(crate) fn end(mut self, answer: &Result<Response, Failure>) {
        self.outcome = match answer {
            Ok(_) => "ok",
            Err(failure) => failure.code(),
        };
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let latency = self.began.elapsed();
        self.span.record("outcome", self.outcome).record("latency", latency.as_secs_f64());
        self.span.in_scope(|| tracing::debug!("answered"));
        counter!(
            "tokenkeep_requests_total",
            "operation" => self.operation,
            "outcome" => self.outcome
        )
        .increment(1);
        histogram!("tokenkeep_request_seconds", "operation" => self.operation).record(latency);
    }
}

/// Notes the identifier, once it is known to name a token: what was asked for might be anything,
/// also a key that was pasted into the wrong place.
pub(crate) fn identifier<T>(identifier: &str, result: &Result<T, TokenError>) {
    let names_a_token = match result {
        Ok(_) => true,
        Err(error) => matches!(
            error,
            TokenError::Forbidden
                | TokenError::Stale { .. }
                | TokenError::Body(_)
                | TokenError::Invalid(_)
                | TokenError::Contended
                | TokenError::KeyNotRetained
        ),
    };
    if names_a_token {
        Span::current().record("identifier", identifier);
    }
}

/// Tells the operator of the inside of a failure, which the answer does not.
pub(crate) fn failure(error: &TokenError) {
    if error.is_retryable() || error.code() == "error" {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        tracing::error!("{text}");
    }
}
