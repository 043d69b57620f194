//! From untrusted fields to a typed change.
//!
//! Each kind of field has a file with its checks. Errors are collected, never thrown: a
//! [`TokenChange`] carries them until the operation has judged access, so that an unreadable body
//! says nothing to somebody who may not see the token (SPEC "Reading a request body").

mod body;
mod boolean;
mod change;
pub(crate) mod datetime;
mod error;
mod intent;
mod json;
mod key_change;
mod list;
mod number;
mod owner;
mod search;
pub(crate) mod text;

pub use body::{BodyError, MAX_BODY_BYTES};
pub(crate) use change::{Checked, wanted};
pub use change::{Field, TokenChange};
pub use error::{FieldError, FieldErrors, RequestField};
pub use key_change::KeyChange;
pub(crate) use list::PageNumber;
pub use list::TokenList;
