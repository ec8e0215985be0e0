-- Bids of the generator to JSON files, partitioned by hour: `hour=00/`, `hour=01/`, ..
-- ci: --define OUT=target/examples/bids

CREATE TABLE nexmark (
    event_type INT,
    bid ROW<auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, dateTime TIMESTAMP(3)>
) WITH ('connector' = 'nexmark', 'events.num' = '50000', 'first-event.rate' = '10');

CREATE TABLE bids (
    auction BIGINT,
    bidder BIGINT,
    price BIGINT,
    channel STRING,
    at TIMESTAMP(3),
    `hour` STRING
) PARTITIONED BY (`hour`) WITH ('connector' = 'filesystem', 'path' = '${OUT}', 'format' = 'json');

INSERT INTO bids
SELECT bid.auction, bid.bidder, bid.price, bid.channel, bid.dateTime, DATE_FORMAT(bid.dateTime, 'HH')
FROM nexmark
WHERE event_type = 2;
