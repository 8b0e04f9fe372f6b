//! Small tables of which all rows are known: each column is as wide as its widest cell.

/// A table with its header. A column whose name begins with `>` is of numbers: they stand at its right side.
#[must_use]
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let names = header.map(|name| name.trim_start_matches('>').to_owned());
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().chain([&names]).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(column, cell)| match header[column].starts_with('>') {
            true => format!("{cell:>width$}", width = widths[column]),
            false => format!("{cell:<width$}", width = widths[column]),
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    std::iter::once(&names).chain(rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["ü".to_owned(), "1".to_owned()], ["long".to_owned(), "12,000".to_owned()]];
        assert_eq!(table(["name", ">rows"], &rows), "name    rows\nü          1\nlong  12,000\n");
        assert_eq!(table(["name", ">rows"], &[]), "name  rows\n");
    }
}
