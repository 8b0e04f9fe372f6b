//! The synthetic corpus: what the imitated service knows, as a pure function of seed, month and row number.
//!
//! A row is integers and references to tables, made when it is needed and never kept: memory does not grow with
//! the corpus. The day `as_of` decides only what can be seen of it: which rows there are yet, whether one was
//! recalculated, whether the customer's name has arrived, and where its payment stands. So a later day restates
//! earlier months, and the same day always gives the same bytes.
//!
//! ```text
//! calendar, dice, money   numbers                 columns        Row -> cells of the earnings file
//! names                   the world as tables     payments       Rows -> payment rows, and what differs
//! schedule                life of a payment       earnings       (seed, month, index) -> Row
//! ```

pub mod calendar;
pub mod columns;
pub mod dice;
pub mod earnings;
pub mod money;
pub mod names;
pub mod payments;
pub mod schedule;

use jiff::civil::Date;

use crate::model::{Month, Window};

use self::calendar::day_in;
use self::dice::{Dice, Purpose};
use self::money::CURRENCIES;

/// Months that the service keeps: an export without a filter reaches no further back.
const REACH_MONTHS: u32 = 36;

/// Months before the reach whose earnings can still be inside a payment within it: an adjustment is processed
/// up to 9 months later, paid the month after, and after a rejection two months later again.
const PAID_LATER_MONTHS: i32 = 12;

/// What the service knows on one day.
#[derive(Debug, Clone)]
pub struct Corpus {
    seed: u64,
    rows_per_month: u32,
    /// Days since 1970-01-01.
    as_of: i32,
    reach: Window,
    /// Exchange rates of the months from `rates_from` on.
    rates: Vec<MonthRates>,
    rates_from: Month,
}

/// The exchange rates of one month, by indexes into `CURRENCIES`.
#[derive(Debug, Clone, Copy)]
struct MonthRates {
    /// USD for 1 of a currency, in 10⁻¹².
    usd: [u64; CURRENCIES.len()],
    /// What a payment gives for 1 of the first in the second, in 10⁻⁶.
    payment: [[i128; CURRENCIES.len()]; CURRENCIES.len()],
}

/// A month of the corpus with what all its rows share.
#[derive(Debug, Clone, Copy)]
pub struct CorpusMonth {
    pub month: Month,
    /// Its first day, in days since 1970-01-01.
    pub first_day: i32,
    pub days: i32,
    /// USD for 1 of each currency of `CURRENCIES`, in 10⁻¹².
    pub rates: [u64; CURRENCIES.len()],
}

impl Corpus {
    /// `months` are earning months, the month of `as_of` included.
    #[must_use]
    pub fn new(seed: u64, rows_per_month: u32, months: u32, as_of: Date) -> Self {
        let last = Month::of(as_of);
        let first = last.plus(1 - months.clamp(1, REACH_MONTHS) as i32);
        let rates_from = first.plus(-PAID_LATER_MONTHS);
        let months = Window::new(rates_from, last.plus(PAID_LATER_MONTHS)).months();
        let rates = months.map(|month| MonthRates::new(seed, month)).collect();
        let reach = Window::new(first, last);
        Corpus { seed, rows_per_month, as_of: calendar::day_of(as_of), reach, rates, rates_from }
    }

    /// The earning months that an export without a filter holds.
    #[must_use]
    pub fn reach(&self) -> Window {
        self.reach
    }

    /// Row numbers of a month. Those from `rows_per_month` on belong to the participant whom the caller may not see.
    #[must_use]
    pub fn indexes(&self) -> std::ops::Range<u32> {
        0..self.rows_per_month + self.rows_per_month.div_ceil(20)
    }

    /// Row numbers whose earnings the caller may see.
    #[must_use]
    pub fn visible_indexes(&self) -> std::ops::Range<u32> {
        0..self.rows_per_month
    }

    #[must_use]
    pub fn month(&self, month: Month) -> CorpusMonth {
        let first_day = day_in(month, 1);
        let days = day_in(month.plus(1), 1) - first_day;
        CorpusMonth { month, first_day, days, rates: self.rates(month).usd }
    }

    /// The rates of a month from which, or in which, something is paid within the reach.
    fn rates(&self, month: Month) -> &MonthRates {
        let months = |month: Month| month.year() * 12 + i32::from(month.number());
        &self.rates[(months(month) - months(self.rates_from)) as usize]
    }

    /// What a payment of this month gives for 1 of `from` in `to`, in 10⁻⁶.
    #[must_use]
    pub fn payment_rate(&self, month: Month, from: usize, to: usize) -> i128 {
        self.rates(month).payment[from][to]
    }

    /// Every month whose earnings can be inside a payment within the reach, oldest first.
    fn paid_months(&self) -> impl Iterator<Item = Month> {
        Window::new(self.reach.first.plus(-PAID_LATER_MONTHS), self.reach.last).months()
    }
}

impl MonthRates {
    /// Rates are set once a month and stay within 5 % of their middle; a bank keeps up to 0.2 % for itself.
    fn new(seed: u64, month: Month) -> Self {
        let usd: [u64; CURRENCIES.len()] = std::array::from_fn(|currency| {
            let middle = CURRENCIES[currency].usd;
            if currency == money::USD {
                return middle;
            }
            let mut dice = Dice::new(seed, Purpose::Rate, month_key(month) * 16 + currency as u64);
            middle - middle / 20 + dice.throw() % (middle / 10)
        });
        let between = |from: usize, to: usize| {
            if from == to {
                return 1_000_000;
            }
            let middle = i128::from(usd[from]) * 1_000_000 / i128::from(usd[to]);
            let key = month_key(month) * 256 + (from * 16 + to) as u64;
            let kept = Dice::new(seed, Purpose::PaymentRate, key).throw() % 2_000;
            middle - middle * i128::from(kept) / 1_000_000
        };
        let payment = std::array::from_fn(|from| std::array::from_fn(|to| between(from, to)));
        MonthRates { usd, payment }
    }
}

/// A month as a number for dice.
fn month_key(month: Month) -> u64 {
    (month.year() * 12 + i32::from(month.number())) as u64
}
