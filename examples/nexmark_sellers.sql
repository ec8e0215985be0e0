-- Sellers: by the state that they live in, how many auctions they have, how often was bid on those, and the highest bid.
--
--   cargo run --release -- run examples/nexmark_sellers.sql
--
-- A result that changes: rows that come are marked `+`, rows that go `-` (with --json: "$weight"). The changes of an epoch
-- (`--set epoch.interval=1s`) appear together, and add up to the answer for all events until then. `thalweg explain` tells
-- that the joins keep every row: persons and auctions may be bid on at any time.

CREATE TABLE nexmark (
    event_type INT,
    person ROW<id BIGINT, state STRING>,
    auction ROW<id BIGINT, seller BIGINT>,
    bid ROW<auction BIGINT, price BIGINT>
) WITH (
    'connector' = 'nexmark',
    'events.num' = '50000'
);

CREATE VIEW person AS SELECT person.id AS id, person.state AS state FROM nexmark WHERE event_type = 0;
CREATE VIEW auction AS SELECT auction.id AS id, auction.seller AS seller FROM nexmark WHERE event_type = 1;
CREATE VIEW bid AS SELECT bid.auction AS auction, bid.price AS price FROM nexmark WHERE event_type = 2;

SELECT person.state, COUNT(DISTINCT auction.id) AS auctions, COUNT(bid.price) AS bids, MAX(bid.price) AS highest
FROM auction
JOIN person ON auction.seller = person.id
LEFT JOIN bid ON bid.auction = auction.id
GROUP BY person.state;
