-- Earnings that were calculated long after they were earned.
SELECT earning_month, count(*) AS earnings, sum(earning_amount_usd) AS usd, max(calculation_date) AS latest
FROM transaction_history
WHERE calculation_date > earning_date + INTERVAL '60 days'
GROUP BY earning_month
ORDER BY earning_month
