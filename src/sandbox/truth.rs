//! What a correct lake must hold after a full load: computed from the integers of the corpus, without a file.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use serde::Serialize;

use crate::model::{Month, Window};

use super::Options;
use super::corpus::earnings::{Row, Shape};
use super::corpus::money::{Amount, CURRENCIES};
use super::corpus::names::{Family, HIDDEN, OrderType};
use super::corpus::payments::{Origin, Payment};
use super::corpus::schedule::Status;

/// The whole truth about both exports without filters and without faults, on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// The day as which the corpus is seen.
    pub as_of: Date,
    /// Earning months that the export reaches.
    pub months: Window,
    pub transaction_history: TableTruth,
    pub payments: TableTruth,
    /// Why payments and earnings differ, by currency. For each currency the amounts add up to the sum of
    /// `totalPayment` (by `paymentCurrencyCode`) minus the sum of `earningAmount` (by `transactionCurrency`).
    pub differences: Vec<Difference>,
}

/// One export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableTruth {
    pub all: Sums,
    /// By month of `earningDate` or `paymentDate`, as `YYYY-MM`; rows without a date are under `none`.
    pub by_month: BTreeMap<String, Sums>,
    /// By `paymentStatus` as the file spells it.
    pub rows_by_status: BTreeMap<String, u64>,
}

/// Rows, and exact sums of money.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    pub rows: u64,
    /// Column in its published spelling, then currency. Pairs without any cell are absent.
    pub money: BTreeMap<&'static str, BTreeMap<&'static str, Amount>>,
}

/// One reason why payments are not earnings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Kebab-case.
    pub name: &'static str,
    pub meaning: &'static str,
    /// By currency; zero amounts are absent.
    pub amounts: BTreeMap<&'static str, Amount>,
}

/// Names and meanings of all differences, in the order of the list.
const DIFFERENCES: [(&str, &str); 12] = [
    ("unprocessed", "earned, not yet ordered to be paid: in no payment row"),
    ("co-op-accrual", "co-op earnings: never paid as such, they stay Upcoming"),
    ("co-op-claim", "co-op claims: payments that no earning tells of"),
    ("invisible-participant", "earnings of a participant whom the caller may not see"),
    ("older-than-reach", "earnings of months before the first month of the export"),
    ("older-adjustment", "adjustments of months before the first month of the export"),
    ("exchange-rate", "out of the currency of the earning, into the currency of the payment"),
    ("withheld-tax", "kept back from the payment"),
    ("sales-tax", "paid on top of the earning"),
    ("service-fee-tax", "tax on the marketplace's fee, kept back from the payment"),
    ("bank-reversal", "payments that the bank returned and that a later row repeats"),
    ("bank-rejection", "payments that the bank refused and that a later row repeats"),
];

/// What an export of the corpus holds on the day `options.as_of`, or `today` when it is not set.
///
/// Faults are not part of it: it is what a client must arrive at in spite of them.
#[must_use]
pub fn truth(options: &Options, today: Date) -> Truth {
    let as_of = options.as_of.unwrap_or(today);
    let corpus = options.corpus(today);
    let mut reasons = Reasons::default();
    let mut earnings = TableTruth::default();
    for month in corpus.reach().months() {
        let mut sums = Sums::default();
        let calendar = corpus.month(month);
        for row in corpus.visible_indexes().filter_map(|index| corpus.row(&calendar, index)) {
            *earnings.rows_by_status.entry(row.stage.status.label().to_owned()).or_default() += 1;
            sums.add_earning(&row);
            reasons.earning(&row);
        }
        earnings.add_month(month.to_string(), sums);
    }
    let mut payments = TableTruth::default();
    for row in corpus.payments() {
        let month =
            row.paid_on().map_or_else(|| "none".to_owned(), |day| Month::of_epoch_days(day).to_string());
        *payments.rows_by_status.entry(row.stage.status.label().to_owned()).or_default() += 1;
        let mut sums = Sums::default();
        sums.add_payment(&row);
        reasons.payment(&row);
        payments.add_month(month, sums);
    }
    Truth {
        as_of,
        months: corpus.reach(),
        transaction_history: earnings,
        payments,
        differences: reasons.into_list(),
    }
}

impl TableTruth {
    fn add_month(&mut self, month: String, sums: Sums) {
        self.all.merge(&sums);
        if sums.rows > 0 {
            self.by_month.entry(month).or_default().merge(&sums);
        }
    }
}

impl Sums {
    /// The sum of a column in a currency, in units of 10⁻¹⁰; 0 when there is none.
    #[must_use]
    pub fn units(&self, column: &str, currency: &str) -> i128 {
        self.money.get(column).and_then(|sums| sums.get(currency)).map_or(0, |amount| amount.0)
    }

    fn add(&mut self, column: &'static str, currency: &'static str, units: i128) {
        self.money.entry(column).or_default().entry(currency).or_default().0 += units;
    }

    fn merge(&mut self, other: &Sums) {
        self.rows += other.rows;
        for (column, sums) in &other.money {
            for (currency, amount) in sums {
                self.add(column, currency, amount.0);
            }
        }
    }

    fn add_earning(&mut self, row: &Row) {
        let currency = CURRENCIES[row.currency].code;
        self.rows += 1;
        self.add("earningAmount", currency, row.earning.into());
        self.add("earningAmountUSD", "USD", row.earning_usd.into());
        if row.has_amount() {
            self.add("transactionAmount", currency, row.amount.into());
            self.add("transactionAmountUSD", "USD", row.amount_usd.into());
        }
        if let Some(paid) = row.paid_amount {
            self.add(
                "earningAmountInLastPaymentCurrency",
                CURRENCIES[row.participant.pays_in].code,
                paid.into(),
            );
        }
        if row.is_marketplace() {
            self.add("storeFee", currency, row.store_fee.into());
            self.add("taxRemitted", currency, row.tax_remitted.into());
        }
        if row.shape == Shape::Aggregate && currency == "USD" {
            self.add("baseline", currency, row.baseline.into());
        }
        if row.programme.family == Family::Oem && row.has_transaction() {
            self.add("instantRebateAmount", currency, row.earning.into());
        }
    }

    fn add_payment(&mut self, row: &Payment) {
        let (earned_in, paid_in) = (CURRENCIES[row.earned_in].code, CURRENCIES[row.paid_in()].code);
        self.rows += 1;
        self.add("earned", earned_in, row.earned);
        self.add("earnedUSD", "USD", row.earned_usd);
        self.add("withheldTax", paid_in, row.withheld_tax);
        self.add("totalPayment", paid_in, row.total);
        if row.programme().family == Family::Marketplace {
            self.add("serviceFeeTax", paid_in, row.service_fee_tax);
        } else {
            self.add("salesTax", paid_in, row.sales_tax);
        }
    }
}

/// Differences while they are gathered.
#[derive(Default)]
struct Reasons(BTreeMap<&'static str, BTreeMap<&'static str, Amount>>);

impl Reasons {
    fn add(&mut self, name: &'static str, currency: usize, units: i128) {
        debug_assert!(DIFFERENCES.iter().any(|(known, _)| *known == name), "{name}");
        self.0.entry(name).or_default().entry(CURRENCIES[currency].code).or_default().0 += units;
    }

    fn earning(&mut self, row: &Row) {
        if row.order_type == OrderType::CoOp {
            self.add("co-op-accrual", row.currency, -i128::from(row.earning));
        } else if row.stage.status == Status::Unprocessed {
            self.add("unprocessed", row.currency, -i128::from(row.earning));
        }
    }

    fn payment(&mut self, row: &Payment) {
        let (earned_in, paid_in) = (row.earned_in, row.paid_in());
        match (row.origin, row.stage.status) {
            (Origin::Superseded, Status::Rejected) => return self.add("bank-rejection", paid_in, row.total),
            (Origin::Superseded, _) => return self.add("bank-reversal", paid_in, row.total),
            (Origin::Claim, _) => self.add("co-op-claim", earned_in, row.earned),
            (Origin::Earnings, _) if row.participant_index == HIDDEN => {
                self.add("invisible-participant", earned_in, row.earned);
            }
            (Origin::Earnings, _) => {
                self.add("older-than-reach", earned_in, row.older);
                self.add("older-adjustment", earned_in, row.older_adjustments);
            }
        }
        if earned_in != paid_in {
            self.add("exchange-rate", earned_in, -row.earned);
            self.add("exchange-rate", paid_in, row.converted);
        }
        self.add("withheld-tax", paid_in, -row.withheld_tax);
        self.add("sales-tax", paid_in, row.sales_tax);
        self.add("service-fee-tax", paid_in, -row.service_fee_tax);
    }

    fn into_list(mut self) -> Vec<Difference> {
        let known = DIFFERENCES.iter().map(|(name, meaning)| {
            let mut amounts = self.0.remove(name).unwrap_or_default();
            amounts.retain(|_, amount| amount.0 != 0);
            Difference { name, meaning, amounts }
        });
        known.filter(|difference| !difference.amounts.is_empty()).collect()
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "as of {}, earning months {}", self.as_of, self.months)?;
        for (name, table) in
            [("transaction_history", &self.transaction_history), ("payments", &self.payments)]
        {
            writeln!(f, "\n{name}: {} rows in {} months", table.all.rows, table.by_month.len())?;
            for (status, rows) in &table.rows_by_status {
                writeln!(f, "  {status:<36} {rows:>22}")?;
            }
            for (column, sums) in &table.all.money {
                for (currency, amount) in sums {
                    writeln!(f, "  {column:<36} {amount:>22} {currency}")?;
                }
            }
        }
        writeln!(f, "\nwhy payments are not earnings:")?;
        for difference in &self.differences {
            writeln!(f, "  {}: {}", difference.name, difference.meaning)?;
            for (currency, amount) in &difference.amounts {
                writeln!(f, "  {:<36} {amount:>22} {currency}", "")?;
            }
        }
        Ok(())
    }
}
