-- The windowed part of highest bid: the highest price of every ten seconds.
CREATE TABLE q7 (maxprice BIGINT, starttime TIMESTAMP(3), endtime TIMESTAMP(3)) WITH (${SINK});

INSERT INTO q7
SELECT max(price) AS maxprice, window_start AS starttime, window_end AS endtime
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))
GROUP BY window_start, window_end;
