-- CSV files in, a minute's summary per machine as JSON files out.
-- ci: --define IN=examples/data --define OUT=target/examples/minutes
--
--   thalweg run examples/files_to_files.sql --define IN=examples/data --define OUT=minutes

CREATE TABLE readings (
    machine STRING,
    at TIMESTAMP(3),
    celsius DOUBLE,
    WATERMARK FOR at AS at - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${IN}', 'source.path.regex-pattern' = '.*readings\.csv', 'format' = 'csv');

CREATE TABLE minutes (
    machine STRING,
    minute TIMESTAMP(3),
    readings BIGINT,
    hottest DOUBLE,
    mean DOUBLE
) WITH ('connector' = 'filesystem', 'path' = '${OUT}', 'format' = 'json');

INSERT INTO minutes
SELECT machine, window_start, COUNT(*), MAX(celsius), AVG(celsius)
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(at), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, machine;
