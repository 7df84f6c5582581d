//! The events that all cases of the comparison log, the same in every run: made from a seed, or read from the testdata.

use std::fs;
use std::path::Path;

pub struct Event {
    pub time_ms: u64,
    pub channel: String,
    pub payload: String,
}

/// The event of `testdata/json/typical.json`, with other values in the fields that vary on a server. Endless.
pub fn typical() -> impl Iterator<Item = Event> {
    let mut state = 7_u64;
    let mut below = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let weapons = ["weapon_crossbow", "weapon_ar2", "weapon_357", "weapon_smg1", "m9k_ak47", "weapon_shotgun"];
    let mut time_ms = 1_763_942_400_000;
    std::iter::repeat_with(move || {
        time_ms += below(200);
        let mut coordinate = || below(16_384 * 32) as f64 / 32.0 - 8192.0;
        let (x, y, z) = (coordinate(), coordinate(), coordinate() / 8.0);
        let payload = format!(
            "{{\"killer\":\"Player {}\",\"victim\":\"Player {}\",\"weapon\":\"{}\",\"timestamp\":{},\"headshot\":{},\
             \"pos\":{{\"x\":{x},\"y\":{y},\"z\":{z}}}}}",
            below(48),
            below(48),
            weapons[below(6) as usize],
            time_ms / 1000,
            below(3) == 0
        );
        Event { time_ms, channel: "player:killing".to_owned(), payload }
    })
}

/// The events of the testdata, again and again.
pub fn realistic(testdata: &Path, count: usize) -> Vec<Event> {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        time: f64,
        channel: &'a str,
        #[serde(borrow)]
        data: &'a serde_json::value::RawValue,
    }
    let text = fs::read_to_string(testdata.join("eventlog/events.jsonl")).expect("events.jsonl");
    let lines: Vec<Line<'_>> = text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    let event = |number: usize| {
        let line = &lines[number % lines.len()];
        let time_ms = (line.time * 1000.0).round() as u64 + (number / lines.len()) as u64 * 900_000;
        Event { time_ms, channel: line.channel.to_owned(), payload: line.data.get().to_owned() }
    };
    (0..count).map(event).collect()
}
