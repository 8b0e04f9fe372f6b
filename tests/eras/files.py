"""Files of every era of every report, and what a lake of them must hold.

Written from the published column lists (`columns.json`: names and types, in the order in which they were published), not
from `schemas/` and without a look at the connector: the two cannot share a mistake.

    files.py FOLDER      writes each era in three ways, and prints one JSON object:
                         files: name, dataset, version, months that it covers, whether it is to be loaded
                         sums:  dataset -> lines `column,month,currency,rows,sum` over the files that are to be loaded
                         money: dataset -> `column:currency column` for each of its amounts
"""

import datetime as dt
import gzip
import io
import json
import pathlib
import random
import re
import sys
import zipfile
from decimal import Decimal

ROWS = 40

# The column that holds the currency of an amount; all others of type money are in US dollars.
CURRENCIES = {
    "earningAmount": "transactionCurrency",
    "transactionAmount": "transactionCurrency",
    "storeFee": "transactionCurrency",
    "taxRemitted": "transactionCurrency",
    "earningAmountInLastPaymentCurrency": "lastPaymentCurrency",
    "paymentAmountWOTax": "paymentCurrency",
    "earned": "earnedCurrencyCode",
    "withheldTax": "paymentCurrencyCode",
    "salesTax": "paymentCurrencyCode",
    "serviceFeeTax": "paymentCurrencyCode",
    "totalPayment": "paymentCurrencyCode",
    "Transaction Amount": "Transaction Currency",
    "Tax Remitted": "Transaction Currency",
    "Net Receipts": "Transaction Currency",
    "App Proceeds": "Transaction Currency",
    "Taxes Withheld": "Transaction Currency",
    "Payment": "Transaction Currency",
    "Converted Payment": "Payment Currency",
    # Documented without a currency; granted at invoice, so most likely that of the transaction.
    "instantRebateAmount": "transactionCurrency",
}
# Described as amounts, but a head count and a percentage at times: numbers without a currency.
NUMBERS = {"baseline", "Store Fee"}
# One column under two names, by time; the list gives the name that it has today.
RENAMED = {"TenantID": "customerTenantId", "Customer EmailAddress": "customerEmail"}
# What is never blank, of all reports.
FILLED = {
    "earningId", "participantId", "participantID", "programName", "earningType", "earningAmount", "earningAmountUSD",
    "earningDate", "earned", "totalPayment", "paymentStatus", "unearnedId", "partnerId", "Transaction ID",
}
# The date that says which month a row belongs to.
DATES = {
    "payments": "paymentDate",
    "ineligible_revenue_usage": "transactionDate",
    "max_cap_balance": "maxCapBalanceRefreshDate",
    "historical_statements_paid": "Transaction Date Time (UTC)",
    "historical_statements_reserved": "Transaction Date Time (UTC)",
}
# First month of the rows of an era; each has four months.
STARTS = {
    "E0": "2019-06", "E1": "2019-11", "E2": "2020-03", "E2b": "2020-08", "E3": "2021-01", "E4": "2023-01",
    "E5": "2023-09", "E7": "2025-01", "E8": "2025-09", "OBS": "2026-03", "P0": "2019-06", "P1": "2021-01",
    "P2": "2024-05", "G0": "2020-08", "G1": "2024-01", "HS": "2018-11",
}


def eras():
    return json.loads(pathlib.Path(__file__).with_name("columns.json").read_text())


def key(name):
    return re.sub(r"[\s_/-]", "", name).lower()


def snake(name):
    words = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    words = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", words)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()


def targets(name, header):
    """The columns of the lake that a cell fills; none: it is kept as it is, among the unknown ones."""
    if name == "Customer Country" and "customerCountry" in header:
        return []
    if name == "currencyCode":
        return ["earned_currency_code", "payment_currency_code"]
    names = [snake(RENAMED.get(name, name))]
    if name == "Maturity month" and "estimatedpaymentmonth" not in map(key, header):
        names.append("estimated_payment_month")
    return names


def months(era):
    year, month = map(int, STARTS.get(era["era"], "2024-02").split("-"))
    return [f"{year + (month - 1 + n) // 12}-{(month - 1 + n) % 12 + 1:02}" for n in range(4)]


def value(dice, era, row, name, kind):
    """The cell as it is printed, and what it means."""
    year, month = map(int, dice.choice(months(era)).split("-"))
    day = dt.date(year, month, dice.randint(1, 28))
    ident = f"{era['era']}-{row:04}"
    if name in ("earningId", "unearnedId", "Transaction ID"):
        # The Growth report repeats an earning on several rows.
        return (f"{ident[:-1]}x", f"{ident[:-1]}x") if era["dataset"] == "earnings_growth" else (ident, ident)
    if name in ("subscriptionId", "paymentID", "customerID") or (name == "transactionId" and row % 2):
        return (f"00{ident}", f"00{ident}")
    if kind == "string" and key(name).endswith(("currency", "currencycode")):
        # By row and not by column: amounts beside two currencies are equal in both.
        code = ["EUR", "USD", "JPY", "KWD"][row % 4]
        return code, code
    if name in NUMBERS or kind == "decimal":
        number = Decimal(dice.randint(-9_999_999, 9_999_999)) / dice.choice([1, 100, 10_000])
        return str(number), number
    if kind == "decimal money":
        amount = Decimal(dice.randint(-99_999_999, 99_999_999)) / dice.choice([1, 10, 100, 1000, 10**10])
        text = f"{amount:f}"
        return dice.choice([text, f"({-amount:f})" if amount < 0 else text]), amount
    if kind == "exchange rate":
        rate = Decimal(dice.randint(1, 10**9)) / 10**9
        return f"{rate:f}", rate
    if kind == "int":
        number = dice.randint(0, 900)
        return str(number), number
    if kind == "bool":
        truth = dice.random() < 0.5
        return dice.choice(["True", "true"] if truth else ["False", "false"]), truth
    if kind == "date":
        return day.isoformat(), day
    if kind == "timestamp":
        time = dt.datetime(day.year, day.month, day.day, dice.randint(0, 23), dice.randint(0, 59), 7)
        return time.strftime(dice.choice(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S"])), time
    if kind == "month":
        text = dice.choice([day.strftime("%b-%Y"), day.strftime("%Y-%m"), "Not applicable"])
        return text, text if text == "Not applicable" else day.strftime("%Y-%m")
    text = dice.choice(["Ada, Öl & Söhne", 'the "best"', "007", "Fabrikam", "a\tb", "Contoso Ltd.", "日本"])
    return f"{text} {row}", f"{text} {row}"


def rows(era):
    """Rows as printed cells and as what they mean, by the position in the header."""
    dice = random.Random(f"{era['dataset']} {era['era']}")
    for row in range(ROWS):
        cells = []
        for name, kind in era["columns"]:
            cell = value(dice, era, row, name, kind)
            money = kind == "decimal money" or "currency" in key(name)
            blank = name not in FILLED and not money and name != DATES.get(era["dataset"]) and dice.random() < 0.2
            cells.append(("", None) if blank else cell)
        yield cells


def mangled(dice, name):
    """The same name to whoever overlooks case, blanks and underscores."""
    if key(name) == "customercountry":
        return name  # Of two such columns the exact spelling decides.
    words = snake(name).split("_") if "(" not in name else [name]
    return dice.choice([name.upper(), name.lower(), "_".join(words), f" {' '.join(words).title()} "])


def text_of(header, table, delimiter=",", end="\r\n"):
    def cell(text):
        quoted = any(c in text for c in (delimiter, '"', "\n"))
        return '"' + text.replace('"', '""') + '"' if quoted else text

    return "".join(delimiter.join(map(cell, line)) + end for line in [header, *table])


def ways(era, at):
    """The file in three ways: as published; shuffled, with other spellings; packed."""
    header = [name for name, _ in era["columns"]]
    table = [[printed for printed, _ in row] for row in rows(era)]
    plain = text_of(header, table).encode()
    dice = random.Random(f"order {at}")
    order = dice.sample(range(len(header)), len(header))
    other = [mangled(dice, header[i]) for i in order]
    shuffled = text_of(other, [[row[i] for i in order] for row in table], "\t", "\n")
    packed = io.BytesIO()
    if at % 2:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inside.csv", plain)
    else:
        packed.write(gzip.compress(plain))
    return [("plain.csv", plain), ("shuffled.tsv", b"\xef\xbb\xbf" + shuffled.encode()), ("packed.bin", packed.getvalue())]


def sums(loaded):
    """Dataset -> column, month, currency -> count and sum."""
    found = {}
    for era in loaded:
        names = [name for name, _ in era["columns"]]
        date = names.index(DATES.get(era["dataset"], "earningDate"))
        for row in rows(era):
            month = row[date][1].strftime("%Y-%m")
            for (name, kind), (_, meant) in zip(era["columns"], row):
                if kind != "decimal money" or meant is None:
                    continue
                where = CURRENCIES.get(name)
                if name in NUMBERS:
                    currency = "number"
                elif where is None:
                    currency = "USD"
                else:
                    where = where if where in names else "currencyCode"
                    currency = row[names.index(where)][1]
                at = (snake(name), month, currency)
                count, total = found.setdefault(era["dataset"], {}).get(at, (0, Decimal(0)))
                found[era["dataset"]][at] = (count + 1, total + meant)
    return {
        dataset: sorted(",".join([*at, str(count), f"{total:.10f}"]) for at, (count, total) in lines.items())
        for dataset, lines in found.items()
    }


def money(loaded):
    found = {}
    for era in loaded:
        for name, kind in era["columns"]:
            if kind == "decimal money":
                where = CURRENCIES.get(name)
                currency = "=number" if name in NUMBERS else snake(where) if where else "=USD"
                found.setdefault(era["dataset"], {})[snake(name)] = currency
    return {dataset: [f"{a}:{b}" for a, b in columns.items()] for dataset, columns in found.items()}


def file_name(era, at):
    """The file of an era that is loaded: each way has its turn."""
    return f"{era['dataset']}-{era['era']}-{['plain.csv', 'shuffled.tsv', 'packed.bin'][at % 3]}"


def main():
    folder = pathlib.Path(sys.argv[1])
    files = []
    for at, era in enumerate(eras()):
        for way, content in ways(era, at):
            name = f"{era['dataset']}-{era['era']}-{way}"
            (folder / name).write_bytes(content)
            covers = f"{months(era)[0]}..{months(era)[-1]}"
            load = era["dataset"] is not None and name == file_name(era, at)
            columns = sorted({column for name, _ in era["columns"] for column in targets(name, [n for n, _ in era["columns"]])})
            files.append({**era, "name": name, "covers": covers, "load": load, "columns": columns})
    loaded = [era for era in eras() if era["dataset"]]
    print(json.dumps({"files": files, "sums": sums(loaded), "money": money(loaded)}))


if __name__ == "__main__":
    main()
