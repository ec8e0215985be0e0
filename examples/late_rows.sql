-- Rows that come after their window has fired are not lost: they are counted, and go to the table that `late.table` names.
--
--   thalweg run examples/late_rows.sql
--
-- The generator shuffles its events in groups of 2000, which are 2 seconds of event time; the watermark allows for half a second
-- only. Windows of one second that have fired by then count fewer bids, and the bids that they miss are shown beside them.

-- Time moves between batches: small ones show on few rows what large ones show on many.
SET 'batch.rows' = '8';
SET 'watermark.interval' = '0 ms';
SET 'parallelism' = '1';

CREATE TABLE nexmark (
    event_type INT,
    bid ROW<auction BIGINT, price BIGINT, dateTime TIMESTAMP(3)>,
    at AS bid.dateTime,
    WATERMARK FOR at AS at - INTERVAL '0.5' SECOND
) WITH (
    'connector' = 'nexmark',
    'events.num' = '10000',
    'first-event.rate' = '1000',
    'out-of-order-group-size' = '2000',
    'late.table' = 'late'
);

CREATE VIEW bids AS SELECT bid.auction AS auction, bid.price AS price, at FROM nexmark WHERE event_type = 2;

CREATE TABLE late (auction BIGINT, price BIGINT) WITH ('connector' = 'print', 'print-identifier' = 'late');

SELECT window_start, auction, COUNT(*) AS bids, MAX(price) AS highest
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(at), INTERVAL '1' SECOND))
GROUP BY window_start, window_end, auction
HAVING COUNT(*) > 100;
