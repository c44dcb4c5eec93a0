//! A table of captures as Apache Parquet, for data frames and databases that read types.
//!
//! In: rows and their columns. Out: one file, in row groups of [`ROWS_A_GROUP`], so that no more than
//! one of them is in memory. Parquet has no comments on columns: what each is stands in the file's
//! key-value metadata, see `docs/exports.md`.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::{Map, Value};

use super::log::{Cell, CellKind, LogColumn, LogTable};

/// Rows that a group has, but for the last.
pub const ROWS_A_GROUP: usize = 1 << 17;

/// Which version of their columns the tables have. Columns may be added within one.
const SCHEMA_VERSION: u32 = 1;

/// Writes a table of these rows. `cell` is a row's value in a column.
pub(super) fn write<'a, F, R: Copy>(
    table: &LogTable<F>,
    mut rows: impl Iterator<Item = R>,
    cell: impl Fn(R, &F) -> Cell<'a>,
    file: BufWriter<impl Write + Send>,
) -> io::Result<()> {
    let write = || -> Result<(), ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(ROWS_A_GROUP))
            .set_key_value_metadata(Some(metadata(table)))
            .build();
        let schema = Arc::new(parse_message_type(&schema(table))?);
        let mut file = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
        loop {
            let rows: Vec<R> = rows.by_ref().take(ROWS_A_GROUP).collect();
            if rows.is_empty() {
                break;
            }
            let mut group = file.next_row_group()?;
            for (column, of) in table.cells() {
                let Some(mut writer) = group.next_column()? else {
                    break;
                };
                write_column(&mut writer, column, rows.iter().map(|row| cell(*row, of)))?;
                writer.close()?;
            }
            group.close()?;
        }
        file.close()?;
        Ok(())
    };
    write().map_err(io::Error::other)
}

/// The table's columns in the language of Parquet's schemas.
fn schema<F>(table: &LogTable<F>) -> String {
    let mut schema = format!("message {} {{", table.name);
    for column in table.columns() {
        let repetition = match column.optional {
            true => "optional",
            false => "required",
        };
        let (physical, logical) = match column.kind {
            CellKind::Text => ("BYTE_ARRAY", " (STRING)"),
            CellKind::Flag => ("BOOLEAN", ""),
            CellKind::Time => ("INT64", " (TIMESTAMP(NANOS,true))"),
            CellKind::Small => ("INT32", " (INTEGER(32,false))"),
            CellKind::Number => ("INT64", " (INTEGER(64,false))"),
        };
        // Writing to a text does not fail.
        let _ = write!(schema, " {repetition} {physical} {}{logical};", column.name);
    }
    schema + " }"
}

/// What the file says of itself.
fn metadata<F>(table: &LogTable<F>) -> Vec<KeyValue> {
    let columns = table.columns();
    let columns: Map<String, Value> = columns
        .map(|column| (column.name.to_owned(), Value::from(column.about)))
        .collect();
    let schema = format!("wirewatt-{}/{SCHEMA_VERSION}", table.name);
    let entry = |key: &str, value: String| KeyValue::new(format!("wirewatt.{key}"), value);
    vec![
        entry("schema", schema),
        entry("version", env!("CARGO_PKG_VERSION").to_owned()),
        entry("row", table.about.to_owned()),
        entry("columns", Value::Object(columns).to_string()),
    ]
}

fn write_column<'a>(
    writer: &mut SerializedColumnWriter<'_>,
    column: &LogColumn,
    cells: impl Iterator<Item = Cell<'a>>,
) -> Result<(), ParquetError> {
    // Parquet stores unsigned numbers as the signed ones with the same bits.
    match column.kind {
        CellKind::Text => write_values::<ByteArrayType>(writer, column, cells, |cell| match cell {
            Cell::Text(text) => Some(ByteArray::from(text.as_ref())),
            _ => None,
        }),
        CellKind::Flag => write_values::<BoolType>(writer, column, cells, |cell| match cell {
            Cell::Flag(flag) => Some(flag),
            _ => None,
        }),
        CellKind::Time => write_values::<Int64Type>(writer, column, cells, |cell| match cell {
            Cell::Time(time) => Some(time.as_nanos()),
            _ => None,
        }),
        CellKind::Small => write_values::<Int32Type>(writer, column, cells, |cell| match cell {
            Cell::Small(number) => Some(number.cast_signed()),
            _ => None,
        }),
        CellKind::Number => write_values::<Int64Type>(writer, column, cells, |cell| match cell {
            Cell::Number(number) => Some(number.cast_signed()),
            _ => None,
        }),
    }
}

/// Writes a group's cells of a column: the values of those that have one, and which these are.
fn write_values<'a, T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    column: &LogColumn,
    cells: impl Iterator<Item = Cell<'a>>,
    value: impl Fn(Cell<'a>) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let (mut values, mut present) = (Vec::new(), Vec::new());
    for cell in cells {
        let value = value(cell);
        present.push(i16::from(value.is_some()));
        values.extend(value);
    }
    let present = column.optional.then_some(present.as_slice());
    writer
        .typed::<T>()
        .write_batch(&values, present, None)
        .map(|_| ())
}
