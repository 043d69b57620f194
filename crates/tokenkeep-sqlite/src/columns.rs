//! Reading columns, with errors that say where the wrong value is.

use rusqlite::Row;
use rusqlite::types::{FromSql, ValueRef};
use serde_json::{Map, Value};
use tokenkeep::Timestamp;
use uuid::Uuid;

use crate::error::Fault;

/// The columns of one row, read from left to right.
pub(crate) struct Columns<'a> {
    row: &'a Row<'a>,
    table: &'static str,
    name: RowName,
    next: usize,
}

/// What names a row in errors.
#[derive(Clone, Copy)]
pub(crate) enum RowName {
    Unknown,
    Uuid([u8; 16]),
    Number(i64),
}

impl<'a> Columns<'a> {
    pub(crate) fn of(row: &'a Row<'a>, table: &'static str) -> Self {
        Self { row, table, name: RowName::Unknown, next: 0 }
    }

    /// Names the row in the errors of the columns that follow.
    pub(crate) fn name(&mut self, name: RowName) {
        self.name = name;
    }

    /// The error that the value of `column` cannot be what was written.
    pub(crate) fn corrupt(&self, column: &'static str) -> Fault {
        let id = match self.name {
            RowName::Unknown => "a row".into(),
            RowName::Uuid(bytes) => Uuid::from_bytes(bytes).to_string(),
            RowName::Number(number) => number.to_string(),
        };
        Fault::Corrupt { table: self.table, column, id }
    }

    fn value(&mut self) -> Result<ValueRef<'a>, Fault> {
        let value = self.row.get_ref(self.next)?;
        self.next += 1;
        Ok(value)
    }

    /// The next column as a type that the driver knows.
    fn get<T: FromSql>(&mut self, column: &'static str) -> Result<T, Fault> {
        let value = self.value()?;
        T::column_result(value).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn integer(&mut self, column: &'static str) -> Result<i64, Fault> {
        self.get(column)
    }

    pub(crate) fn integer_or_null(&mut self, column: &'static str) -> Result<Option<i64>, Fault> {
        self.get(column)
    }

    pub(crate) fn boolean(&mut self, column: &'static str) -> Result<bool, Fault> {
        match self.integer(column)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.corrupt(column)),
        }
    }

    pub(crate) fn time(&mut self, column: &'static str) -> Result<Timestamp, Fault> {
        self.time_or_null(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(crate) fn time_or_null(
        &mut self,
        column: &'static str,
    ) -> Result<Option<Timestamp>, Fault> {
        match self.integer_or_null(column)? {
            None => Ok(None),
            Some(micros) => match Timestamp::from_micros(micros) {
                Some(at) => Ok(Some(at)),
                None => Err(self.corrupt(column)),
            },
        }
    }

    pub(crate) fn bytes_or_null(
        &mut self,
        column: &'static str,
    ) -> Result<Option<&'a [u8]>, Fault> {
        self.value()?.as_blob_or_null().map_err(|_| self.corrupt(column))
    }

    pub(crate) fn bytes(&mut self, column: &'static str) -> Result<&'a [u8], Fault> {
        self.bytes_or_null(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(crate) fn sixteen_bytes(&mut self, column: &'static str) -> Result<[u8; 16], Fault> {
        self.bytes(column)?.try_into().map_err(|_| self.corrupt(column))
    }

    pub(crate) fn text_or_null(&mut self, column: &'static str) -> Result<Option<&'a str>, Fault> {
        self.value()?.as_str_or_null().map_err(|_| self.corrupt(column))
    }

    pub(crate) fn text(&mut self, column: &'static str) -> Result<&'a str, Fault> {
        self.text_or_null(column)?.ok_or_else(|| self.corrupt(column))
    }

    /// A text that one of the core's types can be made from.
    pub(crate) fn parsed<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Fault> {
        parse(self.text(column)?).ok_or_else(|| self.corrupt(column))
    }

    /// A JSON object.
    pub(crate) fn attributes(&mut self, column: &'static str) -> Result<Map<String, Value>, Fault> {
        self.parsed(column, |text| serde_json::from_str(text).ok())
    }
}
