-- Bids to a Kafka topic; from there into windows and to another topic; from there to the terminal. The three jobs run one after
-- the other, each to the end that its topic has when it starts; without `scan.bounded.mode` they would go on for ever.
-- ci: --define TOPIC=example-bids
--
--   thalweg run examples/kafka_windows.sql --define KAFKA=127.0.0.1:9092 --define TOPIC=bids

CREATE TABLE nexmark (
    event_type INT,
    bid ROW<auction BIGINT, price BIGINT, dateTime TIMESTAMP(3)>
) WITH ('connector' = 'nexmark', 'events.num' = '50000', 'first-event.rate' = '5000');

CREATE TABLE bids (
    auction BIGINT,
    price BIGINT,
    at TIMESTAMP(3),
    WATERMARK FOR at AS at - INTERVAL '1' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = '${TOPIC}',
    'properties.bootstrap.servers' = '${KAFKA}',
    'scan.startup.mode' = 'earliest-offset',
    'scan.bounded.mode' = 'latest-offset',
    'format' = 'json',
    'bad-record' = 'dead-letter',
    'bad-record.table' = 'broken'
);

-- Records that are no bids: with their place, the reason and the bytes.
CREATE TABLE broken (source STRING, `position` STRING, reason STRING, raw BYTES)
WITH ('connector' = 'print', 'print-identifier' = 'broken');

CREATE TABLE hot (
    window_end TIMESTAMP(3),
    auction BIGINT,
    bids BIGINT,
    highest BIGINT
) WITH (
    'connector' = 'kafka',
    'topic' = '${TOPIC}-hot',
    'properties.bootstrap.servers' = '${KAFKA}',
    'scan.startup.mode' = 'earliest-offset',
    'scan.bounded.mode' = 'latest-offset',
    'key.fields' = 'auction',
    'key.format' = 'json',
    'format' = 'json'
);

-- The generator's rows come in 64 interleaved runs: small batches keep the topic nearly in the order of event time.
SET 'batch.rows' = '16';
SET 'parallelism' = '1';

INSERT INTO bids SELECT bid.auction, bid.price, bid.dateTime FROM nexmark WHERE event_type = 2;

RESET;

INSERT INTO hot
SELECT window_end, auction, COUNT(*), MAX(price)
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(at), INTERVAL '2' SECOND))
GROUP BY window_start, window_end, auction;

SELECT window_end, auction, bids, highest FROM hot WHERE bids > 780;
