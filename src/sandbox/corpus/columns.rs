//! The earnings file: 104 columns as published from late 2025 on (era E8), and how each cell is written.
//!
//! Published lists are alphabetical; files are not. The order here is the file order of 2019 as far as it is known,
//! without what has left the file since; then what 2020 added; then what came later, on the right.

use crate::sandbox::cells::{Cells, Column};

use super::calendar::{DAY_SECS, day_in};
use super::earnings::{Row, Shape};
use super::money::{CURRENCIES, SCALE, USD};
use super::names::{
    CUSTOMER_COUNTRIES, CUSTOMERS, Family, OFFERS, OrderType, PRODUCTS, REASON_CODES, RESELLERS,
};

const fn column(name: &'static str, cell: fn(&Row, &mut Cells)) -> Column<Row> {
    Column { name, cell }
}

/// A column that Microsoft documents as always blank, or that no programme of the corpus fills.
fn blank(_: &Row, _: &mut Cells) {}

pub const COLUMNS: [Column<Row>; 104] = [
    // 2019, in file order.
    column("earningId", |row, out| out.guid(row.id)),
    column("participantId", |row, out| out.text(row.participant.id)),
    column("participantIdType", |row, out| out.text(row.participant.id_type)),
    column("participantName", |row, out| out.text(row.participant.name)),
    column("partnerCountryCode", |row, out| out.text(row.participant.country)),
    column("programName", |row, out| out.text(row.programme.name)),
    column("transactionId", |row, out| when(row.has_transaction(), || out.guid(guid(row.transaction, 1)))),
    column("transactionCurrency", |row, out| out.text(CURRENCIES[row.currency].code)),
    column("transactionDate", |row, out| when(row.has_transaction(), || out.time(row.transaction_at))),
    column("transactionExchangeRate", |row, out| when(row.has_amount(), || out.rate(row.rate))),
    column("transactionAmount", |row, out| when(row.has_amount(), || money(row, row.amount, out))),
    column("transactionAmountUSD", |row, out| when(row.has_amount(), || out.money(row.amount_usd, 2))),
    column("lever", |row, out| out.text(row.lever.name)),
    column("earningRate", |row, out| when(row.has_amount(), || out.ten_thousandths(row.earning_rate))),
    column("quantity", |row, out| when(row.has_transaction(), || out.int(row.quantity))),
    column("earningType", earning_type),
    column("earningAmount", |row, out| money(row, row.earning, out)),
    column("earningAmountUSD", |row, out| out.money(row.earning_usd, 2)),
    column("earningDate", |row, out| out.time(row.earning_at)),
    column("calculationDate", |row, out| out.time(row.calculated_at)),
    column("earningExchangeRate", |row, out| out.rate(row.rate)),
    column("exchangeRateDate", |row, out| out.date(day_in(row.month, 1))),
    column("claimId", |row, out| when(is_fee(row), || tagged("CLM-", row.spare % 10_000_000, 7, out))),
    column("paymentId", |row, out| {
        if let Some(paid) = row.stage.payment {
            out.digits(paid.id, 12)
        }
    }),
    column("paymentStatus", |row, out| out.text(row.stage.status.label())),
    column("paymentStatusDescription", |row, out| out.text(row.stage.status.description())),
    column("customerName", customer_name),
    column("partNumber", blank),
    column("productName", product_name),
    column("productId", |row, out| when(sold(row), || tagged("DZH318Z0", 1_000 + offer(row) as u64, 4, out))),
    column("parentProductId", |row, out| {
        when(sold(row), || tagged("DZH318Z1", 1_000 + offer(row) as u64, 4, out))
    }),
    column("parentProductName", |row, out| when(sold(row), || out.text(OFFERS[offer(row)].0))),
    column("productType", |row, out| when(sold(row), || out.text("SaaS"))),
    column("invoiceNumber", |row, out| when(invoiced(row), || tagged("G0", row.spare % 100_000_000, 8, out))),
    column("subscriptionId", |row, out| when(subscribed(row), || out.guid(guid(row.customer as u64, 2)))),
    column("subscriptionStartDate", |row, out| when(subscribed(row), || out.date(start_day(row)))),
    column("subscriptionEndDate", |row, out| when(subscribed(row), || out.date(start_day(row) + 364))),
    column("resellerId", |row, out| when(resold(row), || out.text(RESELLERS[reseller(row)].0))),
    column("resellerName", |row, out| when(resold(row), || out.text(RESELLERS[reseller(row)].1))),
    column("distributorId", |row, out| when(distributed(row), || out.text("5300019"))),
    column("distributorName", |row, out| {
        when(distributed(row), || out.text("Distribution Européenne, S.A."))
    }),
    column("agreementNumber", |row, out| {
        when(agreed(row), || out.digits(70_000_000 + row.customer as u64, 8))
    }),
    column("agreementStartDate", |row, out| when(agreed(row), || out.date(start_day(row) - 365))),
    column("agreementEndDate", |row, out| when(agreed(row), || out.date(start_day(row) + 730))),
    column("workload", |row, out| when(worked(row), || out.text(PRODUCTS[product(row)].1))),
    column("transactionType", transaction_type),
    column("localProviderSeller", |row, out| when(sold(row), || out.text("Microsoft"))),
    column("taxRemitted", |row, out| when(sold(row), || money(row, row.tax_remitted, out))),
    column("taxRemitModel", |row, out| when(sold(row), || out.text("Microsoft remits"))),
    column("storeFee", |row, out| when(sold(row), || money(row, row.store_fee, out))),
    column("transactionPaymentMethod", |row, out| when(sold(row), || out.text("Card"))),
    column("tpan", blank),
    column("customerCountry", |row, out| when(sold(row), || out.text(place(row).0))),
    column("purchaseTypeCode", blank),
    column("purchaseOrderType", |row, out| {
        when(bought(row), || out.text(["BEC", "TUP", "NE"][row.customer % 3]))
    }),
    column("purchaseOrderCoverageStartDate", blank),
    column("purchaseOrderCoverageEndDate", blank),
    column("externalReferenceId", blank),
    column("externalReferenceIdLabel", blank),
    // Added in 2020.
    column("customerEmail", customer_email),
    column("customerTenantId", |row, out| {
        when(row.has_customer(), || out.guid(guid(row.customer as u64, 3)))
    }),
    column("earningAmountInLastPaymentCurrency", paid_amount),
    column("instantRebateAmount", |row, out| when(is_oem(row), || money(row, row.earning, out))),
    column("invoiceDate", |row, out| when(is_oem(row), || out.date((row.transaction_at / DAY_SECS) as i32))),
    column("lastPaymentCurrency", last_payment_currency),
    column("LicensingProgramName", |row, out| when(sold(row), || out.text("Microsoft Customer Agreement"))),
    column("LineItemId", |row, out| when(sold(row), || out.guid(guid(row.transaction, 4)))),
    column("Maturity month", payment_month),
    column("OrderId", |row, out| when(sold(row), || out.guid(guid(row.transaction, 5)))),
    column("Program Code", |row, out| out.text(row.programme.code)),
    column("reasonCode", |row, out| {
        when(row.shape == Shape::Adjustment, || out.text(REASON_CODES[row.customer % REASON_CODES.len()]));
    }),
    column("resellerCountry", |row, out| {
        when(sold(row) && resold(row), || out.text(RESELLERS[reseller(row)].2))
    }),
    column("SkuId", |row, out| when(sold(row), || tagged("000", 1 + row.spare % 9, 1, out))),
    column("taxCity", |row, out| when(sold(row), || out.text(place(row).2))),
    column("taxCountry", |row, out| when(sold(row), || out.text(place(row).0))),
    column("taxState", |row, out| when(sold(row), || out.text(place(row).1))),
    column("taxZipCode", |row, out| when(sold(row), || out.text(place(row).3))),
    column("transactionCountryCode", |row, out| when(row.has_transaction(), || out.text(place(row).0))),
    // Added since 2023, on the right.
    column("baseline", |row, out| when(grows(row), || out.money(row.baseline, 2))),
    column("baselineType", |row, out| when(grows(row), || out.text("$"))),
    column("earningParticipantId", |row, out| when(is_mci(row), || out.text(row.participant.id))),
    column("earningParticipantIdType", |row, out| when(is_mci(row), || out.text(row.participant.id_type))),
    column("earningParticipantName", |row, out| when(is_mci(row), || out.text(row.participant.name))),
    column("engagementId", engagement_id),
    column("engagementName", |row, out| out.text(row.lever.engagement)),
    column("estimatedPaymentMonth", payment_month),
    column("fundCategory", |row, out| when(is_oem(row), || out.text("Base"))),
    column("isPrivateOffer", |row, out| {
        when(sold(row), || out.text(["False", "True"][usize::from(row.is_private_offer())]))
    }),
    column("milestone", blank),
    column("bucketSize", blank),
    column("partnerAssociation", |row, out| {
        when(is_mci(row), || out.text(["reseller", "PAL.Contributor"][row.customer % 2]))
    }),
    column("partnerRole", |row, out| {
        when(is_mci(row), || out.text(["Transact", "Deploy/Use/Consume"][row.customer % 2]))
    }),
    column("purchaseTypeName", |row, out| when(bought(row), || out.text("New, Annual"))),
    column("quantityType", |row, out| when(is_mci(row) && row.has_transaction(), || out.text("Seats"))),
    column("quantityAlt", |row, out| {
        when(is_mci(row) && row.has_transaction(), || out.int(row.quantity * 2))
    }),
    column("quantityAltType", |row, out| when(is_mci(row) && row.has_transaction(), || out.text("PAU"))),
    column("compensableUnits", |row, out| {
        when(is_mci(row) && row.has_transaction(), || out.ten_thousandths(row.quantity * 7_500))
    }),
    column("desktopCount", |row, out| when(bought(row), || out.int(row.quantity.abs() * 10))),
    column("userCount", |row, out| when(bought(row), || out.int(row.quantity.abs() * 12))),
    column("resourceId", blank),
    column("solutionArea", |row, out| out.text(row.lever.solution_area)),
    column("agreementName", |row, out| when(agreed(row), || out.text(row.programme.name))),
    column("agreementType", |row, out| when(agreed(row), || out.text("Volume Licensing"))),
    column("AssetId", |row, out| when(sold(row), || out.guid(guid(row.customer as u64, 6)))),
];

fn when(filled: bool, write: impl FnOnce()) {
    if filled {
        write();
    }
}

/// In the currency of the transaction, with the digits of its coins at least.
fn money(row: &Row, units: i64, out: &mut Cells) {
    out.money(units, CURRENCIES[row.currency].decimals);
}

/// A GUID that stands for a thing of the given kind.
fn guid(number: u64, kind: u64) -> u128 {
    let high = super::dice::scramble(number ^ (kind << 60));
    (u128::from(high) << 64) | u128::from(super::dice::scramble(high))
}

fn tagged(tag: &str, number: u64, width: usize, out: &mut Cells) {
    out.raw(tag.as_bytes());
    out.digits(number, width);
}

fn sold(row: &Row) -> bool {
    row.is_marketplace()
}

fn is_mci(row: &Row) -> bool {
    row.programme.family == Family::Mci
}

fn is_fee(row: &Row) -> bool {
    row.order_type == OrderType::Fee && row.has_transaction()
}

fn is_oem(row: &Row) -> bool {
    row.programme.family == Family::Oem && row.has_transaction()
}

fn agreed(row: &Row) -> bool {
    row.programme.family == Family::Agreement && row.has_transaction()
}

fn bought(row: &Row) -> bool {
    row.programme.code == "EA" && row.has_transaction()
}

fn invoiced(row: &Row) -> bool {
    sold(row) || agreed(row) || is_oem(row)
}

fn subscribed(row: &Row) -> bool {
    row.has_transaction() && matches!(row.programme.family, Family::Csp | Family::Mci)
}

fn worked(row: &Row) -> bool {
    row.shape == Shape::Aggregate || subscribed(row)
}

fn resold(row: &Row) -> bool {
    row.has_transaction() && (row.programme.code == "CSPIP" || sold(row)) && row.customer.is_multiple_of(3)
}

fn distributed(row: &Row) -> bool {
    row.has_transaction() && row.programme.code == "CSPIR"
}

/// Only growth in USD tells its baseline: whether it is in USD or in the currency of the transaction is not
/// documented, and so the two agree.
fn grows(row: &Row) -> bool {
    row.shape == Shape::Aggregate && row.currency == USD
}

fn product(row: &Row) -> usize {
    row.customer % PRODUCTS.len()
}

fn offer(row: &Row) -> usize {
    row.customer % OFFERS.len()
}

fn reseller(row: &Row) -> usize {
    row.customer % RESELLERS.len()
}

fn place(row: &Row) -> &'static (&'static str, &'static str, &'static str, &'static str) {
    &CUSTOMER_COUNTRIES[row.customer % CUSTOMER_COUNTRIES.len()]
}

/// The customer's subscription year that the earning falls into.
fn start_day(row: &Row) -> i32 {
    day_in(row.month, 1) - (row.customer % 300) as i32
}

fn earning_type(row: &Row, out: &mut Cells) {
    if row.shape == Shape::Adjustment {
        out.raw(b"Adjustment-");
    }
    out.text(row.order_type.label());
}

fn customer_name(row: &Row, out: &mut Cells) {
    if !row.has_customer() || !row.customer_named {
        return;
    }
    let name = CUSTOMERS[row.customer % CUSTOMERS.len()];
    match row.customer / CUSTOMERS.len() {
        0 => out.text(name),
        round => out.numbered(name, round),
    }
}

fn customer_email(row: &Row, out: &mut Cells) {
    when(sold(row), || {
        tagged("buyer", row.customer as u64, 3, out);
        out.raw(b"@example.com");
    });
}

fn product_name(row: &Row, out: &mut Cells) {
    match row.shape {
        Shape::Sale | Shape::Refund if sold(row) => out.text(OFFERS[offer(row)].1),
        Shape::Sale | Shape::Refund => out.text(PRODUCTS[product(row)].0),
        Shape::Aggregate | Shape::Campaign | Shape::Adjustment => {}
    }
}

fn transaction_type(row: &Row, out: &mut Cells) {
    when(sold(row), || {
        out.text(match row.shape {
            Shape::Refund => ["refund", "chargeback"][row.customer % 2],
            _ => "purchase",
        });
    });
}

fn paid_amount(row: &Row, out: &mut Cells) {
    if let Some(units) = row.paid_amount {
        let decimals = CURRENCIES[row.participant.pays_in].decimals;
        debug_assert!(decimals <= SCALE);
        out.money(units, decimals);
    }
}

fn last_payment_currency(row: &Row, out: &mut Cells) {
    when(row.paid_amount.is_some(), || out.text(CURRENCIES[row.participant.pays_in].code));
}

/// Co-op is claimed, not paid by a calendar.
fn payment_month(row: &Row, out: &mut Cells) {
    if row.order_type == OrderType::CoOp {
        out.text("Not applicable");
    } else {
        out.month(row.pay_month);
    }
}

fn engagement_id(row: &Row, out: &mut Cells) {
    when(!row.lever.engagement.is_empty(), || {
        tagged("ENG", 100 + row.lever.engagement.len() as u64, 5, out);
    });
}
