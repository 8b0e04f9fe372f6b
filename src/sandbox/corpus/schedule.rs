//! When an earning becomes visible, is ordered, paid, returned by the bank and paid again.
//!
//! ```text
//!              20th of the month before       15th of the pay month      17th to 20th
//! Unprocessed ------------------------> Upcoming -----------> In progress -----------> Sent
//!                                                                           |  6 days later, sometimes
//!                                                    Reversed or Rejected <-+
//!                                In progress (15th) -> Sent, one or two months later, with a new payment id
//! ```

use crate::model::Month;

use super::calendar::{DAY_SECS, day_in};
use super::dice::{Dice, Purpose};
use super::names::{OrderType, PARTICIPANTS};

/// Statuses of the corpus, a part of those that the service knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Unprocessed,
    Upcoming,
    PendingTaxInvoice,
    InProgress,
    Sent,
    Reversed,
    Rejected,
}

impl Status {
    /// The column `paymentStatus`.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.words().0
    }

    /// The column `paymentStatusDescription`.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Status::Unprocessed => {
                ("Unprocessed", "Valid for payment, in the cooling-off period of the program")
            }
            Status::Upcoming => ("Upcoming", "The payment order is made, internal review is pending"),
            Status::PendingTaxInvoice => ("Pending tax invoice", "The tax invoice is missing, or not valid"),
            Status::InProgress => ("In progress", "The payment is running"),
            Status::Sent => ("Sent", "The payment was sent to your bank"),
            Status::Reversed => {
                ("Reversed", "Your bank returned the payment; it is sent again in the next cycle")
            }
            Status::Rejected => ("Rejected", "Your bank refused the payment, please contact it"),
        }
    }
}

/// Everything that one payment order pays: its earnings are paid together or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// The month in which it is first paid.
    pub month: Month,
    /// Whose bank account: an index into `PARTICIPANTS`.
    pub payee: usize,
    /// An index into `ORDER_TYPES`.
    pub kind: usize,
}

/// Where an order stands on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    pub status: Status,
    /// Only when there is a payment: Sent, Reversed, Rejected.
    pub payment: Option<Paid>,
    /// The day of the last change of the status, in days since 1970-01-01.
    pub changed_on: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paid {
    /// Twelve digits.
    pub id: u64,
    /// Seconds since 1970-01-01.
    pub at: i64,
}

/// A first payment that the bank sent back.
#[derive(Debug, Clone, Copy)]
struct Return {
    status: Status,
    /// Months until the order is paid again.
    again_after: i32,
}

/// Days from a payment to its return by the bank.
const RETURN_DAYS: i32 = 6;

impl Order {
    #[must_use]
    pub fn new(month: Month, participant: usize, kind: OrderType) -> Self {
        Order { month, payee: PARTICIPANTS[participant].payee, kind: kind as usize }
    }

    /// Each payee and kind meets one reversal and one rejection in twelve months, spread over the calendar.
    fn returned(self) -> Option<Return> {
        let turn = (self.month.year() * 12 + i32::from(self.month.number())) as usize
            + self.payee * 5
            + self.kind * 3;
        match turn % 12 {
            2 => Some(Return { status: Status::Reversed, again_after: 1 }),
            7 => Some(Return { status: Status::Rejected, again_after: 2 }),
            _ => None,
        }
    }

    fn paid(self, seed: u64, month: Month, attempt: u64) -> Paid {
        let key = (month.year() * 12 + i32::from(month.number())) as u64;
        let mut dice = Dice::new(
            seed,
            Purpose::Payment,
            key * 4_096 + attempt * 512 + (self.payee * 8 + self.kind) as u64,
        );
        let id = 100_000_000_000 + dice.throw() % 900_000_000_000;
        Paid {
            id,
            at: i64::from(self.sent_on(month)) * DAY_SECS + 7 * 3_600 + (dice.throw() % 36_000) as i64,
        }
    }

    fn sent_on(self, month: Month) -> i32 {
        day_in(month, 17 + (self.payee % 4) as i32)
    }

    /// Where the order stands at the end of the day `as_of`.
    #[must_use]
    pub fn stage(self, seed: u64, as_of: i32) -> Stage {
        let ordered_on = day_in(self.month.plus(-1), 20);
        let first_on = self.sent_on(self.month);
        if self.kind == OrderType::CoOp as usize && as_of >= ordered_on {
            return Stage { status: Status::Upcoming, payment: None, changed_on: ordered_on };
        }
        if as_of < ordered_on {
            let changed_on = day_in(self.month.plus(-2), 1);
            return Stage { status: Status::Unprocessed, payment: None, changed_on };
        }
        let Some(returned) = self.returned().filter(|_| as_of >= first_on + RETURN_DAYS) else {
            return self.running(seed, as_of, self.month, 0, ordered_on);
        };
        let again = self.month.plus(returned.again_after);
        if as_of < day_in(again, 15) {
            let payment = Some(self.paid(seed, self.month, 0));
            return Stage { status: returned.status, payment, changed_on: first_on + RETURN_DAYS };
        }
        self.running(seed, as_of, again, 1, first_on + RETURN_DAYS)
    }

    fn running(self, seed: u64, as_of: i32, month: Month, attempt: u64, ordered_on: i32) -> Stage {
        let (progress_on, sent_on) = (day_in(month, 15), self.sent_on(month));
        if as_of >= sent_on {
            let payment = Some(self.paid(seed, month, attempt));
            Stage { status: Status::Sent, payment, changed_on: sent_on }
        } else if as_of >= progress_on {
            Stage { status: Status::InProgress, payment: None, changed_on: progress_on }
        } else {
            let invoice = PARTICIPANTS[self.payee].tax_invoice;
            let status = if invoice { Status::PendingTaxInvoice } else { Status::Upcoming };
            Stage { status, payment: None, changed_on: ordered_on }
        }
    }

    /// Where a co-op claim stands: it is paid once, on time, and not shown before it runs.
    #[must_use]
    pub fn claim_stage(self, seed: u64, as_of: i32) -> Option<Stage> {
        let stage = self.running(seed, as_of, self.month, 0, day_in(self.month.plus(-1), 20));
        matches!(stage.status, Status::InProgress | Status::Sent).then_some(stage)
    }

    /// The payment that the bank sent back and that another one has taken, or is taking, the place of.
    #[must_use]
    pub fn superseded(self, seed: u64, as_of: i32) -> Option<Stage> {
        let returned = self.returned()?;
        if self.kind == OrderType::CoOp as usize || as_of < day_in(self.month.plus(returned.again_after), 15)
        {
            return None;
        }
        let payment = Some(self.paid(seed, self.month, 0));
        Some(Stage { status: returned.status, payment, changed_on: self.sent_on(self.month) + RETURN_DAYS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(order: Order) -> Vec<&'static str> {
        let mut seen: Vec<&str> = Vec::new();
        for day in day_in(order.month.plus(-2), 1)..day_in(order.month.plus(4), 1) {
            let label = order.stage(7, day).status.label();
            if seen.last() != Some(&label) {
                seen.push(label);
            }
        }
        seen
    }

    #[test]
    fn an_order_goes_through_its_life_in_order() {
        let stories: Vec<Vec<&str>> =
            (1..=12).map(|month| story(Order::new(Month::new(2026, month), 0, OrderType::Rebate))).collect();
        let start = ["Unprocessed", "Upcoming", "In progress", "Sent"];
        assert!(stories.iter().all(|story| story[..4] == start));
        let returned = |by| stories.iter().filter(|s| s[4..] == [by, "In progress", "Sent"]).count();
        assert_eq!((returned("Reversed"), returned("Rejected")), (1, 1));
        assert_eq!(stories.iter().filter(|story| story.len() == 4).count(), 10);
    }

    #[test]
    fn co_op_never_gets_past_upcoming() {
        for month in 1..=12 {
            let order = Order::new(Month::new(2026, month), 1, OrderType::CoOp);
            assert_eq!(story(order), ["Unprocessed", "Upcoming"]);
        }
    }

    #[test]
    fn the_second_payment_has_an_id_of_its_own() {
        let orders = (1..=12).map(|month| Order::new(Month::new(2025, month), 0, OrderType::Rebate));
        let later = day_in(Month::new(2026, 12), 1);
        let pairs: Vec<_> =
            orders.filter_map(|order| Some((order.superseded(7, later)?, order.stage(7, later)))).collect();
        assert_eq!(pairs.len(), 2);
        assert!(pairs.iter().all(|(first, last)| first.payment.unwrap().id != last.payment.unwrap().id));
    }
}
