-- Count and sum per key over the day.
CREATE TABLE events (k STRING, v BIGINT, at TIMESTAMP_LTZ(3), WATERMARK FOR at AS at - INTERVAL '1' MINUTE)
WITH ('connector' = 'filesystem', 'path' = '${FOLDER}', 'format' = 'json');
CREATE TABLE sums (k STRING, n BIGINT, s BIGINT) WITH ('connector' = 'filesystem', 'path' = '${OUT}', 'format' = 'csv');

INSERT INTO sums SELECT RIGHT(k, 9), COUNT(*), SUM(v) FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(at), INTERVAL '1' DAY))
GROUP BY window_start, window_end, k;
