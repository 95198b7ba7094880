//! Tables as CSV (RFC 4180), in UTF-8. Nothing is an empty cell, empty text a quoted one.

use crate::model::table::{Cell, Column, Kind, decimal_text};

/// The line of headings.
pub fn heading(out: &mut Vec<u8>, columns: &[Column]) {
    line(out, columns.iter().map(|column| column.name.to_owned()));
}

/// One row.
pub fn row(out: &mut Vec<u8>, columns: &[Column], cells: &[Cell]) {
    line(out, columns.iter().zip(cells).map(|(column, cell)| shown(*column, cell)));
}

fn shown(column: Column, cell: &Cell) -> String {
    match cell {
        Cell::Nothing => String::new(),
        Cell::Text(value) => quoted(&text(value)),
        Cell::Integer(number) => number.to_string(),
        Cell::Decimal(unscaled) => match column.kind {
            Kind::Decimal { scale, .. } => decimal_text(*unscaled, scale),
            _ => unscaled.to_string(),
        },
        Cell::Time(at) => at.to_string(),
    }
}

/// Text that somebody may have chosen: a spreadsheet must not take it for a formula.
fn text(value: &str) -> String {
    if value.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{value}") } else { value.to_owned() }
}

fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn line(out: &mut Vec<u8>, cells: impl Iterator<Item = String>) {
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(cell.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use creto_kernel::Micros;

    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_never_formulas() {
        let columns = [Column::text("a"), Column::text("b"), Column::text("c"), Column::text("d"), Column::text("e"), Column::money("f")];
        let cells = ["plain", "a,b", "say \"hi\"", "=1+1", ""].map(Cell::from);
        let mut out = Vec::new();
        heading(&mut out, &columns);
        row(&mut out, &columns, &[&cells[..], &[Micros::new(-12_500_000).into()]].concat());
        row(&mut out, &columns, &[Cell::Nothing, "-".into()]);
        assert_eq!(String::from_utf8(out).unwrap(), "a,b,c,d,e,f\r\nplain,\"a,b\",\"say \"\"hi\"\"\",'=1+1,\"\",-12.5\r\n,'-\r\n");
    }
}
