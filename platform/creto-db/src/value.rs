//! What goes into a statement and what comes out of it: the four storage classes both engines share.

use std::fmt;
use std::str::FromStr;

use creto_kernel::{ActionName, Digest, Micros, NhiId, ResourceName, TenantId, Timestamp, id};

use crate::error::DbError;

/// One parameter or one column. Both engines keep exactly these: `BIGINT`, `TEXT`, `BLOB`/`BYTEA` and NULL.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// A 64-bit integer; also booleans (0 and 1), money in micros and moments in microseconds.
    Integer(i64),
    /// Text; also identifiers and digests.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    /// Anything that has a text form.
    #[must_use]
    pub fn text(value: &impl fmt::Display) -> Self {
        Self::Text(value.to_string())
    }

    const fn class(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Integer(_) => "an integer",
            Self::Text(_) => "text",
            Self::Blob(_) => "bytes",
        }
    }
}

/// Shows the class and the size only: a value may be a secret or personal data, and `Debug` ends up in logs.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Integer(value) => write!(f, "Integer({value})"),
            Self::Text(value) => write!(f, "Text({} bytes)", value.len()),
            Self::Blob(value) => write!(f, "Blob({} bytes)", value.len()),
        }
    }
}

macro_rules! from_integer {
    ($($kind:ty)+) => {$(
        impl From<$kind> for Value {
            fn from(value: $kind) -> Self {
                Self::Integer(i64::from(value))
            }
        }
    )+};
}
from_integer!(i64 i32 u32 u16 u8 bool);

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Blob(value.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Micros> for Value {
    fn from(value: Micros) -> Self {
        Self::Integer(value.get())
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Integer(value.as_micros())
    }
}

/// Makes types with a text form (`Display`, read back by `FromStr`) usable as statement parameters.
///
/// ```
/// creto_kernel::typed_ids! {
///     /// One thing.
///     ThingId = "thing";
/// }
/// creto_db::value_from_text!(ThingId);
/// let _: creto_db::Value = ThingId::generate().into();
/// ```
#[macro_export]
macro_rules! value_from_text {
    ($($kind:ty),+ $(,)?) => {$(
        impl ::core::convert::From<$kind> for $crate::Value {
            fn from(value: $kind) -> Self {
                $crate::Value::text(&value)
            }
        }
        impl ::core::convert::From<&$kind> for $crate::Value {
            fn from(value: &$kind) -> Self {
                $crate::Value::text(value)
            }
        }
    )+};
}

value_from_text!(
    TenantId,
    NhiId,
    Digest,
    ActionName,
    ResourceName,
    id::LeafId,
    id::RunId,
    id::RequestId,
    id::HoldId,
    id::AdmissionId,
    id::SandboxId,
    id::MessageId,
    id::CredentialId,
    id::LinkId,
    id::OutboxId,
);

/// Statement parameters: `params![tenant, amount, now]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        ::std::vec![$($crate::Value::from($value)),*]
    };
}

/// Statement text. One text serves both engines where their dialects agree; parameters are `$1`, `$2`, ….
///
/// INVARIANT: the text is part of the program, never made from input: there is no constructor from a `String`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sql {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

impl Sql {
    /// A text for each engine.
    #[must_use]
    pub const fn per_engine(sqlite: &'static str, postgres: &'static str) -> Self {
        Self { sqlite, postgres }
    }
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }
}

/// One row of an answer. Columns count from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    columns: Vec<Value>,
}

impl Row {
    pub(crate) const fn new(columns: Vec<Value>) -> Self {
        Self { columns }
    }

    /// The raw column.
    pub fn value(&self, column: usize) -> Result<&Value, DbError> {
        self.columns.get(column).ok_or_else(|| DbError::UnexpectedRow(format!("there is no column {column} among {}", self.columns.len())))
    }

    fn unexpected(column: usize, wanted: &str, found: &Value) -> DbError {
        DbError::UnexpectedRow(format!("column {column} is {}, not {wanted}", found.class()))
    }

    /// A text column.
    pub fn text(&self, column: usize) -> Result<&str, DbError> {
        match self.value(column)? {
            Value::Text(text) => Ok(text),
            other => Err(Self::unexpected(column, "text", other)),
        }
    }

    /// An integer column.
    pub fn int(&self, column: usize) -> Result<i64, DbError> {
        match self.value(column)? {
            Value::Integer(integer) => Ok(*integer),
            other => Err(Self::unexpected(column, "an integer", other)),
        }
    }

    /// A column of bytes.
    pub fn blob(&self, column: usize) -> Result<&[u8], DbError> {
        match self.value(column)? {
            Value::Blob(bytes) => Ok(bytes),
            other => Err(Self::unexpected(column, "bytes", other)),
        }
    }

    fn is_null(&self, column: usize) -> Result<bool, DbError> {
        Ok(*self.value(column)? == Value::Null)
    }

    /// A text column, or NULL.
    pub fn opt_text(&self, column: usize) -> Result<Option<&str>, DbError> {
        if self.is_null(column)? { Ok(None) } else { self.text(column).map(Some) }
    }

    /// An integer column, or NULL.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, DbError> {
        if self.is_null(column)? { Ok(None) } else { self.int(column).map(Some) }
    }

    /// A column of bytes, or NULL.
    pub fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>, DbError> {
        if self.is_null(column)? { Ok(None) } else { self.blob(column).map(Some) }
    }

    /// A column kept as 0 or 1.
    pub fn bool(&self, column: usize) -> Result<bool, DbError> {
        match self.int(column)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DbError::UnexpectedRow(format!("column {column} is {other}, not 0 or 1"))),
        }
    }

    /// A moment kept as microseconds since the Unix epoch.
    pub fn time(&self, column: usize) -> Result<Timestamp, DbError> {
        let micros = self.int(column)?;
        Timestamp::from_micros(micros).ok_or_else(|| DbError::UnexpectedRow(format!("column {column} is {micros}, which is no moment")))
    }

    /// A text column, parsed.
    pub fn parse<T: FromStr>(&self, column: usize) -> Result<T, DbError>
    where
        T::Err: fmt::Display,
    {
        self.text(column)?.parse().map_err(|e: T::Err| DbError::UnexpectedRow(format!("column {column}: {e}")))
    }

    /// A text column, parsed, or NULL.
    pub fn opt_parse<T: FromStr>(&self, column: usize) -> Result<Option<T>, DbError>
    where
        T::Err: fmt::Display,
    {
        if self.is_null(column)? { Ok(None) } else { self.parse(column).map(Some) }
    }
}
