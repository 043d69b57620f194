//! What goes into the parameters of a statement.

use std::error::Error;
use std::fmt;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type};
use uuid::Uuid;

/// One parameter. The driver can log parameters, and this one's `Debug` shows none.
#[derive(Clone)]
pub(crate) enum Value<'a> {
    Boolean(bool),
    /// A number of 64 bits.
    Number(Option<i64>),
    Text(Option<&'a str>),
    Owned(String),
    Bytes(Option<&'a [u8]>),
    Digest(Option<[u8; 32]>),
    /// An id as bytes.
    Sixteen([u8; 16]),
    Uuid(Option<Uuid>),
    Numbers(Vec<i64>),
    NumbersOrNull(Vec<Option<i64>>),
    Texts(Vec<&'a str>),
    Uuids(Vec<Uuid>),
}

impl Value<'_> {
    pub(crate) const fn kind(&self) -> Type {
        match self {
            Self::Boolean(_) => Type::BOOL,
            Self::Number(_) => Type::INT8,
            Self::Text(_) | Self::Owned(_) => Type::TEXT,
            Self::Bytes(_) | Self::Digest(_) | Self::Sixteen(_) => Type::BYTEA,
            Self::Uuid(_) => Type::UUID,
            Self::Numbers(_) | Self::NumbersOrNull(_) => Type::INT8_ARRAY,
            Self::Texts(_) => Type::TEXT_ARRAY,
            Self::Uuids(_) => Type::UUID_ARRAY,
        }
    }
}

impl Value<'_> {
    /// Whether it is a text that PostgreSQL cannot keep, or be asked for.
    pub(crate) fn has_nul(&self) -> bool {
        match self {
            Self::Text(text) => text.is_some_and(|text| text.contains('\0')),
            Self::Owned(text) => text.contains('\0'),
            Self::Texts(texts) => texts.iter().any(|text| text.contains('\0')),
            _ => false,
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Boolean(value) => value.to_sql(ty, out),
            Self::Number(value) => value.to_sql(ty, out),
            Self::Text(value) => value.to_sql(ty, out),
            Self::Owned(value) => value.to_sql(ty, out),
            Self::Bytes(value) => value.to_sql(ty, out),
            Self::Digest(value) => value.as_ref().map(<[u8; 32]>::as_slice).to_sql(ty, out),
            Self::Sixteen(value) => value.as_slice().to_sql(ty, out),
            Self::Uuid(value) => value.to_sql(ty, out),
            Self::Numbers(value) => value.to_sql(ty, out),
            Self::NumbersOrNull(value) => value.to_sql(ty, out),
            Self::Texts(value) => value.to_sql(ty, out),
            Self::Uuids(value) => value.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        // Which value it is shows only when there is one: `to_sql_checked` looks then.
        true
    }

    fn to_sql_checked(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if *ty != self.kind() {
            return Err(
                format!("a parameter of type {ty} got a value of type {}", self.kind()).into()
            );
        }
        self.to_sql(ty, out)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Number(Some(value))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Number(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(value))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self::Text(value)
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Self::Owned(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(Some(value))
    }
}

impl<'a> From<Option<&'a [u8]>> for Value<'a> {
    fn from(value: Option<&'a [u8]>) -> Self {
        Self::Bytes(value)
    }
}

impl From<[u8; 16]> for Value<'_> {
    fn from(id: [u8; 16]) -> Self {
        Self::Uuid(Some(Uuid::from_bytes(id)))
    }
}

impl From<Option<[u8; 16]>> for Value<'_> {
    fn from(id: Option<[u8; 16]>) -> Self {
        Self::Uuid(id.map(Uuid::from_bytes))
    }
}
