-- Nexmark bids to a Kafka topic, from there to a window, from there to another topic.
-- ci: --define TOPIC=example-bids
-- ci-stop-after-s: 15
--
--   thalweg run examples/kafka_windows.sql --define KAFKA=127.0.0.1:9092 --define TOPIC=bids     (Ctrl-C stops it)

CREATE TABLE nexmark (
    event_type INT,
    bid ROW<auction BIGINT, price BIGINT, dateTime TIMESTAMP(3)>
) WITH ('connector' = 'nexmark', 'rows-per-second' = '2000', 'first-event.rate' = '2000');

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
    'format' = 'json'
);

CREATE TABLE hot (
    window_end TIMESTAMP(3),
    auction BIGINT,
    bids BIGINT,
    highest BIGINT
) WITH (
    'connector' = 'kafka',
    'topic' = '${TOPIC}-hot',
    'properties.bootstrap.servers' = '${KAFKA}',
    'key.fields' = 'auction',
    'key.format' = 'json',
    'format' = 'json'
);

EXECUTE STATEMENT SET BEGIN
    INSERT INTO bids SELECT bid.auction, bid.price, bid.dateTime FROM nexmark WHERE event_type = 2;

    INSERT INTO hot
    SELECT window_end, auction, COUNT(*), MAX(price)
    FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(at), INTERVAL '2' SECOND))
    GROUP BY window_start, window_end, auction;
END;
