//! Header match: which cell of a file fills which column of the table.
//!
//! Files are bound by name, never by position: Microsoft's lists are alphabetical while the files are not, and
//! new columns appear on the right.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Kind, Result};
use crate::model::{Currency, CurrencyCell, DatasetName, MoneyCell};

use super::dataset::{Column, Dataset, Version};

/// How many names an error message lists before it only counts.
const NAMES_IN_MESSAGE: usize = 8;

/// A header that was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The version whose columns the header resembles most.
    pub version: u32,
    /// For each business column of the table: index of its source cell.
    pub cells: Vec<Option<usize>>,
    /// How many cells the header has; every record must have as many.
    pub width: usize,
    /// Cells that no column takes, with their names made unique; they are kept in `_pc_extra`.
    pub unknown: Vec<(usize, String)>,
    /// Published names of today's columns that the header lacks; they become null.
    pub missing: Vec<String>,
    /// Headers that mean a column which another header already fills.
    pub duplicates: Vec<Duplicate>,
}

/// Two headers for one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    pub column: String,
    /// The cell that fills the column: the one whose header is spelled exactly as published, else the first.
    pub used: usize,
    /// The cell that went to `_pc_extra` instead.
    pub extra: usize,
}

/// What the header of another dataset needs to have.
#[derive(Debug, Clone)]
pub(super) struct Other {
    name: DatasetName,
    required: Vec<Column>,
}

/// The form in which headers are compared: without BOM, outer blanks, case, spaces, `_`, `-` and `/`.
///
/// ```
/// # use payoutlake::schema::comparable_name;
/// assert_eq!(comparable_name("\u{feff}Program Code"), comparable_name("programCode"));
/// assert_eq!(comparable_name("Country / Region"), "countryregion");
/// ```
#[must_use]
pub fn comparable_name(header: &str) -> String {
    header
        .trim_start_matches('\u{feff}')
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '_' | '-' | '/'))
        .flat_map(char::to_lowercase)
        .collect()
}

impl Other {
    pub fn of(dataset: &Dataset) -> Self {
        let required = must_have(dataset).cloned().collect();
        Other { name: dataset.name.clone(), required }
    }
}

/// Columns without which a file is not one of this dataset: those that are never blank, and the key. Without a key
/// column different rows would look like one.
fn must_have(dataset: &Dataset) -> impl Iterator<Item = &Column> {
    dataset.newest().columns.iter().filter(|column| column.required || dataset.key.contains(&column.name))
}

/// A file's header, ready to be compared.
struct Header {
    /// As printed, without BOM and outer blanks.
    printed: Vec<String>,
    comparable: Vec<String>,
}

impl Header {
    fn new(header: &[impl AsRef<str>]) -> Self {
        let printed: Vec<String> = header
            .iter()
            .map(|cell| cell.as_ref().trim_start_matches('\u{feff}').trim().to_owned())
            .collect();
        let comparable = printed.iter().map(|name| comparable_name(name)).collect();
        Header { printed, comparable }
    }

    /// The cells that are this column's own, best first: published name before `also`, exact spelling before
    /// others, left before right.
    fn own_cells(&self, column: &Column) -> Vec<usize> {
        let spellings: Vec<&String> = std::iter::once(&column.published).chain(&column.also).collect();
        let comparable: Vec<String> = spellings.iter().map(|spelling| comparable_name(spelling)).collect();
        let mut ranked = Vec::new();
        for (index, name) in self.comparable.iter().enumerate() {
            let Some(place) = comparable.iter().position(|spelling| spelling == name) else {
                continue;
            };
            let exact = spellings.contains(&&self.printed[index]);
            ranked.push((place, !exact, index));
        }
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, _, index)| index).collect()
    }

    fn fallback_cell(&self, column: &Column) -> Option<usize> {
        column.falls_back_to.iter().find_map(|spelling| {
            let wanted = comparable_name(spelling);
            self.comparable.iter().position(|comparable| *comparable == wanted)
        })
    }

    fn has(&self, column: &Column) -> bool {
        !self.own_cells(column).is_empty() || self.fallback_cell(column).is_some()
    }

    /// How much of the header and the version's live columns agree, as a fraction (agreeing, all).
    fn overlap(&self, version: &Version) -> (usize, usize) {
        let live = || version.columns.iter().filter(|column| column.retired.is_none());
        let agreeing = live().filter(|column| self.has(column)).count();
        (agreeing, live().count() + self.printed.len() - agreeing.min(self.printed.len()))
    }
}

impl HeaderMatch {
    /// Where the money of the table stands in a row of the file: what a count of its text needs to know.
    #[must_use]
    pub fn money_cells(&self, dataset: &Dataset) -> Vec<MoneyCell> {
        let columns = || dataset.newest().columns.iter().zip(&self.cells);
        let cell_of =
            |name: &str| columns().find(|(column, _)| column.name == name).and_then(|(_, cell)| *cell);
        let money = columns().filter_map(|(column, cell)| {
            let currency = match column.currency.as_ref()? {
                Currency::Fixed(code) => CurrencyCell::Fixed(code.clone()),
                Currency::Column(name) => CurrencyCell::At(cell_of(name)?),
            };
            Some(MoneyCell { column: column.name.clone(), amount: (*cell)?, currency })
        });
        money.collect()
    }
}

impl Dataset {
    /// Binds a header to the table's columns.
    ///
    /// # Errors
    /// [`Kind::Contract`] when a column that every file of the dataset has is missing, or money comes without the
    /// column of its currency. The message names the closest version, what differs, and the dataset whose file it
    /// seems to be.
    pub fn match_header(&self, header: &[impl AsRef<str>]) -> Result<HeaderMatch> {
        let header = Header::new(header);
        let columns = &self.newest().columns;
        let mut cells = Vec::with_capacity(columns.len());
        let mut duplicates = Vec::new();
        for column in columns {
            let own = header.own_cells(column);
            if let Some((&used, others)) = own.split_first() {
                let column = &column.name;
                duplicates.extend(others.iter().map(|&extra| Duplicate {
                    column: column.clone(),
                    used,
                    extra,
                }));
            }
            cells.push(own.first().copied().or_else(|| header.fallback_cell(column)));
        }
        let missing = columns
            .iter()
            .zip(&cells)
            .filter(|(column, cell)| cell.is_none() && column.retired.is_none())
            .map(|(column, _)| column.published.clone())
            .collect();
        let found = HeaderMatch {
            version: self.closest_version(&header),
            width: header.printed.len(),
            unknown: unknown_cells(&header.printed, &cells),
            cells,
            missing,
            duplicates,
        };
        self.refuse_foreign(&header, &found)?;
        self.refuse_money_without_currency(&found)?;
        Ok(found)
    }

    fn closest_version(&self, header: &Header) -> u32 {
        let mut best = (0, 1, self.newest().number);
        // Newest first, so that it wins when two resemble the header equally.
        for version in self.versions.iter().rev() {
            let (agreeing, all) = header.overlap(version);
            if agreeing * best.1 > best.0 * all {
                best = (agreeing, all, version.number);
            }
        }
        best.2
    }

    fn refuse_foreign(&self, header: &Header, found: &HeaderMatch) -> Result<()> {
        let lacking: Vec<&str> = must_have(self)
            .filter(|column| !header.has(column))
            .map(|column| column.published.as_str())
            .collect();
        let foreign: Vec<&str> = self
            .foreign
            .iter()
            .filter(|name| header.comparable.contains(&comparable_name(name)))
            .map(String::as_str)
            .collect();
        if lacking.is_empty() && foreign.is_empty() {
            return Ok(());
        }
        let unknown: Vec<&str> = found.unknown.iter().map(|(_, name)| name.as_str()).collect();
        let error = Error::new(
            Kind::Contract,
            format!("the header is not one of dataset '{}'; nothing was taken from the file", self.name),
        )
        .with("closest version", found.version)
        .with("missing", listed(&lacking))
        .with("belongs to another report", listed(&foreign))
        .with("unknown", listed(&unknown));
        let other = self.others.iter().find(|other| other.required.iter().all(|column| header.has(column)));
        Err(match other {
            Some(other) => error
                .with("looks like", &other.name)
                .hint(format!("This looks like a file of dataset '{}': load it as that one.", other.name)),
            None => error.hint(
                "Check that the file is a complete export with its header in the first row, \
                 or add a version of the schema that knows its names.",
            ),
        })
    }

    fn refuse_money_without_currency(&self, found: &HeaderMatch) -> Result<()> {
        let columns = &self.newest().columns;
        let present = |name: &str| {
            columns.iter().zip(&found.cells).any(|(column, cell)| column.name == name && cell.is_some())
        };
        for (column, cell) in columns.iter().zip(&found.cells) {
            if let (Some(Currency::Column(currency)), Some(_)) = (&column.currency, cell)
                && !present(currency)
            {
                let currency = self.newest().column(currency).map_or(currency, |column| &column.published);
                return Err(Error::new(
                    Kind::Contract,
                    format!(
                        "the file has money without its currency: '{}' is there and '{currency}' is not; \
                         nothing was taken from the file",
                        column.published
                    ),
                )
                .with("dataset", &self.name)
                .hint(format!("Export the file again with the column '{currency}'.")));
            }
        }
        Ok(())
    }
}

/// Cells that fill no column, under names that differ from each other (they become the keys of one JSON object).
fn unknown_cells(printed: &[String], cells: &[Option<usize>]) -> Vec<(usize, String)> {
    let used: BTreeSet<usize> = cells.iter().flatten().copied().collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut unknown = Vec::new();
    for (index, name) in printed.iter().enumerate().filter(|(index, _)| !used.contains(index)) {
        let name = if name.is_empty() { format!("column {}", index + 1) } else { name.clone() };
        let times = seen.entry(name.clone()).or_default();
        *times += 1;
        unknown.push((index, if *times == 1 { name } else { format!("{name} ({times})") }));
    }
    unknown
}

fn listed(names: &[&str]) -> String {
    match names.len() {
        0 => "none".to_owned(),
        count if count > NAMES_IN_MESSAGE => {
            format!("{} and {} more", names[..NAMES_IN_MESSAGE].join(", "), count - NAMES_IN_MESSAGE)
        }
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;

    fn cell_of(dataset: &Dataset, found: &HeaderMatch, name: &str) -> Option<usize> {
        let index = dataset.newest().columns.iter().position(|column| column.name == name).unwrap();
        found.cells[index]
    }

    const PAYMENTS_2019: [&str; 15] = [
        "\u{feff}participantID",
        "participantIDType",
        "participantName",
        "programName",
        "earned",
        "earnedUSD",
        "withheldTax",
        "salesTax",
        "totalPayment",
        "currencyCode",
        "paymentMethod",
        "paymentID",
        "paymentStatus",
        "paymentStatusDescription",
        "paymentDate",
    ];

    const EARNINGS: [&str; 10] = [
        "earningId",
        "participantId",
        "programName",
        "earningType",
        "earningAmount",
        "earningAmountUSD",
        "earningDate",
        "paymentStatus",
        "transactionCurrency",
        "Program Code",
    ];

    #[test]
    fn one_old_currency_column_fills_both_new_ones() {
        let registry = Registry::built_in().unwrap();
        let payments = registry.dataset("payments").unwrap();
        let found = payments.match_header(&PAYMENTS_2019).unwrap();
        assert_eq!(cell_of(payments, &found, "participant_id"), Some(0));
        assert_eq!(cell_of(payments, &found, "earned_currency_code"), Some(9));
        assert_eq!(cell_of(payments, &found, "payment_currency_code"), Some(9));
        assert!(found.unknown.is_empty() && found.duplicates.is_empty());
        assert_eq!(found.missing, ["CIReferenceNumber", "serviceFeeTax"]);
    }

    #[test]
    fn order_case_and_blanks_do_not_matter() {
        let registry = Registry::built_in().unwrap();
        let earnings = registry.dataset("transaction_history").unwrap();
        let plain = earnings.match_header(&EARNINGS).unwrap();
        let mut shuffled: Vec<String> =
            EARNINGS.iter().map(|name| format!(" {} ", name.to_uppercase().replace(' ', "_"))).collect();
        shuffled.reverse();
        let found = earnings.match_header(&shuffled).unwrap();
        let mirrored: Vec<_> = plain.cells.iter().map(|cell| cell.map(|index| 9 - index)).collect();
        assert_eq!(found.cells, mirrored);
    }

    #[test]
    fn of_two_headers_for_one_column_the_exact_spelling_wins() {
        let registry = Registry::built_in().unwrap();
        let earnings = registry.dataset("transaction_history").unwrap();
        let mut header = EARNINGS.to_vec();
        header.extend([
            "Customer Country",
            "customerCountry",
            "TenantID",
            "customerTenantId",
            "",
            "new",
            "new",
        ]);
        let found = earnings.match_header(&header).unwrap();
        assert_eq!(cell_of(earnings, &found, "customer_country"), Some(11));
        assert_eq!(cell_of(earnings, &found, "customer_tenant_id"), Some(13));
        let extra: Vec<_> = found.unknown.iter().map(|(cell, name)| (*cell, name.as_str())).collect();
        assert_eq!(
            extra,
            [(10, "Customer Country"), (12, "TenantID"), (14, "column 15"), (15, "new"), (16, "new (2)")]
        );
        let used: Vec<_> = found.duplicates.iter().map(|d| (d.column.as_str(), d.used, d.extra)).collect();
        assert_eq!(used, [("customer_tenant_id", 13, 12), ("customer_country", 11, 10)]);
    }

    #[test]
    fn a_file_of_another_dataset_is_refused_by_name() {
        let registry = Registry::built_in().unwrap();
        let error =
            registry.dataset("transaction_history").unwrap().match_header(&PAYMENTS_2019).unwrap_err();
        assert_eq!(error.kind(), Kind::Contract);
        let printed = format!("{error:#}");
        assert!(printed.contains("looks like: payments"), "{printed}");
        assert!(printed.contains("missing: earningId"), "{printed}");
        assert!(printed.contains("closest version: 9"), "{printed}");
        let nothing: [&str; 0] = [];
        assert_eq!(
            registry.dataset("payments").unwrap().match_header(&nothing).unwrap_err().kind(),
            Kind::Contract
        );
    }

    #[test]
    fn a_growth_report_is_refused_although_it_has_all_columns() {
        let registry = Registry::built_in().unwrap();
        let mut header = EARNINGS.to_vec();
        header.push("Transaction Month");
        let error = registry.dataset("transaction_history").unwrap().match_header(&header).unwrap_err();
        assert_eq!(error.kind(), Kind::Contract);
        assert!(format!("{error:#}").contains("belongs to another report: transactionMonth"), "{error:#}");
    }

    #[test]
    fn money_without_a_currency_column_is_refused() {
        let registry = Registry::built_in().unwrap();
        let earnings = registry.dataset("transaction_history").unwrap();
        let header: Vec<&str> = EARNINGS.into_iter().filter(|name| *name != "transactionCurrency").collect();
        let error = earnings.match_header(&header).unwrap_err();
        assert_eq!(error.kind(), Kind::Contract);
        assert!(
            error.message().contains("'earningAmount' is there and 'transactionCurrency' is not"),
            "{error}"
        );
    }
}
