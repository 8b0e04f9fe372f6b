"""The rows behind the imitation, the files that it makes of them, and what a lake of them must hold.

The same seed and day give the same rows. Amounts are `Decimal` under a context that refuses to round; nothing here is a
float.
"""

import gzip
import io
import random
import zipfile
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta, timezone
from decimal import Context, Decimal, Inexact, setcontext

from headers import header, spelled

EXACT = Context(prec=80, traps=[Inexact])
setcontext(EXACT)

# Smallest unit of a currency as a power of ten; some earnings are finer than that.
CURRENCIES = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3, "GBP": 2}

# Lake table, month column, date column of the file, and for each money column of the lake: the column of the file and
# the one with its currency ("=USD": always dollars).
TABLES = {
    "transactionhistory": {
        "table": "transaction_history",
        "month": "earning_month",
        "date": "earningDate",
        "money": {
            "earning_amount": ("earningAmount", "transactionCurrency"),
            "earning_amount_usd": ("earningAmountUSD", "=USD"),
            "transaction_amount": ("transactionAmount", "transactionCurrency"),
            "transaction_amount_usd": ("transactionAmountUSD", "=USD"),
            "instant_rebate_amount": ("instantRebateAmount", "transactionCurrency"),
            "store_fee": ("storeFee", "transactionCurrency"),
            "tax_remitted": ("taxRemitted", "transactionCurrency"),
            "earning_amount_in_last_payment_currency": ("earningAmountInLastPaymentCurrency", "lastPaymentCurrency"),
            "payment_amount_wo_tax": ("paymentAmountWOTax", "paymentCurrency"),
        },
    },
    "payments": {
        "table": "payments",
        "month": "payment_month",
        "date": "paymentDate",
        "money": {
            "earned": ("earned", "earnedCurrencyCode"),
            "earned_usd": ("earnedUSD", "=USD"),
            "withheld_tax": ("withheldTax", "paymentCurrencyCode"),
            "sales_tax": ("salesTax", "paymentCurrencyCode"),
            "service_fee_tax": ("serviceFeeTax", "paymentCurrencyCode"),
            "total_payment": ("totalPayment", "paymentCurrencyCode"),
        },
    },
}

PARTICIPANTS = [
    ("0012345", "MPN ID", "Fabrikam, Inc.", "US"),
    ("5104987", "MPN ID", 'Northwind "Traders" Zürich', "CH"),
    ("88213377", "Seller ID", "A. Datum 株式会社", "JP"),
]
PROGRAMS = [
    ("CSP Indirect Provider", "CSPIP", "CSP Indirect Provider: FY27 H1: Core"),
    ("Microsoft Commerce Incentives", "MCI", "Azure Enterprise and Self-Service Motion"),
    ("Azure Marketplace", "AZMP", "Azure Marketplace \N{EN DASH} 1/2 'net', part"),
]
CUSTOMERS = [
    "Contoso",
    "Müller, Söhne & Co. KG",
    'The "Phone" Company',
    'Two\nlines, "both" quoted',
    "O'Brien; DROP TABLE earnings --",
    "\N{SNOWMAN} Coho Vineyard \N{PARTY POPPER}",
    "=SUM(A1:A9)",
    "tab\there",
]
STATUSES = ["UNPROCESSED", "Upcoming", "IN PROGRESS", "Sent", "Reversed", "Pending tax invoice"]


def month_of(day):
    return f"{day.year:04}-{day.month:02}"


def month_starts(today, count):
    """The first days of the `count` months that end with the one of `today`, oldest first."""
    first = today.replace(day=1)
    found = [first]
    while len(found) < count:
        first = (first - timedelta(days=1)).replace(day=1)
        found.append(first)
    return found[::-1]


def amount(rng, currency, largest=9_000):
    """A positive amount, at times finer than the currency's smallest unit."""
    digits = CURRENCIES[currency] + rng.choice([0, 0, 0, 0, 4])
    return Decimal(rng.randrange(1, largest * 10**digits)).scaleb(-digits)


class Row:
    """`cells` by published name (text, Decimal, datetime, date or None).

    `filtered_by` is what a date filter compares: a moment, plus the hours that a style gives for `clock`.
    """

    def __init__(self, cells, moment, filtered_by, clock=0):
        self.cells, self.moment, self.filtered_by, self.clock = cells, moment, filtered_by, clock
        self.month = month_of(moment) if moment else None


def earnings(seed, today, months, rows_per_month, padding=0):
    rng = random.Random(f"earnings {seed}")
    rows = []
    for first in month_starts(today, months):
        days = (min(today, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)) - first).days + 1
        for number in range(rows_per_month):
            moment = datetime.combine(first, datetime.min.time(), timezone.utc)
            moment += timedelta(days=rng.randrange(days), seconds=rng.randrange(86_400))
            if number == 0:  # the first moment of a month, and below the last one of its days
                moment = datetime.combine(first, datetime.min.time(), timezone.utc)
            elif number == 1:
                moment = datetime.combine(first + timedelta(days=days - 1), datetime.min.time(), timezone.utc)
                moment += timedelta(hours=23, minutes=59, seconds=59, microseconds=999_999)
            rows.append(earning(rng, len(rows), moment, rows, padding))
    return rows


def earning(rng, number, moment, before, padding):
    participant, program = rng.choice(PARTICIPANTS), rng.choice(PROGRAMS)
    currency = rng.choice(list(CURRENCIES))
    rate = Decimal(rng.randrange(1, 4 * 10**10)).scaleb(-10)
    earned, base = amount(rng, currency), amount(rng, currency, 90_000)
    # Dollars are rounded by the service, before anybody reads them.
    usd = Decimal(rng.randrange(1, 900_000)).scaleb(-2)
    adjustment, paid = number % 11 == 5, rng.random() < 0.6
    cells = {
        "earningId": f"{number:08}-{rng.getrandbits(32):08x}",
        "participantId": participant[0],
        "participantIdType": participant[1],
        "participantName": participant[2],
        "partnerCountryCode": participant[3],
        "programName": program[0],
        "Program Code": program[1],
        "lever": program[2],
        "transactionId": f"T{number // 3:07}",
        "transactionCurrency": currency,
        "transactionDate": moment - timedelta(days=rng.randrange(40)),
        "transactionExchangeRate": rate,
        "transactionAmount": base,
        "transactionAmountUSD": usd + 1,
        "earningRate": Decimal(rng.randrange(1, 2000)).scaleb(-2),
        "quantity": Decimal(rng.randrange(1, 500)),
        "quantityType": rng.choice(["Seats", "MAU", None]),
        "earningType": rng.choice(["Rebate", "Co-op", "Fee", "Sell"]),
        "earningAmount": earned,
        "earningAmountUSD": usd,
        "earningDate": moment,
        "calculationDate": moment + timedelta(days=2),
        "earningExchangeRate": rate,
        "exchangeRateDate": moment.date().replace(day=1),
        "paymentId": f"{rng.randrange(10**12):012}" if paid else None,
        "paymentStatus": rng.choice(STATUSES),
        "customerName": CUSTOMERS[number % len(CUSTOMERS)],
        "customerTenantId": f"{rng.getrandbits(128):032x}",
        "productName": "Azure, pay as you go",
        "taxZipCode": f"{rng.randrange(1, 9999):05}",
        "isPrivateOffer": rng.choice(["True", "false", None]),
        "estimatedPaymentMonth": "Not applicable" if program[1] == "MCI" else "Sep-2026",
        "SkuId": "0002",
        "OrderId": f"{rng.getrandbits(64):016x}",
        "lastPaymentCurrency": "EUR" if paid else None,
        "earningAmountInLastPaymentCurrency": amount(rng, "EUR") if paid else None,
        "paymentAmountWOTax": amount(rng, "GBP") if paid else None,
        "paymentCurrency": "GBP" if paid else None,
        "planId": f"plan {number % 4}",
    }
    if program[1] == "AZMP":
        cells |= {"storeFee": amount(rng, currency, 200), "taxRemitted": amount(rng, currency, 100)}
    if number % 17 == 3:
        cells["instantRebateAmount"] = amount(rng, currency, 50)
    if number % 29 == 7:
        cells |= {"earningAmount": Decimal(0), "transactionAmount": -base}
    if adjustment:
        blank = ["customerName", "customerTenantId", "productName", "transactionId", "SkuId", "OrderId"]
        cells |= dict.fromkeys(blank)
        cells |= {"earningAmount": -earned, "earningAmountUSD": -usd, "earningType": "Adjustment-Rebate"}
        cells |= {"reasonCode": "Ops Adjustment"}
    if number % 41 == 40 and before[-1].month == month_of(moment):
        cells["earningId"] = before[-1].cells["earningId"]
    if padding:
        cells["productName"] = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=padding))
    return Row(cells, moment, moment, clock=rng.randrange(12))


def payments(seed, today, months):
    rng = random.Random(f"payments {seed}")
    rows = []
    for first in month_starts(today, months):
        for participant in PARTICIPANTS:
            for program in PROGRAMS:
                rows.append(payment(rng, first, participant, program, len(rows)))
    # One payment of two programmes: the same id on two rows.
    rows[1].cells["paymentID"] = rows[0].cells["paymentID"]
    return rows


def payment(rng, first, participant, program, number):
    earned_in, paid_in = rng.choice(list(CURRENCIES)), rng.choice(list(CURRENCIES))
    pending = number % 13 == 12
    moment = datetime.combine(first, datetime.min.time(), timezone.utc) + timedelta(seconds=rng.randrange(86_000))
    sign = -1 if number % 19 == 6 else 1
    cells = {
        "participantID": participant[0],
        "participantIDType": participant[1],
        "participantName": participant[2],
        "programName": program[0],
        "earned": sign * amount(rng, earned_in),
        "earnedUSD": Decimal(rng.randrange(1, 10**6)).scaleb(-2),
        "withheldTax": amount(rng, paid_in, 90),
        "salesTax": amount(rng, paid_in, 900) if number % 3 else None,
        "serviceFeeTax": Decimal(0) if number % 2 else None,
        "totalPayment": sign * amount(rng, paid_in, 90_000_000),
        "earnedCurrencyCode": earned_in,
        "paymentCurrencyCode": paid_in,
        # Until 2024 there was one currency, of what was paid and earned.
        "currencyCode": paid_in,
        "paymentMethod": rng.choice(["electronic bank transfer", "credit note"]),
        "paymentID": None if pending else f"{rng.randrange(10**12):012}",
        "paymentStatus": "UPCOMING" if pending else "Sent",
        "paymentDate": None if pending else moment,
        "CIReferenceNumber": f"CI-{number}, \"{first.year}\"" if number % 5 == 0 else None,
    }
    return Row(cells, cells["paymentDate"], moment)


class Corpus:
    def __init__(self, seed, today, months, rows_per_month, padding=0):
        self.rows = {
            "transactionhistory": earnings(seed, today, months, rows_per_month, padding),
            "payments": payments(seed, today, months),
        }


# --- What a file looks like ---


def number_text(value, style, place):
    """A decimal as a file may spell it. `place` varies the spelling from cell to cell."""
    plain = format(value, "f")
    sign, digits = ("-", plain[1:]) if plain.startswith("-") else ("", plain)
    if style == "odd":
        whole, _, fraction = digits.partition(".")
        spelling = place % 6
        if spelling == 1:
            digits = f"{whole}.{fraction:0<10}"
        elif spelling == 2:
            digits = "000" + digits
        elif spelling == 3 and not value:
            sign, digits = "-", "0.00"
        elif spelling == 4 and whole == "0" and fraction:
            digits = "." + fraction
        elif spelling == 5 and not sign:
            sign = "+"
    elif style == "thousands":
        whole, _, fraction = digits.partition(".")
        # "1,234" alone could also mean 1.234: where a comma stands there is a point too.
        digits = f"{int(whole):,}.{fraction or '0'}"
    elif style == "accounting" and sign:
        return f"({digits})"
    return sign + digits


def moment_text(moment, style):
    if style == "date":
        return moment.strftime("%Y-%m-%d")
    if style == "seconds":
        return moment.strftime("%Y-%m-%dT%H:%M:%S")
    if style == "millis":
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
    # Seven digits, as the service writes its own times; below the last one of a second there is no rounding up.
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + ("9Z" if moment.microsecond == 999_999 else "0Z")


def cell_text(value, style, place):
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return number_text(value, style.numbers, place)
    if isinstance(value, datetime):
        return moment_text(value, style.dates)
    if isinstance(value, date):
        return value.strftime("%Y-%m-%d")
    return value


def quoted(text, style):
    needs = style.quote_all or any(mark in text for mark in ',"\r\n\t')
    return '"' + text.replace('"', '""') + '"' if needs else text


def csv_bytes(dataset, rows, style, era):
    columns = header(dataset, era, style.order)
    lines = [[spelled(column, style.case) for column in columns]]
    for place, row in enumerate(rows):
        lines.append([cell_text(row.cells.get(name), style, place + at) for at, name in enumerate(columns)])
    if style.unknown_column:
        for place, line in enumerate(lines):
            line.append("somethingNew" if place == 0 else f"new, {place}")
    text = style.newline.join(",".join(quoted(cell, style) for cell in line) for line in lines)
    text += style.newline if style.last_newline else ""
    return (b"\xef\xbb\xbf" if style.bom else b"") + text.encode()


def file_bytes(dataset, rows, style):
    """The blob of an export."""
    era = style.era if dataset == "transactionhistory" else style.payments_era
    rows = list(rows)
    random.Random(len(rows)).shuffle(rows)
    if style.container.startswith("zip"):
        return zip_bytes(dataset, rows, style, era)
    text = csv_bytes(dataset, rows, style, era)
    return gzip.compress(text, mtime=0) if style.container == "gzip" else text


def zip_bytes(dataset, rows, style, era):
    parts = {"export": (rows, era)}
    if style.container == "zip-months":
        months = defaultdict(list)
        for row in rows:
            months[row.month or "none"].append(row)
        # Files of one export may have been made under different column lists.
        eras = [era, style.second_era or era] if dataset == "transactionhistory" else [era]
        parts = {
            f"reports/{month.replace('-', '_')}_{at}": (found, eras[at % len(eras)])
            for at, (month, found) in enumerate(sorted(months.items()))
        }
    packed = io.BytesIO()
    how = zipfile.ZIP_STORED if style.container == "zip-stored" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(packed, "w", how) as file:
        if style.container == "zip-months":
            file.mkdir("reports") if hasattr(file, "mkdir") else file.writestr("reports/", b"")
        for name, (found, its_era) in parts.items():
            file.writestr(name + ".csv", csv_bytes(dataset, found, style, its_era))
    return packed.getvalue()


# --- What a lake of it must hold ---

# What makes a row itself, and its texts with every mark that a file has to quote; the last one is money.
LINES = {
    "transactionhistory": [
        "earningId", "participantId", "participantName", "lever", "customerName", "paymentId", "earningAmount"
    ],
    "payments": [
        "participantID", "participantName", "programName", "paymentID", "paymentMethod", "totalPayment"
    ],
}

def plain(value):
    text = format(value.normalize(EXACT), "f")
    return "0" if text == "-0" else text


def truth(corpus, style, months):
    """Rows and sums by month, column and currency, and one line for each row; of the earning `months` alone.

    `outside` are the lines of the other months: rows that a lake may have besides.
    """
    found = {}
    for dataset, shape in TABLES.items():
        era = style.era if dataset == "transactionhistory" else style.payments_era
        known = set(header(dataset, era, "grown"))
        rows = [row for row in corpus.rows[dataset] if dataset == "payments" or row.month in months]
        sums = defaultdict(lambda: [0, Decimal(0)])
        for row in rows:
            for column, (name, currency_from) in shape["money"].items():
                value = row.cells.get(name)
                if value is None or name not in known:
                    continue
                currency = currency_of(row, currency_from, known)
                total = sums[column, row.month or "", currency]
                total[0] += 1
                total[1] += value
        found[shape["table"]] = {
            "months": dict(sorted(Counter(row.month or "" for row in rows).items())),
            "sums": sorted([*key, count, plain(total)] for key, (count, total) in sums.items()),
            "rows": sorted(line_of(dataset, row) for row in rows),
            # How to ask a lake for the same.
            "columns": [shape["month"], *(spelled(name, "snake") for name in LINES[dataset])],
            "money": {
                column: f"'{currency[1:]}'" if currency.startswith("=") else spelled(currency, "snake")
                for column, (_, currency) in shape["money"].items()
            },
            "outside": sorted(line_of(dataset, row) for row in corpus.rows[dataset] if row not in rows),
        }
    return found


def currency_of(row, column, known):
    if column.startswith("="):
        return column[1:]
    if column not in known and column in ("earnedCurrencyCode", "paymentCurrencyCode"):
        column = "currencyCode"
    return row.cells.get(column) or ""


def line_of(dataset, row):
    cells = [row.cells.get(name) for name in LINES[dataset]]
    return [row.month or "", *(plain(cell) if isinstance(cell, Decimal) else cell or "" for cell in cells)]
