//! Reads PostgreSQL's binary rows as the four storage classes both engines share.

use sqlx::postgres::{PgRow, PgValueFormat, PgValueRef};
use sqlx::{Column, Row as _, TypeInfo, ValueRef};

use crate::error::StepError;
use crate::value::{Row, Value};

pub(super) fn row(row: &PgRow) -> Result<Row, StepError> {
    (0..row.len()).map(|column| value(row, column)).collect::<Result<_, _>>().map(Row::new)
}

fn value(row: &PgRow, column: usize) -> Result<Value, StepError> {
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = row.column(column).type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INT8" => Value::Integer(row.try_get(column)?),
        "INT4" => Value::Integer(i64::from(row.try_get::<i32, _>(column)?)),
        "INT2" => Value::Integer(i64::from(row.try_get::<i16, _>(column)?)),
        "BOOL" => Value::Integer(i64::from(row.try_get::<bool, _>(column)?)),
        "NUMERIC" => Value::Integer(integral(&raw)?),
        "TEXT" | "VARCHAR" | "NAME" => Value::Text(row.try_get(column)?),
        "BYTEA" => Value::Blob(row.try_get(column)?),
        "VOID" => Value::Null,
        other => return Err(StepError::Invalid(format!("column {column} is of type {other}; use BIGINT, TEXT or BYTEA"))),
    })
}

fn integral(raw: &PgValueRef<'_>) -> Result<i64, StepError> {
    let bytes = match raw.format() {
        PgValueFormat::Binary => raw.as_bytes().map_err(|e| StepError::Invalid(e.to_string()))?,
        PgValueFormat::Text => return Err(StepError::Invalid("a NUMERIC column came as text".to_owned())),
    };
    numeric(bytes).ok_or_else(|| StepError::Invalid("a NUMERIC column is not a 64-bit integer; cast it".to_owned()))
}

/// A NUMERIC without fraction: `sum` over BIGINT answers one. Binary form (`numeric_send`): counts of base-10000 digits, weight of the
/// first, sign, scale, then the digits, all 16 bits big-endian.
fn numeric(bytes: &[u8]) -> Option<i64> {
    let mut words = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(u16::from_be_bytes);
    let (count, weight, sign, _scale) = (words.next()?, words.next()?.cast_signed(), words.next()?, words.next()?);
    let mut value: i128 = 0;
    for position in 0..i32::from(count).max(i32::from(weight) + 1) {
        let digit = if position < i32::from(count) { i128::from(words.next()?) } else { 0 };
        if position > i32::from(weight) {
            if digit != 0 {
                return None;
            }
        } else {
            value = value.checked_mul(10_000)?.checked_add(digit)?;
        }
    }
    match sign {
        0x0000 => i64::try_from(value).ok(),
        0x4000 => i64::try_from(-value).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::numeric;

    fn encode(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_be_bytes()).collect()
    }

    #[test]
    fn whole_numbers_are_read_and_others_refused() {
        for (words, expected) in [
            (&[0, 0, 0, 0][..], Some(0)),
            (&[1, 0, 0, 0, 42], Some(42)),
            (&[1, 0, 0x4000, 0, 42], Some(-42)),
            (&[1, 1, 0, 0, 7], Some(70_000)),
            (&[2, 1, 0, 2, 7, 5], Some(70_005)),
            (&[5, 4, 0, 0, 922, 3372, 368, 5477, 5807], Some(i64::MAX)),
            (&[5, 4, 0, 0, 922, 3372, 368, 5477, 5808], None),
            (&[5, 4, 0x4000, 0, 922, 3372, 368, 5477, 5808], Some(i64::MIN)),
            (&[2, 0, 0, 1, 1, 5000], None),
            (&[1, 0, 0xC000, 0, 1], None),
            (&[2, 0, 0, 0, 1], None),
            (&[0, 0], None),
        ] {
            assert_eq!(numeric(&encode(words)), expected, "{words:?}");
        }
    }
}
