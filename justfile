# What CI runs, and parts of it.
default: ci

ci:
    tests/run

fast:
    tests/run fast

demo:
    cargo run --release -- demo

bench:
    cargo run --release -p tests --bin regmesh-bench
