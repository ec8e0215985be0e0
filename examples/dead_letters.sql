-- Records that cannot be decoded do not end the job and are not lost: they go to the table that `bad-record.table` names.
-- ci: --define IN=examples/data
--
--   thalweg run examples/dead_letters.sql --define IN=examples/data

CREATE TABLE orders (
    id BIGINT,
    amount BIGINT,
    at TIMESTAMP(3),
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE
) WITH (
    'connector' = 'filesystem',
    'path' = '${IN}',
    'source.path.regex-pattern' = '.*orders\.json',
    'format' = 'json',
    'bad-record' = 'dead-letter',
    'bad-record.table' = 'broken'
);

-- Where the record stood, what is wrong with it, and its bytes.
CREATE TABLE broken (source STRING, `position` STRING, reason STRING, raw BYTES)
WITH ('connector' = 'print', 'print-identifier' = 'broken');

SELECT window_start, COUNT(*) AS orders, SUM(amount) AS amount
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(at), INTERVAL '10' MINUTE))
GROUP BY window_start, window_end;
