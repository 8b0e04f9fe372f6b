//! One row of the earnings export, as integers: `(seed, month, index)` -> [`Row`].

use crate::model::Month;

use super::calendar::{DAY_SECS, day_in};
use super::dice::{Dice, Purpose, scramble};
use super::money::{CURRENCIES, EUR, ONE, USD, share, to_usd};
use super::names::{
    CSP, CUSTOMERS, Family, HIDDEN, INCENTIVE_EARNERS, Lever, OrderType, PARTICIPANTS, PROGRAMMES,
    Participant, Programme, SELLER,
};
use super::schedule::{Order, Stage, Status};
use super::{Corpus, CorpusMonth, month_key};

/// Customers of the corpus: each name of the table with and without numbers behind it.
pub const CUSTOMER_COUNT: usize = CUSTOMERS.len() * 12;

/// What kind of event a row tells; it decides which columns are blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Sale,
    /// Negative: money back to the customer.
    Refund,
    /// Earned on many transactions: no transaction, customer or product.
    Aggregate,
    /// A campaign's bonus: nothing but the amount.
    Campaign,
    /// A later correction, booked into the month that it corrects: nothing but the amount and a reason.
    Adjustment,
}

/// One earning. All amounts are in units of 10⁻¹⁰ of the currency, all instants in seconds since 1970-01-01.
pub struct Row {
    pub month: Month,
    /// Unique in the corpus.
    pub id: u128,
    /// Several earnings can share one transaction.
    pub transaction: u64,
    pub participant_index: usize,
    pub participant: &'static Participant,
    pub programme_index: usize,
    pub programme: &'static Programme,
    pub lever: &'static Lever,
    pub shape: Shape,
    pub order_type: OrderType,
    /// Index into `CURRENCIES`: the currency of the customer's transaction.
    pub currency: usize,
    pub customer: usize,
    /// Names of new customers arrive weeks after the earning.
    pub customer_named: bool,
    pub earning_at: i64,
    pub transaction_at: i64,
    pub calculated_at: i64,
    /// In ten-thousandths of a percent.
    pub earning_rate: i64,
    pub quantity: i64,
    pub amount: i64,
    pub amount_usd: i64,
    pub earning: i64,
    pub earning_usd: i64,
    pub store_fee: i64,
    pub tax_remitted: i64,
    pub baseline: i64,
    /// USD for 1 of the currency, in 10⁻¹².
    pub rate: u64,
    pub pay_month: Month,
    pub stage: Stage,
    /// What was paid for it, in the participant's currency; only when Sent.
    pub paid_amount: Option<i64>,
    /// Even bits for the columns that nothing is computed from.
    pub spare: u64,
}

/// How the rows of one transaction differ. Rows come in tens: the 8th and 9th are the rebate and the co-op part of
/// one earning, the 10th is a second lever on the transaction of the 7th.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    RebateOfSplit,
    CoOpOfSplit,
    SecondLever,
}

/// What all earnings of one transaction share.
struct Transaction {
    participant: usize,
    programme: usize,
    lever: usize,
    shape: Shape,
    currency: usize,
    customer: usize,
    earning_at: i64,
    amount: i64,
    quantity: i64,
    recalculated: bool,
    private_offer: bool,
}

/// The part of an earning that a split pays as a rebate, in percent; the rest is co-op (since November 2022).
const REBATE_PERCENT: i128 = 60;

/// Days until the name of a customer arrives, for one customer in eight.
const NAME_DELAY_DAYS: i32 = 45;

impl Row {
    #[must_use]
    pub fn has_customer(&self) -> bool {
        matches!(self.shape, Shape::Sale | Shape::Refund) && self.programme.family != Family::Oem
    }

    #[must_use]
    pub fn has_transaction(&self) -> bool {
        matches!(self.shape, Shape::Sale | Shape::Refund)
    }

    #[must_use]
    pub fn has_amount(&self) -> bool {
        !matches!(self.shape, Shape::Campaign | Shape::Adjustment)
    }

    #[must_use]
    pub fn is_marketplace(&self) -> bool {
        self.programme.family == Family::Marketplace
    }

    /// Microsoft's share of a marketplace sale was lower by agreement.
    #[must_use]
    pub fn is_private_offer(&self) -> bool {
        self.is_marketplace() && self.earning_rate == 900_000
    }
}

impl Corpus {
    /// The row as it can be seen on the day, or `None` when it does not exist yet.
    #[must_use]
    pub fn row(&self, month: &CorpusMonth, index: u32) -> Option<Row> {
        let (transaction_index, part) = match index % 10 {
            _ if index >= self.rows_per_month => (index, Part::Whole),
            7 => (index, Part::RebateOfSplit),
            8 => (index - 1, Part::CoOpOfSplit),
            9 => (index - 3, Part::SecondLever),
            _ => (index, Part::Whole),
        };
        let key = (month_key(month.month) << 32) | u64::from(transaction_index);
        let mut dice = Dice::new(self.seed, Purpose::Transaction, key);
        let transaction = self.transaction(month, index, &mut dice);
        let appearance = appears(month, &transaction, &mut dice);
        if appearance.on > self.as_of {
            return None;
        }
        Some(self.earning(month, index, part, &transaction, key, appearance))
    }

    fn transaction(&self, month: &CorpusMonth, index: u32, dice: &mut Dice) -> Transaction {
        let hidden = index >= self.rows_per_month;
        // Rows 7 to 10 of each ten share transactions, and only CSP has twins.
        let programme = if index % 10 >= 6 && !hidden {
            CSP.start + dice.below(CSP.len())
        } else {
            weighted_programme(dice, hidden)
        };
        let family = PROGRAMMES[programme].family;
        let participant = match family {
            _ if hidden => HIDDEN,
            Family::Marketplace => SELLER,
            _ => INCENTIVE_EARNERS.start + dice.below(INCENTIVE_EARNERS.len()),
        };
        let lever = dice.below(PROGRAMMES[programme].levers.len());
        let alone = index % 10 < 6 || hidden;
        let shape = match dice.below(1_000) {
            0..30 => Shape::Refund,
            30..50 if alone && family != Family::Marketplace => Shape::Adjustment,
            50..56 if alone && family != Family::Marketplace => Shape::Campaign,
            _ if PROGRAMMES[programme].levers[lever].aggregated => Shape::Aggregate,
            _ => Shape::Sale,
        };
        let currency = match dice.below(10) {
            0 => USD,
            1 => EUR,
            2 if family == Family::Marketplace => dice.below(CURRENCIES.len()),
            _ => PARTICIPANTS[participant].pays_in,
        };
        let customer = dice.below(CUSTOMER_COUNT);
        let earning_at = instant(month, shape, dice);
        let quantity = 1 + (dice.below(9) * dice.below(30)) as i64;
        let amount = amount(month.rates[currency], currency, shape, dice);
        let recalculated = matches!(family, Family::Csp | Family::Mci) && dice.chance(3, 100);
        let private_offer = dice.chance(1, 5);
        Transaction {
            participant,
            programme,
            lever,
            shape,
            currency,
            customer,
            earning_at,
            amount,
            quantity,
            recalculated,
            private_offer,
        }
    }

    fn earning(
        &self,
        month: &CorpusMonth,
        index: u32,
        part: Part,
        transaction: &Transaction,
        key: u64,
        appearance: Appearance,
    ) -> Row {
        let Appearance { on: visible_on, pay_month } = appearance;
        let programme = &PROGRAMMES[transaction.programme];
        let steps = if part == Part::SecondLever { 1 } else { 0 };
        let lever = &programme.levers[(transaction.lever + steps) % programme.levers.len()];
        let order_type = if part == Part::CoOpOfSplit { OrderType::CoOp } else { lever.order };
        let recalculated_on = day_in(month.month.plus(1), 17 + (key % 3) as i32);
        let recalculated = transaction.recalculated && self.as_of >= recalculated_on;
        let calculated_on = if recalculated { recalculated_on } else { visible_on };
        let earning_rate = rate_of(lever, transaction, recalculated);
        let (earning, store_fee) = earned(transaction, part, earning_rate);
        let rate = month.rates[transaction.currency];
        let order = Order::new(pay_month, transaction.participant, order_type);
        let stage = order.stage(self.seed, self.as_of);
        let pays_in = PARTICIPANTS[transaction.participant].pays_in;
        let paid_amount = stage.payment.filter(|_| stage.status == Status::Sent).map(|_| {
            let rate = self.payment_rate(pay_month, transaction.currency, pays_in);
            // Exact: an earning is whole coins, at least 10⁷ units, and the rate has six digits.
            (i128::from(earning) * rate / 1_000_000) as i64
        });
        let id = unique_id(self.seed, month.month, index);
        let spare = id as u64;
        let name_on = visible_on + NAME_DELAY_DAYS + (spare % 15) as i32;
        Row {
            month: month.month,
            id,
            transaction: scramble(self.seed ^ key),
            participant_index: transaction.participant,
            participant: &PARTICIPANTS[transaction.participant],
            programme_index: transaction.programme,
            programme,
            lever,
            shape: transaction.shape,
            order_type,
            currency: transaction.currency,
            customer: transaction.customer,
            customer_named: !transaction.customer.is_multiple_of(8) || self.as_of >= name_on,
            earning_at: transaction.earning_at,
            transaction_at: transaction.earning_at - (key % 5) as i64 * 17_333,
            calculated_at: i64::from(calculated_on) * DAY_SECS + (key % DAY_SECS as u64) as i64,
            earning_rate,
            quantity: if transaction.shape == Shape::Refund {
                -transaction.quantity
            } else {
                transaction.quantity
            },
            amount: transaction.amount,
            amount_usd: to_usd(transaction.amount, rate),
            earning,
            earning_usd: to_usd(earning, rate),
            store_fee,
            tax_remitted: share(transaction.amount.into(), 7, 100, transaction.currency) as i64,
            baseline: (transaction.quantity * 1_000 + 250) * (ONE / 4),
            rate,
            pay_month,
            stage,
            paid_amount,
            spare,
        }
    }
}

fn weighted_programme(dice: &mut Dice, hidden: bool) -> usize {
    let mut left = dice.below(100);
    for (index, programme) in PROGRAMMES.iter().enumerate() {
        // The hidden participant is no seller: what would be a sale is an incentive.
        if left < programme.weight && !(hidden && programme.family == Family::Marketplace) {
            return index;
        }
        left = left.saturating_sub(programme.weight);
    }
    CSP.start
}

/// An instant of the month; some stand on its very first and last second, where windows break.
fn instant(month: &CorpusMonth, shape: Shape, dice: &mut Dice) -> i64 {
    let start = i64::from(month.first_day) * DAY_SECS;
    let length = i64::from(month.days) * DAY_SECS;
    match (shape, dice.below(400)) {
        (Shape::Campaign, _) | (_, 0) => start,
        (_, 1) => start + length - 1,
        (Shape::Aggregate, _) => start + length - DAY_SECS,
        _ => start + (dice.throw() % length as u64) as i64,
    }
}

/// From some cents to some tens of thousands of dollars, in whole coins of the currency. Usage is metered finer:
/// aggregated amounts have all ten digits.
fn amount(rate: u64, currency: usize, shape: Shape, dice: &mut Dice) -> i64 {
    let ceiling = *dice.pick(&[10_000_usize, 100_000, 500_000, 4_000_000]);
    let cents = 50 + dice.below(ceiling) as i128;
    let units = cents * 100_000_000 * 1_000_000_000_000 / i128::from(rate);
    let whole = share(units, 1, 1, currency) as i64;
    match shape {
        Shape::Refund => -whole,
        Shape::Aggregate => whole + (dice.throw() % 100_000_000) as i64,
        Shape::Adjustment if dice.chance(2, 3) => -whole / 4 / ONE * ONE,
        _ => whole,
    }
}

/// The day on which a row appears in the service, and the month in which it is first paid.
struct Appearance {
    on: i32,
    pay_month: Month,
}

fn appears(month: &CorpusMonth, transaction: &Transaction, dice: &mut Dice) -> Appearance {
    let programme = &PROGRAMMES[transaction.programme];
    let spread = dice.below(7) as i32;
    let earned_on = (transaction.earning_at / DAY_SECS) as i32;
    let next = |day| day_in(month.month.plus(1), day);
    if transaction.shape == Shape::Adjustment {
        let processed = month.month.plus(3 + (transaction.customer % 7) as i32);
        return Appearance { on: day_in(processed, 10 + spread), pay_month: processed.plus(1) };
    }
    let on = match programme.family {
        Family::Csp => earned_on + 3 + spread % 3,
        Family::Mci => next(10 + spread),
        Family::Marketplace => earned_on + 1 + spread % 3,
        Family::Agreement => next(5 + spread),
        Family::Oem => next(10),
    };
    Appearance { on, pay_month: month.month.plus(programme.paid_after) }
}

/// A recalculation cuts the rate by a fifth, or raises it by as much.
fn rate_of(lever: &Lever, transaction: &Transaction, recalculated: bool) -> i64 {
    let marketplace = PROGRAMMES[transaction.programme].family == Family::Marketplace;
    match recalculated {
        _ if marketplace && transaction.private_offer => 900_000,
        true if transaction.customer.is_multiple_of(2) => lever.rate / 5 * 4,
        true => lever.rate / 5 * 6,
        false => lever.rate,
    }
}

/// The earning and, for the marketplace, the store fee: whole coins both. The parts of a split add up to the whole.
fn earned(transaction: &Transaction, part: Part, earning_rate: i64) -> (i64, i64) {
    /// 100 % as an earning rate.
    const WHOLE: i128 = 1_000_000;
    let (amount, currency) = (i128::from(transaction.amount), transaction.currency);
    let all = share(amount, earning_rate.into(), WHOLE, currency);
    let rebate = share(all, REBATE_PERCENT, 100, currency);
    let earning = match part {
        Part::Whole | Part::SecondLever => all,
        Part::RebateOfSplit => rebate,
        Part::CoOpOfSplit => all - rebate,
    };
    let marketplace = PROGRAMMES[transaction.programme].family == Family::Marketplace;
    (earning as i64, if marketplace { (amount - all) as i64 } else { 0 })
}

/// Unique because its low half is a one-to-one image of month and index.
fn unique_id(seed: u64, month: Month, index: u32) -> u128 {
    let low = scramble((month_key(month) << 32) | u64::from(index));
    (u128::from(scramble(seed ^ low.rotate_left(17))) << 64) | u128::from(low)
}
