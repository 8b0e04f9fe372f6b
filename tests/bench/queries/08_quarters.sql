-- What was sold and earned of each product, by quarter.
SELECT CAST(date_trunc('quarter', earning_date) AS DATE) AS quarter, product_name, count(DISTINCT customer_tenant_id) AS customers,
    sum(transaction_amount_usd) AS sold_usd, sum(earning_amount_usd) AS usd
FROM transaction_history
GROUP BY 1, 2
ORDER BY 1, 2
