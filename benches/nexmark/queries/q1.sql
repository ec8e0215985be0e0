-- Prices in another currency, in floating point.
CREATE TABLE q1 (auction BIGINT, bidder BIGINT, price DOUBLE, `dateTime` TIMESTAMP(3), extra STRING) WITH (${SINK});

INSERT INTO q1 SELECT auction, bidder, CAST(0.908 AS DOUBLE) * price AS price, `dateTime`, extra FROM bid;
