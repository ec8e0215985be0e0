-- The windowed part of monitor new users: who registered, and who sells, in every ten seconds.
CREATE TABLE q8_persons (id BIGINT, name STRING, starttime TIMESTAMP(3), endtime TIMESTAMP(3)) WITH (${SINK});
CREATE TABLE q8_sellers (seller BIGINT, starttime TIMESTAMP(3), endtime TIMESTAMP(3)) WITH (${SINK});

EXECUTE STATEMENT SET BEGIN
INSERT INTO q8_persons
SELECT id, name, window_start AS starttime, window_end AS endtime
FROM TABLE(TUMBLE(TABLE person, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))
GROUP BY id, name, window_start, window_end;

INSERT INTO q8_sellers
SELECT seller, window_start AS starttime, window_end AS endtime
FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))
GROUP BY seller, window_start, window_end;
END;
