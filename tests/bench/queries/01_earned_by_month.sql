-- What was earned, by programme, month and currency.
SELECT program_name, earning_month, transaction_currency, count(*) AS earnings, sum(earning_amount) AS earned
FROM transaction_history
GROUP BY ALL
ORDER BY 1, 2, 3
