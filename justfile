# The one door to the project's commands. `just` lists them.

default:
    @just --list

# Everything a change must pass before it lands: the same checks as .ci/run, without the real broker.
check: fmt clippy tidy test docs

fmt:
    cargo fmt --all -- --check

clippy:
    cargo clippy --workspace --all-targets -- -D warnings

# File heads, file and function length, banned words.
tidy:
    cargo test --quiet --test tidy

test:
    cargo test --workspace

docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Micro-benchmarks and the Nexmark queries, in release.
bench *ARGS:
    cargo bench -p thalweg-engine -p thalweg-operators -p thalweg-connectors --bench keyed_table --bench exchange --bench window --bench json_decode
    cargo run --release -- bench nexmark {{ARGS}}

# Kafka JSON into windows, the broker in a process of its own; needs java, and mvn once.
bench-kafka *ARGS:
    benches/kafka/run {{ARGS}}

# State larger than its memory against the same in memory; needs 15 GB of disk.
bench-state *ARGS:
    benches/state/run {{ARGS}}

# A Kafka broker on 127.0.0.1 until Ctrl-C; prints THALWEG_TEST_KAFKA=host:port.
kafka:
    .ci/kafka-broker run

# A server that speaks S3 on 127.0.0.1 until Ctrl-C; prints THALWEG_TEST_S3=http://KEY:SECRET@host:port.
s3:
    .ci/s3-server run

# The whole of CI, a real broker included.
ci:
    .ci/run
