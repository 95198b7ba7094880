//! Tables as Parquet: written group by group, so that a table of any length needs the memory of one group.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use crate::model::table::{Cell, Column, Kind};

/// Most rows of a group.
pub(super) const GROUP_ROWS_MAX: usize = 10_000;
/// Bytes of cells that close a group.
pub(super) const GROUP_BYTES_MAX: usize = 8 << 20;
/// The largest decimal of a 64-bit number; larger ones are bytes.
const BYTES_MAX: usize = 16;

/// A file on its way.
pub(super) struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: &'static [Column],
    rows: Vec<Vec<Cell>>,
    bytes: usize,
}

impl<W: Write + Send> ParquetFile<W> {
    /// Begins a file.
    pub(super) fn new(sink: W, columns: &'static [Column]) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).set_created_by("creto".to_owned()).build();
        let writer = SerializedFileWriter::new(sink, schema(columns)?, Arc::new(properties))?;
        Ok(Self { writer, columns, rows: Vec::new(), bytes: 0 })
    }

    /// Adds a row; writes a group where that makes it full.
    pub(super) fn push(&mut self, row: Vec<Cell>) -> Result<(), ParquetError> {
        self.bytes += row.iter().map(Cell::bytes).sum::<usize>();
        self.rows.push(row);
        if self.rows.len() >= GROUP_ROWS_MAX || self.bytes >= GROUP_BYTES_MAX { self.close_group() } else { Ok(()) }
    }

    /// Writes what is left, and the footer.
    pub(super) fn finish(&mut self) -> Result<(), ParquetError> {
        if !self.rows.is_empty() {
            self.close_group()?;
        }
        self.writer.finish()?;
        self.writer.inner_mut().flush()?;
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), ParquetError> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let mut group = self.writer.next_row_group()?;
        for (at, column) in self.columns.iter().enumerate() {
            let missing = || ParquetError::General(format!("`{}` has no column", column.name));
            let mut writer = group.next_column()?.ok_or_else(missing)?;
            let cells = rows.iter().map(|row| row.get(at).unwrap_or(&Cell::Nothing));
            put(&mut writer, *column, cells)?;
            writer.close()?;
        }
        group.close()?;
        self.writer.flush()?;
        Ok(())
    }
}

fn schema(columns: &[Column]) -> Result<TypePtr, ParquetError> {
    let fields = columns.iter().map(|column| field(*column).map(Arc::new)).collect::<Result<_, _>>()?;
    Type::group_type_builder("rows").with_fields(fields).build().map(Arc::new)
}

fn field(column: Column) -> Result<Type, ParquetError> {
    let (physical, logical) = match column.kind {
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Integer => (Physical::INT64, None),
        Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        Kind::Decimal { precision, scale } => {
            (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::decimal(signed(scale)?, signed(precision)?)))
        }
    };
    let repetition = if column.required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
    let builder = Type::primitive_type_builder(column.name, physical).with_repetition(repetition).with_logical_type(logical);
    match column.kind {
        Kind::Decimal { precision, scale } => builder
            .with_length(i32::try_from(decimal_bytes(precision)).unwrap_or(i32::MAX))
            .with_precision(signed(precision)?)
            .with_scale(signed(scale)?)
            .build(),
        _ => builder.build(),
    }
}

fn signed(digits: u32) -> Result<i32, ParquetError> {
    i32::try_from(digits).map_err(|e| ParquetError::General(e.to_string()))
}

/// How many bytes hold every number of so many digits, with its sign.
const fn decimal_bytes(precision: u32) -> usize {
    let mut bytes = 1;
    while bytes < BYTES_MAX && 10_u128.pow(precision) > 1 << (8 * bytes - 1) {
        bytes += 1;
    }
    bytes
}

fn put<'a>(writer: &mut SerializedColumnWriter<'_>, column: Column, cells: impl Iterator<Item = &'a Cell>) -> Result<(), ParquetError> {
    match column.kind {
        Kind::Text => write::<ByteArrayType>(writer, column, cells, |cell| match cell {
            Cell::Text(text) => Some(ByteArray::from(text.as_str())),
            _ => None,
        }),
        Kind::Integer | Kind::Time => write::<Int64Type>(writer, column, cells, |cell| match cell {
            Cell::Integer(number) => Some(*number),
            Cell::Time(at) => Some(at.as_micros()),
            _ => None,
        }),
        Kind::Decimal { precision, .. } => {
            let from = BYTES_MAX - decimal_bytes(precision);
            write::<FixedLenByteArrayType>(writer, column, cells, |cell| match cell {
                Cell::Decimal(unscaled) => unscaled.to_be_bytes().get(from..).map(|bytes| FixedLenByteArray::from(bytes.to_vec())),
                _ => None,
            })
        }
    }
}

/// The values of a column, and for each row of one that may be empty whether it has one.
fn write<'a, T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    column: Column,
    cells: impl Iterator<Item = &'a Cell>,
    value: impl Fn(&Cell) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        let value = value(cell);
        if value.is_none() && (column.required || *cell != Cell::Nothing) {
            return Err(ParquetError::General(format!("`{}` holds {cell:?}, which is no value of it", column.name)));
        }
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    let levels = (!column.required).then_some(levels.as_slice());
    writer.typed::<T>().write_batch(&values, levels, None).map(|_| ())
}

#[cfg(test)]
mod tests {
    use creto_kernel::{Micros, Timestamp};
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    use super::*;

    const COLUMNS: &[Column] =
        &[Column::integer("seq"), Column::text("name"), Column::money("cost"), Column::units("units"), Column::time("at").maybe()];

    /// What the file says, by the reader of the crate.
    fn read(bytes: Vec<u8>) -> SerializedFileReader<bytes::Bytes> {
        SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap()
    }

    #[test]
    fn every_kind_is_read_as_it_was_written() {
        let at: Timestamp = "2026-11-28T10:00:00.000001Z".parse().unwrap();
        let mut bytes = Vec::new();
        let mut file = ParquetFile::new(&mut bytes, COLUMNS).unwrap();
        let units = Cell::units(&"-1.25".parse().unwrap());
        file.push(vec![1.into(), "é,\"".into(), Micros::new(i64::MIN).into(), units, at.into()]).unwrap();
        file.push(vec![2.into(), "".into(), Micros::MAX.into(), Cell::Nothing, Cell::Nothing]).unwrap();
        file.finish().unwrap();
        drop(file);
        let reader = read(bytes);
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
        assert_eq!(
            rows,
            [
                "{seq: 1, name: \"é,\"\", cost: -9223372036854.775808, units: -1.250000000000, at: 2026-11-28 10:00:00.000001 +00:00}",
                "{seq: 2, name: \"\", cost: 9223372036854.775807, units: null, at: null}",
            ]
        );
        let first = reader.get_row_iter(None).unwrap().next().unwrap().unwrap();
        let moment = first.get_column_iter().find(|(name, _)| *name == "at").map(|(_, field)| field.clone());
        assert_eq!(moment, Some(Field::TimestampMicros(at.as_micros())));
    }

    #[test]
    fn a_file_keeps_at_most_one_group_in_memory() {
        let (mut bytes, mut most) = (Vec::new(), 0);
        let mut file = ParquetFile::new(&mut bytes, COLUMNS).unwrap();
        let large = "x".repeat(64 << 10);
        let rows = 2 * GROUP_ROWS_MAX + 300;
        for seq in 0..rows {
            let name = if seq < 300 { large.clone() } else { "small".to_owned() };
            file.push(vec![i64::try_from(seq).unwrap().into(), name.into(), Micros::ZERO.into(), Cell::Nothing, Cell::Nothing]).unwrap();
            most = most.max(file.bytes);
            assert!(file.rows.len() < GROUP_ROWS_MAX);
        }
        file.finish().unwrap();
        drop(file);
        assert!(most < GROUP_BYTES_MAX, "{most}");
        let reader = read(bytes);
        let groups: Vec<_> = reader.metadata().row_groups().iter().map(|group| usize::try_from(group.num_rows()).unwrap()).collect();
        assert_eq!(groups.iter().sum::<usize>(), rows);
        assert!(groups.len() > 4 && groups.iter().all(|rows| *rows <= GROUP_ROWS_MAX), "{groups:?}");
    }

    #[test]
    fn a_cell_of_another_kind_is_refused() {
        let mut bytes = Vec::new();
        let mut file = ParquetFile::new(&mut bytes, COLUMNS).unwrap();
        file.push(vec![1.into(), Cell::Nothing, Micros::ZERO.into(), Cell::Nothing, Cell::Nothing]).unwrap();
        assert!(file.finish().is_err(), "a required column lacks its value");
    }

    #[test]
    fn a_decimal_has_as_many_bytes_as_its_digits_need() {
        assert_eq!([1, 2, 3, 18, 19, 21, 22, 38].map(decimal_bytes), [1, 1, 2, 8, 9, 9, 10, 16]);
    }
}
