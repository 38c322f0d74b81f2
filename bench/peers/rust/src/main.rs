// SPDX-License-Identifier: MIT
// The questions of bench/fork.c and bench/spawn.c put to Rayon and Tokio: one JSON line a case.
// usage: peers [ROUNDS [BENCH]]
use std::time::Instant;

const FIB: u32 = 26;
const TASKS: usize = 1_000_000;

fn forks(n: u32) -> f64 {
    if n < 2 { 0.0 } else { 1.0 + forks(n - 1) + forks(n - 2) }
}

fn fib(n: u32) -> u64 {
    if n < 2 {
        return u64::from(n);
    }
    let (a, b) = rayon::join(|| fib(n - 1), || fib(n - 2));
    a + b
}

fn rayon_fork() -> f64 {
    let from = Instant::now();
    std::hint::black_box(fib(FIB));
    from.elapsed().as_nanos() as f64 / forks(FIB)
}

fn rayon_scope() -> f64 {
    let from = Instant::now();
    rayon::scope(|s| {
        for _ in 0..TASKS {
            s.spawn(|_| {
                std::hint::black_box(());
            });
        }
    });
    from.elapsed().as_nanos() as f64 / TASKS as f64
}

async fn tokio_spawn() -> f64 {
    let from = Instant::now();
    let mut handles = Vec::with_capacity(TASKS);
    for _ in 0..TASKS {
        handles.push(tokio::spawn(async { std::hint::black_box(()) }));
    }
    for h in handles {
        h.await.unwrap();
    }
    from.elapsed().as_nanos() as f64 / TASKS as f64
}

async fn tokio_yield() -> f64 {
    const TURNS: usize = 500_000;
    async fn turns() {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }
    let from = Instant::now();
    let other = tokio::spawn(turns());
    turns().await;
    other.await.unwrap();
    from.elapsed().as_nanos() as f64 / TURNS as f64
}

struct Case {
    bench: &'static str,
    metric: &'static str,
    imp: &'static str,
    workers: usize,
    measure: Box<dyn Fn() -> f64>,
}

fn rayon_case(bench: &'static str, metric: &'static str, workers: usize, f: fn() -> f64) -> Case {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build().unwrap();
    Case { bench, metric, imp: "rayon", workers, measure: Box::new(move || pool.install(f)) }
}

fn tokio_runtime(workers: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).build().unwrap()
}

fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(5, |n| n.parse().expect("rounds"));
    let mut cases = Vec::new();
    for workers in [1, 2] {
        cases.push(rayon_case("fork", "fork", workers, rayon_fork));
        cases.push(rayon_case("spawn", "scope", workers, rayon_scope));
        let runtime = tokio_runtime(workers);
        cases.push(Case {
            bench: "spawn",
            metric: "future",
            imp: "tokio",
            workers,
            measure: Box::new(move || {
                runtime.block_on(async { tokio::spawn(tokio_spawn()).await.unwrap() })
            }),
        });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    cases.push(Case {
        bench: "yield",
        metric: "same",
        imp: "tokio",
        workers: 1,
        measure: Box::new(move || runtime.block_on(tokio_yield())),
    });
    if let Some(only) = std::env::args().nth(2) {
        cases.retain(|case| case.bench == only);
    }
    let mut values: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (case, values) in cases.iter().zip(&mut values) {
            let value = (case.measure)();
            if round > 0 {
                values.push(value);
            }
        }
    }
    for (case, values) in cases.iter().zip(&mut values) {
        values.sort_by(|a, b| a.total_cmp(b));
        println!(
            "{{\"bench\":\"{}\",\"metric\":\"{}\",\"impl\":\"{}\",\"workers\":{},\"value\":{:.3},\
             \"unit\":\"ns\",\"best\":{:.3},\"worst\":{:.3},\"rounds\":{}}}",
            case.bench, case.metric, case.imp, case.workers, values[rounds / 2], values[0],
            values[rounds - 1], rounds
        );
    }
}
