-- Fees and tax that were kept back, by country of tax.
SELECT tax_country, tax_remit_model, transaction_currency, sum(store_fee) AS fees, sum(tax_remitted) AS tax
FROM transaction_history
WHERE tax_country IS NOT NULL
GROUP BY ALL
ORDER BY 1, 2, 3
