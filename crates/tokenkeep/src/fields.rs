//! Names and sets of the fields of a token.

use std::fmt;

use serde::{Serialize, Serializer};

/// A field of a token that a change can touch, in the order in which the JSON form has them.
///
/// ```
/// use tokenkeep::{TokenField, TokenFields};
///
/// let changed = TokenFields::from_iter([TokenField::Expires, TokenField::Description]);
/// assert!(changed.contains(TokenField::Expires));
/// assert_eq!(changed.to_string(), "description, expires");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenField {
    /// The marker of managed tokens.
    Managed,
    /// The identifier.
    Identifier,
    /// What the token may be used for.
    Intent,
    /// The owner.
    User,
    /// The free text.
    Description,
    /// The expiry.
    Expires,
    /// Whether the expiry counts.
    Expiring,
    /// The key: its digest and, where it is kept, the sealed key.
    Key,
    /// Whether the owner may view the key.
    OwnerMayViewKey,
}

impl TokenField {
    /// Every field.
    pub const ALL: [Self; 9] = [
        Self::Managed,
        Self::Identifier,
        Self::Intent,
        Self::User,
        Self::Description,
        Self::Expires,
        Self::Expiring,
        Self::Key,
        Self::OwnerMayViewKey,
    ];

    /// The field's name in JSON, in events and in errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Managed => "managed",
            Self::Identifier => "identifier",
            Self::Intent => "intent",
            Self::User => "user",
            Self::Description => "description",
            Self::Expires => "expires",
            Self::Expiring => "expiring",
            Self::Key => "key",
            Self::OwnerMayViewKey => "owner_may_view_key",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for TokenField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of [`TokenField`]s: what an update changed, what a replaced row has to write.
///
/// [`bits`](Self::bits) and [`from_bits`](Self::from_bits) are for backends that keep it in a
/// column of an event.
///
/// See [`TokenField`] for an example.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TokenFields(u16);

impl TokenFields {
    /// No field.
    pub const NONE: Self = Self(0);

    /// Whether no field is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `field` is in the set.
    #[must_use]
    pub const fn contains(self, field: TokenField) -> bool {
        self.0 & field.bit() != 0
    }

    /// The set with `field` in it.
    #[must_use]
    pub const fn with(self, field: TokenField) -> Self {
        Self(self.0 | field.bit())
    }

    /// The fields, in the order of the JSON form.
    pub fn iter(self) -> impl Iterator<Item = TokenField> {
        TokenField::ALL.into_iter().filter(move |field| self.contains(*field))
    }

    /// The set as a number: one bit a field, stable across versions.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set that [`bits`](Self::bits) came from; `None` when a bit is no field.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits < 1 << TokenField::ALL.len() { Some(Self(bits)) } else { None }
    }
}

impl FromIterator<TokenField> for TokenFields {
    fn from_iter<I: IntoIterator<Item = TokenField>>(fields: I) -> Self {
        fields.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for TokenFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, field) in self.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            f.write_str(field.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for TokenFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for TokenFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(TokenField::name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_bit_of_its_own() {
        let all: TokenFields = TokenField::ALL.into_iter().collect();
        assert_eq!(all.iter().count(), TokenField::ALL.len());
        assert_eq!(all.bits(), 0b1_1111_1111);
        assert_eq!(TokenFields::from_bits(all.bits()), Some(all));
        assert_eq!(TokenFields::from_bits(all.bits() + 1), None);
        assert_eq!(all.with(TokenField::Key), all, "a field is in a set once");
    }

    #[test]
    fn fields_are_shown_by_their_names_and_sets_by_their_fields() {
        assert_eq!(TokenField::OwnerMayViewKey.to_string(), "owner_may_view_key");
        let pair = TokenFields::NONE.with(TokenField::Key).with(TokenField::User);
        assert_eq!(pair.to_string(), "user, key");
        assert_eq!(format!("{pair:?}"), "{User, Key}");
    }
}
