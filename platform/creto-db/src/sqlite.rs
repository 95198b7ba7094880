//! SQLite: one file in write-ahead-log mode, one writer thread with group commit, several readers.

mod open;
mod reader;
mod writer;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode as Failure, ToSql, ffi};

pub(crate) use open::{Settings, open};
pub(crate) use reader::Readers;
#[cfg(feature = "testkit")]
pub use writer::Steps;
pub(crate) use writer::Writer;

use crate::error::{DbError, StepError};
use crate::many::Column;
use crate::value::{Row, Value};

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Binds by the number in the name, so that `$2` means the second parameter wherever it first appears, as in PostgreSQL.
fn bind(statement: &mut rusqlite::Statement<'_>, params: &[Value]) -> Result<(), StepError> {
    for position in 1..=statement.parameter_count() {
        let name = statement.parameter_name(position).unwrap_or_default();
        let number = name.get(1..).and_then(|digits| digits.parse::<usize>().ok());
        let value = number.and_then(|n| n.checked_sub(1)).and_then(|index| params.get(index));
        let Some(value) = value else {
            return Err(StepError::Invalid(format!("the statement names `{name}` and has {} parameters", params.len())));
        };
        statement.raw_bind_parameter(position, value)?;
    }
    Ok(())
}

/// Runs one statement and tells how many rows it changed.
pub(crate) fn execute(connection: &Connection, sql: &str, params: &[Value]) -> Result<u64, StepError> {
    let mut statement = connection.prepare_cached(sql)?;
    bind(&mut statement, params)?;
    Ok(u64::try_from(statement.raw_execute()?).unwrap_or(u64::MAX))
}

/// Runs one statement and reads all its rows.
pub(crate) fn query(connection: &Connection, sql: &str, params: &[Value]) -> Result<Vec<Row>, StepError> {
    let mut statement = connection.prepare_cached(sql)?;
    bind(&mut statement, params)?;
    let columns = statement.column_count();
    let mut cursor = statement.raw_query();
    let mut rows = Vec::new();
    while let Some(row) = cursor.next()? {
        let values = (0..columns).map(|column| value(row.get_ref(column)?)).collect::<Result<_, StepError>>()?;
        rows.push(Row::new(values));
    }
    Ok(rows)
}

/// Runs one statement for each of `rows` rows, prepared once; what all rows share is bound once. Gathers what it answers, where asked to.
pub(crate) fn each(
    connection: &Connection,
    sql: &str,
    fixed: &[Value],
    columns: &[Column],
    rows: usize,
    mut answers: Option<&mut Vec<Row>>,
) -> Result<(), StepError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut varying: Vec<(usize, &Column)> = Vec::new();
    for position in 1..=statement.parameter_count() {
        let name = statement.parameter_name(position).unwrap_or_default();
        let index = name.get(1..).and_then(|digits| digits.parse::<usize>().ok()).and_then(|n| n.checked_sub(1));
        let column = index.and_then(|index| index.checked_sub(fixed.len())).and_then(|index| columns.get(index));
        match (index.and_then(|index| fixed.get(index)), column) {
            (Some(value), _) => statement.raw_bind_parameter(position, value)?,
            (None, Some(column)) => varying.push((position, column)),
            (None, None) => {
                let brought = fixed.len() + columns.len();
                return Err(StepError::Invalid(format!("the statement names `{name}` and has {brought} parameters")));
            }
        }
    }
    let width = statement.column_count();
    for row in 0..rows {
        for (position, column) in &varying {
            bind_cell(&mut statement, *position, column, row)?;
        }
        let Some(answers) = answers.as_deref_mut() else {
            statement.raw_execute()?;
            continue;
        };
        let mut cursor = statement.raw_query();
        while let Some(found) = cursor.next()? {
            let values = (0..width).map(|column| value(found.get_ref(column)?)).collect::<Result<_, StepError>>()?;
            answers.push(Row::new(values));
        }
    }
    Ok(())
}

fn bind_cell(statement: &mut rusqlite::Statement<'_>, position: usize, column: &Column, row: usize) -> Result<(), StepError> {
    match column {
        Column::Text(values) => statement.raw_bind_parameter(position, values.get(row).and_then(Option::as_deref))?,
        Column::Integer(values) => statement.raw_bind_parameter(position, values.get(row).copied().flatten())?,
        Column::Blob(values) => statement.raw_bind_parameter(position, values.get(row).and_then(Option::as_deref))?,
    }
    Ok(())
}

fn value(column: ValueRef<'_>) -> Result<Value, StepError> {
    Ok(match column {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => return Err(StepError::Invalid(format!("a column is the real number {real}; use integers or text"))),
        ValueRef::Text(bytes) => {
            Value::Text(std::str::from_utf8(bytes).map_err(|e| StepError::Invalid(format!("a text column is not UTF-8: {e}")))?.to_owned())
        }
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    })
}

pub(crate) fn is_unique_violation(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error(),
        Some(ffi::Error { extended_code: ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY, .. })
    )
}

/// What an SQLite failure means to whoever asked.
pub(crate) fn failure(error: &rusqlite::Error) -> DbError {
    let said = error.to_string();
    match error.sqlite_error_code() {
        Some(Failure::DiskFull) => DbError::DiskFull(said),
        Some(Failure::ReadOnly | Failure::CannotOpen | Failure::PermissionDenied) => DbError::ReadOnly(said),
        Some(Failure::DatabaseCorrupt | Failure::NotADatabase) => DbError::Corrupt(said),
        Some(Failure::DatabaseBusy | Failure::DatabaseLocked | Failure::FileLockingProtocolFailed) => DbError::Busy(said),
        Some(Failure::ConstraintViolation) => DbError::Constraint(said),
        Some(Failure::SystemIoFailure | Failure::OutOfMemory | Failure::OperationInterrupted) => DbError::Unavailable(said),
        _ => DbError::Statement(said),
    }
}

/// What a failed step means to whoever asked.
pub(crate) fn step_failure(error: StepError) -> DbError {
    match error {
        StepError::Conflict { code, message } => DbError::Conflict { code, message },
        StepError::Invalid(said) => DbError::Statement(said),
        StepError::Sqlite(e) => failure(&e),
        StepError::Postgres(e) => crate::postgres::failure(&e),
    }
}
