//! The cases, by the method that they test.

pub(crate) mod changes;
pub(crate) mod commit;
pub(crate) mod events;
pub(crate) mod find;
pub(crate) mod keys;
pub(crate) mod list;
pub(crate) mod race;
pub(crate) mod touch;
pub(crate) mod user_list;
pub(crate) mod users;
