//! Costs of the module that need no Lua, next to redis-rs or to the same work on a smaller scale.
//! Prints samples to standard output, one a line: `case<TAB>who<TAB>round<TAB>value<TAB>unit`. Checks nothing.
//!
//!     rivals get [ROUNDS]       `Get` without callback, and redis-rs's synchronous GET on the same Redis, in microseconds
//!     rivals growth [ROUNDS [CASE]]  cost of the same work at a large and at a small scale, in CPU time of this process

mod get;
mod growth;
mod spin;

/// Prints one sample.
fn sample(case: &str, who: &str, round: usize, value: f64, unit: &str) {
    println!("{case}\t{who}\t{round}\t{value:.3}\t{unit}");
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let rounds = arguments.next().map(|rounds| rounds.parse().expect("a number of rounds"));
    match what.as_str() {
        "get" => get::run(rounds.unwrap_or(20)),
        "growth" => growth::run(rounds.unwrap_or(9), arguments.next().as_deref()),
        "spin" => spin::run(),
        _ => panic!("usage: rivals get [ROUNDS] | growth [ROUNDS [CASE]]"),
    }
}
