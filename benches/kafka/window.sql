-- Bids per auction in windows of 10 s, from a topic of JSON to nowhere: what a filled topic costs to catch up with.
CREATE TABLE bids (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, `dateTime` TIMESTAMP(3), extra STRING,
  WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND
) WITH ('connector' = 'kafka', 'topic' = '${TOPIC}', 'properties.bootstrap.servers' = '${KAFKA}', 'format' = 'json',
        'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset');

CREATE TABLE counts (window_end TIMESTAMP(3), auction BIGINT, bids BIGINT) WITH ('connector' = 'blackhole');

INSERT INTO counts
SELECT window_end, auction, COUNT(*)
FROM TABLE(${WINDOW}(TABLE bids, DESCRIPTOR(`dateTime`), ${SIZES}))
GROUP BY window_start, window_end, auction;
