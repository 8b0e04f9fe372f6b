-- The customers behind most of the money of a year.
SELECT customer_tenant_id, min(customer_name) AS customer, sum(earning_amount_usd) AS usd
FROM transaction_history
WHERE earning_month BETWEEN '2023-01' AND '2023-12'
GROUP BY customer_tenant_id
ORDER BY usd DESC, customer_tenant_id
LIMIT 20
