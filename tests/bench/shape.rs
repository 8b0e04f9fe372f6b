//! Rows of the reference shape: see generate.rs.

use std::io::{Result, Write};

/// How the cells of one column are made.
#[derive(Clone, Copy)]
enum Cell {
    /// Another one in each row, or in so many groups of them.
    Guid(u64),
    Digits(u64),
    Pick(&'static [&'static str]),
    /// Fraction digits.
    Money(usize),
    Rate,
    Percent,
    Count,
    Earned,
    Time,
    Day,
    Month,
    Blank,
}
use Cell::*;

const CUSTOMERS: &[&str] = &[
    "Contoso, Ltd.",
    "Fabrikam \"Nord\" GmbH",
    "Müller & Söhne AG",
    "東京データ株式会社",
    "Société Générale d'Énergie",
    "Adatum",
    "Northwind Traders, Inc.",
    "Łódź Handel Sp. z o.o.",
    "Tailspin\nToys",
    "",
];
const COUNTRIES: &[&str] = &["DE", "US", "JP", "FR", "PL", "GB", "BR", ""];
const PRODUCTS: &[&str] = &[
    "Microsoft 365 Business Premium",
    "Virtual Machines, D-Series",
    "Azure SQL Database",
    "Dynamics 365 Sales Enterprise Edition",
    "Power BI Pro",
    "Contoso \"Backup\" for Azure",
];
const LEVERS: &[&str] = &[
    "Direct Bill - Azure Reservation",
    "CSP Indirect - Core",
    "Modern Work Usage, Growth",
    "Marketplace Sell-Through",
    "Strategic Product Accelerator Tier 1",
];
const CITIES: &[&str] = &["Köln", "New York", "東京", "Orléans", "Łódź", "", "", ""];

/// The header, in the alphabetical order of the documentation.
const COLUMNS: [(&str, Cell); 78] = [
    ("agreementEndDate", Blank),
    ("agreementNumber", Digits(900)),
    ("agreementStartDate", Blank),
    ("calculationDate", Time),
    ("claimId", Blank),
    ("customerCountry", Pick(COUNTRIES)),
    ("customerEmail", Pick(&["ap@contoso.com", "rechnung@fabrikam.de", "", "", "", ""])),
    ("customerName", Pick(CUSTOMERS)),
    ("customerTenantId", Guid(900)),
    ("distributorId", Pick(&["5300019", "4411", ""])),
    ("distributorName", Pick(&["Distribution Européenne, S.A.", "", "", ""])),
    ("earningAmount", Money(4)),
    ("earningAmountInLastPaymentCurrency", Money(6)),
    ("earningAmountUSD", Money(2)),
    ("earningDate", Earned),
    ("earningExchangeRate", Rate),
    ("earningId", Guid(0)),
    ("earningRate", Percent),
    ("earningType", Pick(&["Rebate", "Co-op", "Fee", "Sell", "Adjustment-Rebate"])),
    ("exchangeRateDate", Day),
    ("externalReferenceId", Blank),
    ("externalReferenceIdLabel", Blank),
    ("instantRebateAmount", Blank),
    ("invoiceDate", Blank),
    ("invoiceNumber", Digits(50_000)),
    ("lastPaymentCurrency", Pick(&["EUR", "USD", "JPY"])),
    ("lever", Pick(LEVERS)),
    ("LicensingProgramName", Pick(&["Microsoft Customer Agreement", "", ""])),
    ("LineItemId", Digits(0)),
    ("localProviderSeller", Pick(&["Microsoft"])),
    ("Maturity month", Month),
    ("OrderId", Digits(20_000)),
    ("parentProductId", Digits(200)),
    ("parentProductName", Blank),
    ("participantId", Digits(12)),
    ("participantIdType", Pick(&["ProgramId"])),
    ("participantName", Pick(&["Wide World Importers, KG"])),
    ("partnerCountryCode", Pick(&["DE"])),
    ("partNumber", Blank),
    ("paymentId", Digits(60)),
    ("paymentStatus", Pick(&["SENT", "UNPROCESSED", "UPCOMING", "IN PROGRESS"])),
    ("paymentStatusDescription", Pick(&["The payment has been sent to your bank.", "", ""])),
    ("productId", Digits(200)),
    ("productName", Pick(PRODUCTS)),
    ("productType", Pick(&["SaaS", "Add-on", ""])),
    ("Program Code", Pick(&["CSPDB", "MCI", "OSU"])),
    (
        "programName",
        Pick(&["CSP Direct Bill Partner", "Microsoft Commerce Incentives", "Online Services Usage"]),
    ),
    ("purchaseOrderCoverageEndDate", Blank),
    ("purchaseOrderCoverageStartDate", Blank),
    ("purchaseOrderType", Pick(&["BEC", "TUP", "NE"])),
    ("purchaseTypeCode", Blank),
    ("quantity", Count),
    ("reasonCode", Pick(&["", "", "", "Ops Adjustment"])),
    ("resellerCountry", Pick(COUNTRIES)),
    ("resellerId", Digits(80)),
    ("resellerName", Pick(&["Reseller & Söhne, KG", "", "", ""])),
    ("SkuId", Pick(&["0001", "0002", "000X"])),
    ("storeFee", Money(2)),
    ("subscriptionEndDate", Day),
    ("subscriptionId", Guid(5_000)),
    ("subscriptionStartDate", Day),
    ("taxCity", Pick(CITIES)),
    ("taxCountry", Pick(COUNTRIES)),
    ("taxRemitModel", Pick(&["Microsoft remits", "", "", ""])),
    ("taxRemitted", Money(2)),
    ("taxState", Pick(&["", "NY", "NRW"])),
    ("taxZipCode", Pick(&["", "00501", "50667"])),
    ("tpan", Blank),
    ("transactionAmount", Money(2)),
    ("transactionAmountUSD", Money(2)),
    ("transactionCountryCode", Pick(COUNTRIES)),
    ("transactionCurrency", Pick(&["EUR", "USD", "JPY", "GBP"])),
    ("transactionDate", Time),
    ("transactionExchangeRate", Rate),
    ("transactionId", Guid(0)),
    ("transactionPaymentMethod", Pick(&["Card", "Invoice", ""])),
    ("transactionType", Pick(&["Purchase", "Refund"])),
    ("workload", Pick(&["spo", "Virtual Machines", "powerbistandalone"])),
];

/// What a spoiled cell has in place of an amount.
const BAD: [&str; 4] = ["NaN", "12,5", "0.00000000001", "n/a"];
/// What a row has another of when it is paid.
const MOVED: [&str; 3] = ["earningAmountUSD", "paymentId", "paymentStatus"];
const FIRST_YEAR: u64 = 2023;

/// SplitMix64: every number is a function of its place.
fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

struct Row {
    random: u64,
    number: u64,
    months: u64,
    bad: bool,
    moved: bool,
}

impl Row {
    fn write(&self, column: usize, cell: Cell, out: &mut Vec<u8>) -> Result<()> {
        let moved = self.moved && MOVED.contains(&COLUMNS[column].0);
        let random = mix(self.random ^ (column as u64) << 32 ^ u64::from(moved));
        let group = |groups: u64| match groups {
            0 => mix(self.number ^ (column as u64) << 48),
            groups => mix((random % groups) ^ (column as u64) << 48),
        };
        match cell {
            Blank => {}
            Guid(groups) => {
                let (high, low) = (group(groups), mix(group(groups)));
                let parts =
                    (high >> 32, high >> 16 & 0xffff, high & 0xfff, low >> 48, low & 0xffff_ffff_ffff);
                write!(
                    out,
                    "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
                    parts.0, parts.1, parts.2, parts.3, parts.4
                )?;
            }
            Digits(groups) => write!(out, "{:09}", group(groups) % 1_000_000_000)?,
            Pick(of) => quoted(of[(random % of.len() as u64) as usize], out),
            Money(_) if self.bad && column == 11 => quoted(BAD[(random % 4) as usize], out),
            Money(digits) => {
                let sign = if random.is_multiple_of(11) { "-" } else { "" };
                let units = random >> 8;
                let fraction = units % 10u64.pow(digits as u32);
                write!(out, "{sign}{}.{fraction:0digits$}", units >> 30 & 0x3fff)?;
            }
            Rate => write!(out, "1.{:015}", random % 1_000_000_000_000_000)?,
            Percent => write!(out, "{}.{}", random % 20, random >> 40 & 1)?,
            Count => write!(out, "{}", random % 500 + 1)?,
            Earned => {
                let month = random % self.months;
                let day = (random >> 32) % 28 + 1;
                write!(out, "{}-{:02}-{day:02}T00:00:00Z", FIRST_YEAR + month / 12, month % 12 + 1)?;
            }
            Time => {
                let parts =
                    (random >> 8 & 1, random >> 16, random >> 24, random >> 32, random >> 40, random >> 9);
                let (year, month, day) = (FIRST_YEAR + parts.0, parts.1 % 12 + 1, parts.2 % 28 + 1);
                let (hour, minute, second, tick) =
                    (parts.3 % 24, parts.4 % 60, parts.4 / 60 % 60, parts.5 % 10_000_000);
                write!(out, "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{tick:07}Z")?;
            }
            Day => write!(out, "2024-{:02}-{:02}", random % 12 + 1, (random >> 16) % 28 + 1)?,
            Month => write!(out, "2024-{:02}", random % 12 + 1)?,
        }
        Ok(())
    }
}

fn quoted(text: &str, out: &mut Vec<u8>) {
    if !text.contains([',', '"', '\n']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

/// What a file is like.
#[derive(Clone, Copy)]
pub struct Shape {
    pub seed: u64,
    pub months: u64,
    /// Of 1,000 rows, so many have a cell that does not fit.
    pub bad: u64,
    /// Of 1,000 rows, so many were paid since.
    pub moved: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Shape { seed: 1, months: 12, bad: 0, moved: 0 }
    }
}

/// Writes a header and so many rows.
pub fn write(rows: u64, shape: Shape, mut out: impl Write) -> Result<()> {
    let header: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    write!(out, "\u{feff}{}\r\n", header.join(","))?;
    let mut line = Vec::new();
    for number in (0..rows).map(|number| shape.seed << 40 ^ number) {
        line.clear();
        let random = mix(number);
        let is_one = |of: u64, salt: u64| mix(random ^ salt) % 1000 < of;
        let (bad, moved) = (is_one(shape.bad, 7), is_one(shape.moved, 11));
        let row = Row { random, number, months: shape.months, bad, moved };
        for (index, (_, cell)) in COLUMNS.iter().enumerate() {
            if index > 0 {
                line.push(b',');
            }
            row.write(index, *cell, &mut line)?;
        }
        line.extend_from_slice(b"\r\n");
        out.write_all(&line)?;
    }
    out.flush()
}
