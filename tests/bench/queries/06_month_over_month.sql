-- Each programme's month against the month before.
WITH months AS (
    SELECT program_name, earning_month, sum(earning_amount_usd) AS usd FROM transaction_history GROUP BY ALL
)
SELECT program_name, earning_month, usd, usd - lag(usd) OVER (PARTITION BY program_name ORDER BY earning_month) AS more
FROM months
ORDER BY 1, 2
