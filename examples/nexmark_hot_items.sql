-- Hot items: every 2 seconds of event time, how many bids each auction had in the last 10 seconds.
--
--   cargo run --release -- run examples/nexmark_hot_items.sql
--
-- The generator makes half a million events of an auction site, 10 000 to the second of event time, always the same ones.
-- The windows overlap, so that a bid counts in five of them; the slices that they share are kept once.

CREATE TABLE nexmark (
    event_type INT,
    bid ROW<auction BIGINT, bidder BIGINT, price BIGINT, dateTime TIMESTAMP(3)>,
    auction ROW<dateTime TIMESTAMP(3)>,
    person ROW<dateTime TIMESTAMP(3)>,
    dateTime AS CASE event_type WHEN 0 THEN person.dateTime WHEN 1 THEN auction.dateTime ELSE bid.dateTime END,
    WATERMARK FOR dateTime AS dateTime - INTERVAL '1' SECOND
) WITH (
    'connector' = 'nexmark',
    'events.num' = '500000',
    'first-event.rate' = '10000'
);

CREATE VIEW bid AS SELECT bid.auction AS auction, dateTime FROM nexmark WHERE event_type = 2;

SELECT window_start, window_end, auction, COUNT(*) AS bids
FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
GROUP BY window_start, window_end, auction
HAVING COUNT(*) > 815;
