-- ${ROWS} rows of one day with ${KEYS} uniform keys of 200 bytes, as JSON files.
SET 'parallelism' = '1';

CREATE TABLE numbers (n BIGINT, k BIGINT, v BIGINT) WITH (
  'connector' = 'datagen', 'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '${LAST}',
  'fields.k.min' = '0', 'fields.k.max' = '${KEYS}', 'fields.v.min' = '0', 'fields.v.max' = '1000', 'rows-per-second' = '0'
);
CREATE TABLE files (k STRING, v BIGINT, at TIMESTAMP_LTZ(3)) WITH ('connector' = 'filesystem', 'path' = '${FOLDER}', 'format' = 'json');

INSERT INTO files SELECT LPAD(CAST(k AS STRING), 200, 'k'), v, TO_TIMESTAMP_LTZ(n * 86000 / ${ROWS}, 0) FROM numbers;
