//! The payments export: what the earnings of the corpus were paid as.
//!
//! One row for each participant, programme, currency and payment order. `earned` is the exact sum of its earnings in
//! their currency; taxes and `totalPayment` are in the currency of the bank account:
//!
//! `totalPayment = earned, converted - withheldTax + salesTax - serviceFeeTax`
//!
//! Sales tax is paid on incentives only, the tax on the service fee is kept back from the marketplace only.

use std::collections::BTreeMap;

use crate::model::Month;
use crate::sandbox::cells::{Cells, Column};

use super::calendar::{DAY_SECS, day_in};
use super::dice::{Dice, Purpose};
use super::earnings::Shape;
use super::money::{CURRENCIES, EUR, USD, share, to_usd};
use super::names::{
    CSP, Family, INCENTIVE_EARNERS, ORDER_TYPES, OrderType, PARTICIPANTS, PROGRAMMES, Participant, Programme,
};
use super::schedule::{Order, Stage, Status};
use super::{Corpus, month_key};

/// One row. Amounts are in units of 10⁻¹⁰.
#[derive(Clone)]
pub struct Payment {
    pub participant_index: usize,
    pub programme_index: usize,
    pub order_type: OrderType,
    pub stage: Stage,
    /// Index into `CURRENCIES`.
    pub earned_in: usize,
    pub earned: i128,
    pub earned_usd: i128,
    /// `earned` in the currency of the bank account, in whole coins.
    pub converted: i128,
    pub withheld_tax: i128,
    pub sales_tax: i128,
    pub service_fee_tax: i128,
    pub total: i128,
    pub origin: Origin,
    /// Part of `earned` whose earning month is older than the reach of the export, without adjustments.
    pub older: i128,
    /// The same of adjustments.
    pub older_adjustments: i128,
}

/// Where the money of a payment row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Earnings,
    /// A co-op claim: no earning tells of it.
    Claim,
    /// An attempt that the bank returned and that another row repeats.
    Superseded,
}

/// Sums of the earnings that one row pays.
#[derive(Clone, Copy, Default)]
struct Group {
    rows: u64,
    earned: i128,
    usd: i128,
    fees: i128,
    older: i128,
    older_adjustments: i128,
}

/// Groups of one pay month: participant, programme, kind of order, currency.
const GROUPS: usize = PARTICIPANTS.len() * PROGRAMMES.len() * ORDER_TYPES.len() * CURRENCIES.len();

fn group_number(participant: usize, programme: usize, kind: usize, currency: usize) -> usize {
    ((participant * PROGRAMMES.len() + programme) * ORDER_TYPES.len() + kind) * CURRENCIES.len() + currency
}

impl Payment {
    #[must_use]
    pub fn participant(&self) -> &'static Participant {
        &PARTICIPANTS[self.participant_index]
    }

    #[must_use]
    pub fn programme(&self) -> &'static Programme {
        &PROGRAMMES[self.programme_index]
    }

    #[must_use]
    pub fn paid_in(&self) -> usize {
        self.participant().pays_in
    }

    /// Days since 1970-01-01 of the payment, if there is one.
    #[must_use]
    pub fn paid_on(&self) -> Option<i32> {
        self.stage.payment.map(|paid| (paid.at / DAY_SECS) as i32)
    }

    fn is_marketplace(&self) -> bool {
        self.programme().family == Family::Marketplace
    }
}

impl Corpus {
    /// All rows of an export without a filter: payments made since the first day of the reach, and what is pending.
    #[must_use]
    pub fn payments(&self) -> Vec<Payment> {
        let mut payments = Vec::new();
        for (month, groups) in self.groups() {
            for (number, group) in groups.iter().enumerate().filter(|(_, group)| group.rows > 0) {
                let (rest, currency) = (number / CURRENCIES.len(), number % CURRENCIES.len());
                let (rest, kind) = (rest / ORDER_TYPES.len(), ORDER_TYPES[rest % ORDER_TYPES.len()]);
                let (participant, programme) = (rest / PROGRAMMES.len(), rest % PROGRAMMES.len());
                let order = Order::new(month, participant, kind);
                let row = self.payment(order, participant, programme, currency, group);
                if let Some(stage) = order.superseded(self.seed, self.as_of) {
                    payments.push(Payment { stage, origin: Origin::Superseded, ..row.clone() });
                }
                payments.push(row);
            }
            payments.extend(self.claims(month));
        }
        let first_day = day_in(self.reach.first, 1);
        payments.retain(|row| match row.paid_on() {
            Some(day) => day >= first_day,
            None => row.stage.status != Status::Unprocessed,
        });
        payments
    }

    /// One pass over the integers of every earning that can be inside a payment of the reach.
    fn groups(&self) -> BTreeMap<Month, Vec<Group>> {
        let mut months: BTreeMap<Month, Vec<Group>> = BTreeMap::new();
        for month in self.paid_months() {
            let older = month < self.reach.first;
            let month = self.month(month);
            for row in self.indexes().filter_map(|index| self.row(&month, index)) {
                if row.order_type == OrderType::CoOp || row.stage.status == Status::Unprocessed {
                    continue;
                }
                let number = group_number(
                    row.participant_index,
                    row.programme_index,
                    row.order_type as usize,
                    row.currency,
                );
                let groups = months.entry(row.pay_month).or_insert_with(|| vec![Group::default(); GROUPS]);
                let group = &mut groups[number];
                group.rows += 1;
                group.earned += i128::from(row.earning);
                group.usd += i128::from(row.earning_usd);
                group.fees += i128::from(row.store_fee);
                match (older, row.shape) {
                    (true, Shape::Adjustment) => group.older_adjustments += i128::from(row.earning),
                    (true, _) => group.older += i128::from(row.earning),
                    (false, _) => {}
                }
            }
        }
        // Claims come in months of their own, also where no earning is paid.
        for month in self.paid_months() {
            months.entry(month).or_default();
        }
        months
    }

    fn payment(
        &self,
        order: Order,
        participant: usize,
        programme: usize,
        earned_in: usize,
        group: &Group,
    ) -> Payment {
        let pays_in = PARTICIPANTS[participant].pays_in;
        let rate = self.payment_rate(order.month, earned_in, pays_in);
        let convert = |units| share(units, rate, 1_000_000, pays_in);
        let tax = |units: i128, hundredths| share(units.max(0), hundredths, 10_000, pays_in);
        let marketplace = PROGRAMMES[programme].family == Family::Marketplace;
        let taxes = &PARTICIPANTS[participant];
        let converted = convert(group.earned);
        let withheld_tax = tax(converted, taxes.withheld);
        let sales_tax = if marketplace { 0 } else { tax(converted, taxes.sales_tax) };
        let service_fee_tax = if marketplace { tax(convert(group.fees), taxes.fee_tax) } else { 0 };
        Payment {
            participant_index: participant,
            programme_index: programme,
            order_type: ORDER_TYPES[order.kind],
            stage: order.stage(self.seed, self.as_of),
            earned_in,
            earned: group.earned,
            earned_usd: group.usd,
            converted,
            withheld_tax,
            sales_tax,
            service_fee_tax,
            total: converted - withheld_tax + sales_tax - service_fee_tax,
            origin: Origin::Earnings,
            older: group.older,
            older_adjustments: group.older_adjustments,
        }
    }

    /// Co-op claims paid in a month: they go out by themselves, sometimes from two Microsoft entities in two
    /// currencies, and without taxes.
    fn claims(&self, month: Month) -> Vec<Payment> {
        let mut claims = Vec::new();
        for participant in INCENTIVE_EARNERS {
            let key = month_key(month) * 64 + participant as u64;
            let mut dice = Dice::new(self.seed, Purpose::Claim, key);
            if !dice.chance(1, 3) {
                continue;
            }
            let programme = CSP.start + dice.below(CSP.len());
            let home = PARTICIPANTS[participant].pays_in;
            let second = if home == EUR { USD } else { EUR };
            let currencies = if dice.chance(1, 4) { vec![home, second] } else { vec![home] };
            for earned_in in currencies {
                let amount = (20_000 + dice.below(400_000)) as i128 * CURRENCIES[earned_in].coin();
                claims.extend(self.claim(month, participant, programme, earned_in, amount));
            }
        }
        claims
    }

    fn claim(
        &self,
        month: Month,
        participant: usize,
        programme: usize,
        earned_in: usize,
        amount: i128,
    ) -> Option<Payment> {
        // Paid like a rebate order, by a payment of its own that no bank returns.
        let order = Order::new(month, participant, OrderType::CoOp);
        let stage = order.claim_stage(self.seed, self.as_of)?;
        let usd = i128::from(to_usd(amount as i64, self.rates(month).usd[earned_in]));
        let group = Group { rows: 1, earned: amount, usd, ..Group::default() };
        let mut row = self.payment(order, participant, programme, earned_in, &group);
        row.withheld_tax = 0;
        row.sales_tax = 0;
        row.total = row.converted;
        Some(Payment { stage, origin: Origin::Claim, ..row })
    }
}

const fn column(name: &'static str, cell: fn(&Payment, &mut Cells)) -> Column<Payment> {
    Column { name, cell }
}

/// The 18 columns since 2024 (era P2): the order of 2019, with the later ones where they replaced or on the right.
pub const COLUMNS: [Column<Payment>; 18] = [
    column("participantID", |row, out| out.text(row.participant().id)),
    column("participantIDType", |row, out| out.text(row.participant().id_type)),
    column("participantName", |row, out| out.text(row.participant().name)),
    column("programName", |row, out| out.text(row.programme().name)),
    column("earned", |row, out| out.sum(row.earned, CURRENCIES[row.earned_in].decimals)),
    column("earnedUSD", |row, out| out.sum(row.earned_usd, 2)),
    column("withheldTax", |row, out| pay_money(row, row.withheld_tax, out)),
    column("salesTax", |row, out| {
        if !row.is_marketplace() {
            pay_money(row, row.sales_tax, out);
        }
    }),
    column("serviceFeeTax", |row, out| {
        if row.is_marketplace() {
            pay_money(row, row.service_fee_tax, out);
        }
    }),
    column("totalPayment", |row, out| pay_money(row, row.total, out)),
    column("earnedCurrencyCode", |row, out| out.text(CURRENCIES[row.earned_in].code)),
    column("paymentCurrencyCode", |row, out| out.text(CURRENCIES[row.paid_in()].code)),
    column("paymentMethod", |row, out| {
        out.text(if row.origin == Origin::Claim { "credit note" } else { "electronic bank transfer" });
    }),
    column("paymentID", |row, out| {
        if let Some(paid) = row.stage.payment {
            out.digits(paid.id, 12);
        }
    }),
    column("paymentStatus", |row, out| out.text(row.stage.status.label())),
    column("paymentStatusDescription", |row, out| out.text(row.stage.status.description())),
    column("paymentDate", |row, out| {
        if let Some(paid) = row.stage.payment {
            out.time(paid.at);
        }
    }),
    column("CIReferenceNumber", |row, out| {
        if let (true, Some(paid)) = (row.participant().tax_invoice, row.stage.payment) {
            out.raw(b"CI-");
            out.digits(paid.id % 1_000_000, 6);
        }
    }),
];

fn pay_money(row: &Payment, units: i128, out: &mut Cells) {
    out.sum(units, CURRENCIES[row.paid_in()].decimals);
}
