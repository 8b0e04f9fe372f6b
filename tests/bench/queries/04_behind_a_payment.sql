-- Which earnings each payment is made of, in the currency of the payment.
SELECT payment_id, last_payment_currency, count(*) AS earnings, sum(earning_amount_in_last_payment_currency) AS paid
FROM transaction_history
GROUP BY ALL
ORDER BY 1, 2
