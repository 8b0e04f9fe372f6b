-- Money that was taken back, by reason.
SELECT reason_code, transaction_type, earning_month, count(*) AS earnings, sum(earning_amount_usd) AS usd
FROM transaction_history
WHERE earning_amount < 0
GROUP BY ALL
ORDER BY 1, 2, 3
