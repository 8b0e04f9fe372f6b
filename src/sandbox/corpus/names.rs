//! The world of the corpus as tables: who earns, in which programmes, from which customers and products.

use super::money::{EUR, JPY, KWD, SEK, USD};

/// An enrolled location, or a seller of the marketplace.
pub struct Participant {
    pub id: &'static str,
    pub id_type: &'static str,
    pub name: &'static str,
    pub country: &'static str,
    /// Index into `CURRENCIES`: what its bank account takes.
    pub pays_in: usize,
    /// Whose bank account takes its money: an index into [`PARTICIPANTS`]. Those who share one share payment ids.
    pub payee: usize,
    /// Tax that is kept back from each payment, in hundredths of a percent.
    pub withheld: i128,
    /// Sales tax that is paid on top of incentives, in hundredths of a percent.
    pub sales_tax: i128,
    /// Tax on the marketplace's fee, in hundredths of a percent of the fee.
    pub fee_tax: i128,
    /// Whether it must send a tax invoice before it is paid.
    pub tax_invoice: bool,
}

/// The participant whose earnings the caller may not see: the last one.
pub const HIDDEN: usize = PARTICIPANTS.len() - 1;

/// The seller of the marketplace offers.
pub const SELLER: usize = 6;

/// Indexes of those who earn incentives and whom the caller sees.
pub const INCENTIVE_EARNERS: std::ops::Range<usize> = 0..6;

pub const PARTICIPANTS: [Participant; 8] = [
    participant("5100011", "Contoso, Ltd.", "US", USD, 0, [0, 0], false),
    participant("5100028", "Contoso Deutschland GmbH", "DE", EUR, 1, [0, 1900], false),
    participant("5100035", "Contoso Sverige AB", "SE", SEK, 2, [0, 2500], false),
    participant("5100042", "コントソ株式会社", "JP", JPY, 3, [1021, 0], false),
    participant("5100059", "كونتوسو الخليج", "KW", KWD, 4, [500, 0], false),
    participant("5100066", "Contoso Italia S.r.l.", "IT", EUR, 5, [0, 2200], true),
    Participant {
        id: "70000117",
        id_type: "Seller ID",
        name: "Contoso Publishing \"CloudApps\"",
        country: "US",
        pays_in: USD,
        payee: 6,
        withheld: 150,
        sales_tax: 0,
        fee_tax: 625,
        tax_invoice: false,
    },
    participant("5100073", "Contoso Suisse Sàrl", "CH", EUR, 1, [0, 0], false),
];

const fn participant(
    id: &'static str,
    name: &'static str,
    country: &'static str,
    pays_in: usize,
    payee: usize,
    [withheld, sales_tax]: [i128; 2],
    tax_invoice: bool,
) -> Participant {
    let id_type = "MPN ID";
    Participant { id, id_type, name, country, pays_in, payee, withheld, sales_tax, fee_tax: 0, tax_invoice }
}

/// The kind of order that pays an earning: the filters `payableSubType` and `payoutOrderType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderType {
    Rebate,
    CoOp,
    Fee,
    Sell,
}

pub const ORDER_TYPES: [OrderType; 4] = [OrderType::Rebate, OrderType::CoOp, OrderType::Fee, OrderType::Sell];

impl OrderType {
    /// As the column `earningType` spells it.
    #[must_use]
    pub fn label(self) -> &'static str {
        ["Rebate", "Co-op", "Fee", "Sell"][self as usize]
    }

    /// As the filters spell it.
    #[must_use]
    pub fn code(self) -> &'static str {
        ["REBATE", "COOP", "FEE", "SELL"][self as usize]
    }
}

/// Which columns a programme fills, and when its rows appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Csp,
    Mci,
    Marketplace,
    Agreement,
    Oem,
}

pub struct Programme {
    pub name: &'static str,
    pub code: &'static str,
    pub family: Family,
    /// Months from the earning month to the month of its payment: 2 for incentives (earned in June, calculated
    /// in July, paid in August), 3 for agreements and for the marketplace with its hold of 30 days.
    pub paid_after: i32,
    /// Share of the rows, in percent.
    pub weight: usize,
    pub levers: &'static [Lever],
}

/// A rule of a programme under which something is earned.
pub struct Lever {
    pub name: &'static str,
    pub engagement: &'static str,
    pub solution_area: &'static str,
    pub order: OrderType,
    /// Percent of the transaction amount, in ten-thousandths of a percent.
    pub rate: i64,
    /// Earned on many transactions at once (growth, usage): no customer, product or transaction is told.
    pub aggregated: bool,
}

const fn lever(name: &'static str, rate: i64) -> Lever {
    Lever { name, engagement: "", solution_area: "", order: OrderType::Rebate, rate, aggregated: false }
}

const fn engaged(
    name: &'static str,
    engagement: &'static str,
    solution_area: &'static str,
    order: OrderType,
    rate: i64,
    aggregated: bool,
) -> Lever {
    Lever { name, engagement, solution_area, order, rate, aggregated }
}

/// Programmes of positions in the corpus that are bound to CSP: split twins and accelerators.
pub const CSP: std::ops::Range<usize> = 0..3;

pub const PROGRAMMES: [Programme; 8] = [
    Programme {
        name: "CSP Direct Bill Partner",
        code: "CSPDB",
        family: Family::Csp,
        paid_after: 2,
        weight: 18,
        levers: &[
            lever("CSP Direct Partner: Core", 37_500),
            lever("CSP Direct Partner: Global Strategic Product Accelerator", 75_000),
            lever("CSP Customer Add Accelerator", 50_000),
        ],
    },
    Programme {
        name: "CSP Indirect Provider",
        code: "CSPIP",
        family: Family::Csp,
        paid_after: 2,
        weight: 14,
        levers: &[
            lever("CSP Indirect Provider: Core", 30_000),
            lever("CSP Indirect Provider: FY19 H2: Core O365 Products", 42_500),
        ],
    },
    Programme {
        name: "CSP Indirect Reseller",
        code: "CSPIR",
        family: Family::Csp,
        paid_after: 2,
        weight: 12,
        levers: &[
            lever("CSP Indirect Reseller: Core", 40_000),
            lever("CSP Indirect Reseller: Global, Strategic", 55_000),
        ],
    },
    Programme {
        name: "Microsoft Commerce Incentives",
        code: "MCI",
        family: Family::Mci,
        paid_after: 2,
        weight: 24,
        levers: &[
            engaged(
                "Azure Enterprise and Self-Service Motion",
                "Azure Enterprise and Self-Service Incentive",
                "Azure",
                OrderType::Rebate,
                42_000,
                true,
            ),
            engaged(
                "AMMP Infra/Database Migration (Large)",
                "Azure CSP motion incentives - Indirect Provider",
                "Azure",
                OrderType::Fee,
                125_000,
                false,
            ),
            engaged(
                "Microsoft 365 Cust Add New Commerce",
                "Microsoft 365 Cust Add New Commerce CSP – Direct Bill",
                "Modern Work",
                OrderType::Rebate,
                150_000,
                false,
            ),
            engaged(
                "Security Workload Usage",
                "Security Online Services Usage",
                "Security",
                OrderType::Rebate,
                61_250,
                true,
            ),
            engaged(
                "Business Applications: Deploy",
                "Business Applications PAL Incentive",
                "Business Applications",
                OrderType::Fee,
                87_500,
                false,
            ),
        ],
    },
    Programme {
        name: "Azure Marketplace",
        code: "AZMP",
        family: Family::Marketplace,
        paid_after: 3,
        weight: 20,
        levers: &[engaged("Azure Marketplace", "", "", OrderType::Sell, 800_000, false)],
    },
    Programme {
        name: "Enterprise",
        code: "EA",
        family: Family::Agreement,
        paid_after: 3,
        weight: 6,
        levers: &[
            lever("Enterprise Agreement: Annual Fee", 20_000),
            lever("Enterprise: New Customer", 65_000),
        ],
    },
    Programme {
        name: "SPLAR",
        code: "SPLAR",
        family: Family::Agreement,
        paid_after: 3,
        weight: 3,
        levers: &[lever("SPLAR: Core Hosting", 32_500)],
    },
    Programme {
        name: "OEM Jumpstart",
        code: "OEMJS",
        family: Family::Oem,
        paid_after: 3,
        weight: 3,
        levers: &[lever("OEM Jumpstart Tier 1", 45_000), lever("OEM Jumpstart Tier 2", 25_000)],
    },
];

/// Customer names; number `n` of the corpus is name `n % 40`, from the second round on with a number behind it.
/// They hold what breaks careless readers: separators, quotes, line ends, scripts from right to left.
pub const CUSTOMERS: [&str; 40] = [
    "Adventure Works",
    "Alpine Ski House",
    "Bellows College",
    "Northwind Traders",
    "Fabrikam, Inc.",
    "Wide World Importers",
    "Tailspin Toys",
    "Proseware \"The Best\", LLC",
    "Łódź Świetlana Sp. z o.o.",
    "Société Générale d'Été",
    "Müller & Söhne GmbH & Co. KG",
    "ООО «Ромашка», Москва",
    "北京云端科技有限公司",
    "東京データ株式会社",
    "서울 클라우드 주식회사",
    "شركة النور للتقنية، ذ.م.م",
    "אור מערכות בע\"מ",
    "Lucerne Publishing\r\nBranch Zürich",
    "Trey Research\nBuilding 7",
    "Margie's Travel",
    "Coho Vineyard",
    "Coho Winery; Cellars",
    "School of Fine Art",
    "Woodgrove Bank",
    "Litware, Inc. (Boston, MA)",
    "Blue Yonder Airlines",
    "City Power & Light",
    "Consolidated Messenger",
    "Graphic Design Institute",
    "Humongous Insurance",
    "Southridge Video\tMedia",
    "VanArsdel, Ltd.",
    "The Phone Company",
    "Fourth Coffee",
    "Best For You Organics",
    "Relecloud",
    "Munson's Pickles and Preserves Farm",
    "Liberty's Delightful Sinful Bakery & Café",
    "=SUM(A1) Analytics",
    "'Lamna' Healthcare",
];

pub const CUSTOMER_COUNTRIES: [(&str, &str, &str, &str); 8] = [
    ("US", "WA", "Redmond", "98052"),
    ("US", "MA", "Boston", "02108"),
    ("DE", "BY", "München", "80331"),
    ("SE", "", "Göteborg", "411 05"),
    ("JP", "東京都", "千代田区", "100-0001"),
    ("KW", "", "Kuwait City", "13001"),
    ("FR", "", "Saint-Étienne", "42000"),
    ("IT", "MI", "Milano", "20121"),
];

/// Product name and workload.
pub const PRODUCTS: [(&str, &str); 8] = [
    ("Microsoft 365 Business Premium", "exo"),
    ("Microsoft 365 E5", "teams"),
    ("Azure plan", "Virtual Machines"),
    ("Azure SQL Database", "SQL Database"),
    ("Power BI Pro", "powerbistandalone"),
    ("SharePoint Online (Plan 2)", "spo"),
    ("Dynamics 365 Sales, Enterprise", "dyn365sales"),
    ("Microsoft Defender for Office 365", "mdo"),
];

/// Marketplace offers: parent product and product.
pub const OFFERS: [(&str, &str); 4] = [
    ("CloudApps Backup", "CloudApps Backup - Gold, 1 TB"),
    ("CloudApps Monitor", "CloudApps Monitor"),
    ("CloudApps \"Edge\"", "CloudApps \"Edge\" Gateway"),
    ("CloudApps Vault", "CloudApps Vault Premium"),
];

/// Why an adjustment exists.
pub const REASON_CODES: [&str; 5] = [
    "Ops Adjustment",
    "Previous period earnings",
    "Policy Exception",
    "AR Compliance",
    "Partner mapping (subscription) MCI/CSP",
];

pub const RESELLERS: [(&str, &str, &str); 4] = [
    ("5200017", "Reseller One, LLC", "US"),
    ("5200024", "Zweiter Händler AG", "DE"),
    ("5200031", "Tredje Säljaren AB", "SE"),
    ("5200048", "Quatrième Revendeur", "FR"),
];
