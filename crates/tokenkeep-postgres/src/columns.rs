//! Reading columns, with errors that say where the wrong value is.

use serde_json::{Map, Value};
use tokenkeep::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::error::Fault;

/// The columns of one row, read from left to right.
pub(crate) struct Columns<'a> {
    row: &'a Row,
    table: &'static str,
    name: Option<String>,
    next: usize,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(row: &'a Row, table: &'static str) -> Self {
        Self { row, table, name: None, next: 0 }
    }

    /// The columns from `first` on, as those of another table.
    pub(crate) fn from(row: &'a Row, table: &'static str, first: usize) -> Self {
        Self { next: first, ..Self::of(row, table) }
    }

    /// Reads the column that names the row in errors.
    pub(crate) fn key<T: FromSql<'a> + ToString>(
        &mut self,
        column: &'static str,
    ) -> Result<T, Fault> {
        let key: Option<T> = self.key_or_null(column)?;
        key.ok_or_else(|| self.corrupt(column))
    }

    /// Reads the column that names the row in errors, where a row need not be there.
    pub(crate) fn key_or_null<T: FromSql<'a> + ToString>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<T>, Fault> {
        let key: Option<T> = self.get(column)?;
        self.name = key.as_ref().map(ToString::to_string);
        Ok(key)
    }

    /// The error that the value of `column` cannot be what was written.
    pub(crate) fn corrupt(&self, column: &'static str) -> Fault {
        let id = self.name.clone().unwrap_or_else(|| "a row".into());
        Fault::Corrupt { table: self.table, column, id }
    }

    /// The next column as a type that the driver knows.
    pub(crate) fn get<T: FromSql<'a>>(&mut self, column: &'static str) -> Result<T, Fault> {
        let value = self.row.try_get(self.next).map_err(|_| self.corrupt(column))?;
        self.next += 1;
        Ok(value)
    }

    /// The next column as one of the core's types, if it can be one.
    pub(crate) fn parsed<S: FromSql<'a>, T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(S) -> Option<T>,
    ) -> Result<T, Fault> {
        parse(self.get(column)?).ok_or_else(|| self.corrupt(column))
    }

    /// The next column as one of the core's types, if there is one.
    pub(crate) fn parsed_or_null<S: FromSql<'a>, T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(S) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        let value: Option<S> = self.get(column)?;
        value.map(|value| parse(value).ok_or_else(|| self.corrupt(column))).transpose()
    }

    pub(crate) fn sixteen_bytes(&mut self, column: &'static str) -> Result<[u8; 16], Fault> {
        Ok(self.get::<Uuid>(column)?.into_bytes())
    }

    pub(crate) fn time(&mut self, column: &'static str) -> Result<Timestamp, Fault> {
        self.parsed(column, Timestamp::from_micros)
    }

    pub(crate) fn time_or_null(
        &mut self,
        column: &'static str,
    ) -> Result<Option<Timestamp>, Fault> {
        self.parsed_or_null(column, Timestamp::from_micros)
    }

    /// A JSON object.
    pub(crate) fn attributes(&mut self, column: &'static str) -> Result<Map<String, Value>, Fault> {
        self.parsed(column, |text: &str| serde_json::from_str(text).ok())
    }
}
