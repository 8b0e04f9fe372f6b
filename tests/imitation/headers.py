"""Column lists of the exports, by the time in which they were seen, in published spelling.

From September 2020 on the lists are published in alphabetical order, while new columns came physically "at the right
side"; the order of a real file is not known. `order` gives both, and one that nobody would expect.
"""

import random
import re


def names(text):
    return [name.strip() for name in text.replace("\n", " ").split(",")]


# November 2019, in file order.
E1 = names("""
earningId, participantId, participantIdType, participantName, partnerCountryCode, programName, transactionId,
transactionCurrency, transactionDate, transactionExchangeRate, transactionAmount, transactionAmountUSD, lever,
earningRate, quantity, quantityType, earningType, earningAmount, earningAmountUSD, earningDate, calculationDate,
earningExchangeRate, exchangeRateDate, paymentAmountWOTax, paymentCurrency, paymentExchangeRate, claimId, planId,
paymentId, paymentStatus, paymentStatusDescription, customerId, customerName, partNumber, productName, productId,
parentProductId, parentProductName, productType, invoiceNumber, subscriptionId, subscriptionStartDate,
subscriptionEndDate, resellerId, resellerName, distributorId, distributorName, agreementNumber, agreementStartDate,
agreementEndDate, workload, transactionType, localProviderSeller, taxRemitted, taxRemitModel, storeFee,
transactionPaymentMethod, tpan, customerCountry, customerCity, customerState, customerZip, purchaseTypeCode,
purchaseOrderType, purchaseOrderCoverageStartDate, purchaseOrderCoverageEndDate, programOfferingLevel, TenantID,
externalReferenceId, externalReferenceIdLabel
""")

# September 2020 to 2022, alphabetical.
E3 = names("""
agreementEndDate, agreementNumber, agreementStartDate, calculationDate, claimId, customerCountry, customerEmail,
customerName, customerTenantId, distributorId, distributorName, earningAmount, earningAmountInLastPaymentCurrency,
earningAmountUSD, earningDate, earningExchangeRate, earningId, earningRate, earningType, exchangeRateDate,
externalReferenceId, externalReferenceIdLabel, instantRebateAmount, invoiceDate, invoiceNumber, lastPaymentCurrency,
lever, LicensingProgramName, LineItemId, localProviderSeller, Maturity month, OrderId, parentProductId,
parentProductName, participantId, participantIdType, participantName, partnerCountryCode, partNumber, paymentId,
paymentStatus, paymentStatusDescription, productId, productName, productType, Program Code, programName,
purchaseOrderCoverageEndDate, purchaseOrderCoverageStartDate, purchaseOrderType, purchaseTypeCode, quantity,
reasonCode, resellerCountry, resellerId, resellerName, SkuId, storeFee, subscriptionEndDate, subscriptionId,
subscriptionStartDate, taxCity, taxCountry, taxRemitModel, taxRemitted, taxState, taxZipCode, tpan,
transactionAmount, transactionAmountUSD, transactionCountryCode, transactionCurrency, transactionDate,
transactionExchangeRate, transactionId, transactionPaymentMethod, transactionType, workload
""")

# What came to the right of E3: two columns in January 2023, the rest in August 2023.
ADDED_2023 = names("""
baseline, baselineType, bucketSize, compensableUnits, desktopCount, earningParticipantId, earningParticipantIdType,
earningParticipantName, engagementId, engagementName, estimatedPaymentMonth, fundCategory, isPrivateOffer,
milestone, partnerAssociation, partnerRole, purchaseTypeName, quantityAlt, quantityAltType, quantityType,
resourceId, solutionArea, userCount
""")

ERAS = {
    "transactionhistory": {
        "E1": E1,
        "E3": E3,
        "E5": E3 + ADDED_2023,
        "E7": E3 + ADDED_2023 + ["agreementName"],
        "E8": E3 + ADDED_2023 + ["agreementName", "agreementType", "AssetId"],
    },
    "payments": {
        "P1": names("""
participantID, participantIDType, participantName, programName, earned, earnedUSD, withheldTax, salesTax,
serviceFeeTax, totalPayment, currencyCode, paymentMethod, paymentID, paymentStatus, paymentStatusDescription,
paymentDate
"""),
        "P2": names("""
CIReferenceNumber, earned, earnedCurrencyCode, earnedUSD, participantID, participantIDType, participantName,
paymentCurrencyCode, paymentDate, paymentID, paymentMethod, paymentStatus, paymentStatusDescription, programName,
salesTax, serviceFeeTax, totalPayment, withheldTax
"""),
    },
}


def header(dataset, era, order):
    """The columns of a file: as they were added ("grown"), alphabetically ("listed"), or "shuffled"."""
    columns = list(ERAS[dataset][era])
    if order == "listed":
        columns.sort(key=str.lower)
    elif order == "shuffled":
        random.Random(era).shuffle(columns)
    return columns


def spelled(column, case):
    """A header as a file may spell it: "published", "title" (Earning Amount USD), "lower", or "snake"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column)
    return {
        "published": column,
        "title": words[0].upper() + words[1:],
        "lower": column.lower(),
        "snake": words.replace(" ", "_").lower(),
    }[case]
