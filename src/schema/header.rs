//! Header match: which cell of a file fills which column of the table.
//!
//! Files are bound by name, never by position: Microsoft's lists are alphabetical while the files are not, and
//! new columns appear on the right.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Kind, Result};
use crate::model::{Currency, CurrencyCell, MoneyCell};

use super::dataset::{Column, Dataset};
use super::detect::{Candidate, best, candidates};

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
    /// Published names of that version's columns that the header lacks; they become null.
    pub missing: Vec<String>,
    /// Headers that mean a column which another header already fills.
    pub duplicates: Vec<Duplicate>,
    /// The version of another dataset that the header resembles more.
    pub rather: Option<Candidate>,
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

/// The form in which headers are compared: without BOM, outer blanks, case, spaces, `_`, `-` and `/`.
///
/// ```
/// # use payoutlake::schema::comparable_name;
/// assert_eq!(comparable_name("\u{feff}Program Code"), comparable_name("programCode"));
/// assert_eq!(comparable_name("Country / Region"), "countryregion");
/// ```
#[must_use]
pub fn comparable_name(header: &str) -> String {
    let counts = |letter: &char| !letter.is_whitespace() && !matches!(letter, '_' | '-' | '/');
    header.trim_start_matches('\u{feff}').chars().filter(counts).collect::<String>().to_lowercase()
}

/// Columns without which a file is not one of this dataset: those that are never blank, and the key. Without a key
/// column different rows would look like one.
fn must_have(dataset: &Dataset) -> impl Iterator<Item = &Column> {
    dataset.newest().columns.iter().filter(|column| column.required || dataset.key.contains(&column.name))
}

/// A file's header, ready to be compared.
pub(super) struct Header {
    /// As printed, without BOM and outer blanks.
    pub printed: Vec<String>,
    /// The cells of each name in its comparable form.
    cells: BTreeMap<String, Vec<usize>>,
}

impl Header {
    pub fn new(header: &[impl AsRef<str>]) -> Self {
        let printed: Vec<String> = header
            .iter()
            .map(|cell| cell.as_ref().trim_start_matches('\u{feff}').trim().to_owned())
            .collect();
        let mut cells: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, name) in printed.iter().enumerate() {
            cells.entry(comparable_name(name)).or_default().push(index);
        }
        Header { printed, cells }
    }

    /// The cells of a name, in whatever spelling, left before right.
    pub fn cells_of(&self, name: &str) -> &[usize] {
        self.cells.get(&comparable_name(name)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The cells that are this column's own, best first: published name before `also`, exact spelling before
    /// others, left before right.
    pub fn own_cells(&self, column: &Column) -> Vec<usize> {
        let mut own = Vec::new();
        for spelling in column.spellings() {
            let mut cells = self.cells_of(spelling).to_vec();
            cells.retain(|cell| !own.contains(cell));
            cells.sort_by_key(|cell| !column.spellings().any(|exact| *exact == self.printed[*cell]));
            own.extend(cells);
        }
        own
    }

    fn fallback_cell(&self, column: &Column) -> Option<usize> {
        column.falls_back_to.iter().find_map(|header| self.cells_of(header).first().copied())
    }

    fn has(&self, column: &Column) -> bool {
        column.spellings().chain(&column.falls_back_to).any(|header| !self.cells_of(header).is_empty())
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
        let ranked = candidates(&header, std::slice::from_ref(self));
        let Some(own) = ranked.into_iter().next() else {
            return Err(Error::new(Kind::Bug, "a dataset without a version").with("dataset", &self.name));
        };
        let found = HeaderMatch {
            version: own.version,
            width: header.printed.len(),
            unknown: unknown_cells(&header.printed, &cells),
            cells,
            missing: own.missing.clone(),
            duplicates,
            rather: match own.distance() {
                (0, 0) => None,
                distance => best(&header, &self.all)
                    .filter(|other| other.dataset != self.name && other.distance() < distance),
            },
        };
        self.refuse_foreign(&header, &found)?;
        self.refuse_money_without_currency(&header)?;
        Ok(found)
    }

    fn refuse_foreign(&self, header: &Header, found: &HeaderMatch) -> Result<()> {
        let (lacking, foreign) = self.objections(header);
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
        Err(match best(header, &self.all) {
            Some(other) => error
                .with("looks like", &other.dataset)
                .hint(format!("This looks like a file of dataset '{}': load it as that one.", other.dataset)),
            None => error.hint(
                "Check that the file is a complete export with its header in the first row, \
                 or add a version of the schema that knows its names.",
            ),
        })
    }

    /// Published names without which a file is not one of this dataset, and headers that only other reports have.
    pub(super) fn objections(&self, header: &Header) -> (Vec<&str>, Vec<&str>) {
        let lacking = must_have(self).filter(|column| !header.has(column));
        let has = |name: &&String| !header.cells_of(name).is_empty();
        let foreign = self.foreign.iter().filter(has).map(String::as_str);
        (lacking.map(|column| column.published.as_str()).collect(), foreign.collect())
    }

    fn refuse_money_without_currency(&self, header: &Header) -> Result<()> {
        let Some((money, currency)) = self.money_without_currency(header) else { return Ok(()) };
        Err(Error::new(
            Kind::Contract,
            format!(
                "the file has money without its currency: '{money}' is there and '{currency}' is not; \
                 nothing was taken from the file"
            ),
        )
        .with("dataset", &self.name)
        .hint(format!("Export the file again with the column '{currency}'.")))
    }

    /// Published names of a money column that the header has, and of its currency, which it lacks.
    pub(super) fn money_without_currency(&self, header: &Header) -> Option<(&str, &str)> {
        let newest = self.newest();
        newest.columns.iter().filter(|column| header.has(column)).find_map(|money| {
            let Some(Currency::Column(name)) = &money.currency else { return None };
            let currency = newest.column(name).filter(|currency| !header.has(currency))?;
            Some((money.published.as_str(), currency.published.as_str()))
        })
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

/// The first few names, and how many more there are.
pub(super) fn listed(names: &[&str]) -> String {
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
        assert_eq!((found.version, found.missing.len()), (1, 0));
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
