-- What is not paid yet, by month and status.
SELECT earning_month, payment_status, count(*) AS earnings, sum(earning_amount_usd) AS usd
FROM transaction_history
WHERE payment_status <> 'SENT'
GROUP BY ALL
ORDER BY 1, 2
