-- One month, by lever and type: only its files are read.
SELECT lever, earning_type, sum(earning_amount_usd) AS usd, sum(transaction_amount_usd) AS sold_usd
FROM transaction_history
WHERE earning_month = '2023-06'
GROUP BY ALL
ORDER BY 1, 2
