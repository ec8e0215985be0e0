-- Nexmark bids as JSON into a topic: ${EVENTS} events, of which 92 % are bids of about 256 bytes.
-- One writer and small batches keep every partition in the order of event time, but for some rows.
SET 'parallelism' = '1';
SET 'batch.rows' = '64';

CREATE TABLE nexmark (
  event_type INT,
  bid ROW<auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, `dateTime` TIMESTAMP(3), extra STRING>
) WITH ('connector' = 'nexmark', 'events.num' = '${EVENTS}', 'first-event.rate' = '100000', 'next-event.rate' = '100000');

CREATE TABLE bids (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, `dateTime` TIMESTAMP(3), extra STRING
) WITH ('connector' = 'kafka', 'topic' = '${TOPIC}', 'properties.bootstrap.servers' = '${KAFKA}', 'format' = 'json',
        'sink.partitioner' = 'round-robin', 'properties.linger.ms' = '20');

INSERT INTO bids
SELECT bid.auction, bid.bidder, bid.price, bid.channel, bid.url, bid.`dateTime`, bid.extra FROM nexmark WHERE event_type = 2;
