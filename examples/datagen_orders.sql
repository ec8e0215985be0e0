-- Random orders, the same in every run: what they cost in each second of event time.
--
--   thalweg run examples/datagen_orders.sql
--
-- `base-time` gives order `n` the time `n / 2000` seconds after it; without it the orders would have the time of the wall clock.
-- Fields of a ROW and elements of an ARRAY have options of their own.

CREATE TABLE orders (
    id BIGINT,
    price DECIMAL(10, 2),
    buyer ROW<name STRING, age INT>,
    tags ARRAY<STRING>,
    ordered_at TIMESTAMP(3),
    WATERMARK FOR ordered_at AS ordered_at - INTERVAL '1' SECOND
) WITH (
    'connector' = 'datagen',
    'rows-per-second' = '2000',
    'base-time' = '2026-01-01 00:00:00',
    'fields.id.kind' = 'sequence',
    'fields.id.start' = '1',
    'fields.id.end' = '5000',
    'fields.price.min' = '0.99',
    'fields.price.max' = '99.99',
    'fields.buyer.name.length' = '8',
    'fields.buyer.age.min' = '18',
    'fields.buyer.age.max' = '99',
    'fields.tags.length' = '2',
    'fields.tags.element.length' = '4'
);

SELECT window_start, COUNT(*) AS orders, MAX(id) AS last, MIN(price) AS lowest, MAX(price) AS highest,
       MIN(buyer.age) AS youngest, MAX(buyer.age) AS oldest
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ordered_at), INTERVAL '1' SECOND))
GROUP BY window_start, window_end;
