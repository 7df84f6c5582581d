//! Costs of the module that need no Lua, next to redis-rs or to the same work on a smaller scale.
//! Prints samples to standard output, one a line: `case<TAB>who<TAB>round<TAB>value<TAB>unit`. Checks nothing.
//!
//!     bench-rivals get [ROUNDS]                  `Get` without callback, and redis-rs's synchronous GET, in microseconds
//!     bench-rivals growth [ROUNDS [CASE]]        the same work at a large and at a small scale, in CPU time of this process
//!     bench-rivals count CASE OTHERS EVENTS      the work alone, for `benches/growth-count`

mod get;
mod growth;
mod spin;

/// Prints one sample.
fn sample(case: &str, who: &str, round: usize, value: f64, unit: &str) {
    println!("{case}\t{who}\t{round}\t{value:.3}\t{unit}");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse().expect("a number");
    match words[..] {
        ["get"] => get::run(20),
        ["get", rounds] => get::run(number(rounds)),
        ["growth"] => growth::run(9, None),
        ["growth", rounds] => growth::run(number(rounds), None),
        ["growth", rounds, case] => growth::run(number(rounds), Some(case)),
        ["count", case, others, events] => growth::count(case, number(others), number(events)),
        ["spin"] => spin::run(),
        _ => panic!("usage: bench-rivals get [ROUNDS] | growth [ROUNDS [CASE]] | count CASE OTHERS EVENTS"),
    }
}
