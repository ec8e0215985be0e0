-- Prices in another currency, exact.
CREATE TABLE q1_decimal (auction BIGINT, bidder BIGINT, price DECIMAL(23, 3), `dateTime` TIMESTAMP(3), extra STRING)
WITH (${SINK});

INSERT INTO q1_decimal SELECT auction, bidder, 0.908 * price AS price, `dateTime`, extra FROM bid;
