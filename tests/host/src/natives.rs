//! The functions that Lua code cannot implement itself: clocks, files, modules, the process. They are in the global table
//! `native`, which the prelude hides from scripts.
//! Main thread, inside a Lua call. Owns nothing: the state is in [`crate::world`]. A failure returns `nil, reason`.

use std::io::Write;
use std::time::{Duration, Instant};
use std::{env, thread};

use crate::value::{Native, Value};
use crate::world::{self, World};
use crate::{comments, files, modules, process};

type Answer = Result<Vec<Value>, String>;

pub(crate) const NATIVES: &[(&str, Native)] = &[
    ("print", print),
    ("now", |_| one(Value::Number(process::wall_seconds()))),
    ("mono", |_| with(|world| Value::Number(process::mono_seconds(world.started)))),
    ("frame_start", |_| with(|world| Value::Number(world.frame_started))),
    ("translate", |args| one(Value::String(comments::translate(bytes(args, 0)?)))),
    ("load_module", |args| one(Value::Function(modules::load(&text(args, 0)?)? as usize))),
    ("module_installed", |args| one(Value::Bool(modules::installed(&text(args, 0)?)))),
    ("userdata", |args| one(Value::Userdata(number(args, 0)? as u8))),
    ("file", files::call),
    ("crc32", |args| one(Value::text(crc32(bytes(args, 0)?).to_string()))),
    ("report_error", report_error),
    ("errors", |_| with_many(|world| vec![Value::Number(world.errors as f64), Value::text(&world.last_error)])),
    ("fail", |_| with(|world| set(&mut world.failed, true))),
    ("quit", |args| {
        let code = number(args, 0).unwrap_or(0.0) as i32;
        with(|world| set(&mut world.quit, Some(code)))
    }),
    ("changelevel", |args| {
        let map = text(args, 0)?;
        with(|world| set(&mut world.next_map, Some(map)))
    }),
    ("another_state", |args| {
        crate::server::run_in_another_state(bytes(args, 0)?)?;
        one(Value::Bool(true))
    }),
    ("hibernate", |args| {
        let on = !matches!(args.first(), None | Some(Value::Nil | Value::Bool(false)));
        with(|world| set(&mut world.hibernating, on))
    }),
    ("hibernating", |_| with(|world| Value::Bool(world.hibernating))),
    ("block", block),
    ("store", |args| {
        let (key, value) = (text(args, 0)?, args.get(1).cloned().unwrap_or(Value::Nil));
        if value == Value::Other {
            return Err("only a string, number, boolean or nil can be stored".to_owned());
        }
        with(|world| {
            world.store.insert(key, value);
            Value::Bool(true)
        })
    }),
    ("load", |args| {
        let key = text(args, 0)?;
        with(|world| world.store.get(&key).cloned().unwrap_or(Value::Nil))
    }),
    ("map", |_| with(|world| Value::text(&world.map))),
    ("map_changes", |_| with(|world| Value::Number(world.map_changes.into()))),
    ("resources", |_| one(resources())),
    ("frames", |_| with(frames)),
    ("frames_reset", |_| {
        with(|world| {
            world.frames.reset();
            Value::Bool(true)
        })
    }),
    ("env", |args| {
        let name = text(args, 0)?;
        let valid = !name.is_empty() && !name.contains(['=', '\0']);
        one(valid.then(|| env::var(name).ok()).flatten().map_or(Value::Nil, Value::text))
    }),
    ("arg", |args| {
        let index = number(args, 0)? as usize;
        with_many(|world| match world.options.args.get(index.wrapping_sub(1)) {
            Some((key, value)) => vec![Value::text(key), Value::text(value)],
            None => vec![Value::Nil],
        })
    }),
    ("settings", |_| with(settings)),
    ("pid", |_| one(Value::Number(std::process::id().into()))),
    ("exit_now", |args| crate::exit_now(number(args, 0).unwrap_or(0.0) as i32)),
];

fn one(value: Value) -> Answer {
    Ok(vec![value])
}

fn with(make: impl FnOnce(&mut World) -> Value) -> Answer {
    with_many(|world| vec![make(world)])
}

fn with_many(make: impl FnOnce(&mut World) -> Vec<Value>) -> Answer {
    world::with(make).ok_or_else(|| "no server on this thread".to_owned())
}

fn set<T>(place: &mut T, value: T) -> Value {
    *place = value;
    Value::Bool(true)
}

pub(crate) fn bytes(args: &[Value], index: usize) -> Result<&[u8], String> {
    match args.get(index) {
        Some(Value::String(bytes)) => Ok(bytes),
        _ => Err(format!("argument #{} is not a string", index + 1)),
    }
}

pub(crate) fn text(args: &[Value], index: usize) -> Result<String, String> {
    bytes(args, index).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn number(args: &[Value], index: usize) -> Result<f64, String> {
    match args.get(index) {
        Some(Value::Number(value)) => Ok(*value),
        _ => Err(format!("argument #{} is not a number", index + 1)),
    }
}

/// Writes and flushes, so that the reader of the pipe gets each line at once. A closed pipe is not an error here.
fn print(args: &[Value]) -> Answer {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes(args, 0)?).and_then(|()| out.flush());
    Ok(Vec::new())
}

/// `report_error(message, uncaught)`: this function counts the error; the Lua side, which has the stack, prints it.
fn report_error(args: &[Value]) -> Answer {
    let message = text(args, 0)?;
    let uncaught = args.get(1) == Some(&Value::Bool(true));
    with(|world| {
        world.errors += 1;
        world.uncaught += u64::from(uncaught);
        world.last_error = message;
        Value::Nil
    })
}

/// Blocks the main thread for this many milliseconds. It sleeps, so that tests need no second core.
fn block(args: &[Value]) -> Answer {
    let until = Instant::now() + Duration::from_secs_f64((number(args, 0)? / 1e3).clamp(0.0, 3600.0));
    thread::sleep(until.saturating_duration_since(Instant::now()));
    Ok(Vec::new())
}

fn resources() -> Value {
    let now = process::resources();
    let value = |number: Option<u64>| number.map_or(Value::Nil, |number| Value::Number(number as f64));
    Value::Record(vec![
        ("threads", value(now.threads)),
        ("fds", value(now.fds)),
        ("rss_kb", value(now.rss_kb)),
        ("maps", value(now.maps)),
    ])
}

fn frames(world: &mut World) -> Value {
    let stats = world.frames.stats();
    Value::Record(vec![
        ("count", Value::Number(stats.count as f64)),
        ("p50_us", Value::Number(stats.p50_us)),
        ("p99_us", Value::Number(stats.p99_us)),
        ("max_us", Value::Number(stats.max_us)),
    ])
}

fn settings(world: &mut World) -> Value {
    Value::Record(vec![
        ("hostname", Value::text(&world.options.hostname)),
        ("port", Value::Number(world.options.port.into())),
        ("interval", Value::Number(1.0 / world.options.tickrate)),
        ("suffix", Value::text(crate::root::MODULE_SUFFIX)),
        ("branch", Value::text(if cfg!(target_pointer_width = "64") { "x86-64" } else { "unknown" })),
        ("lua_shared", Value::text(lua_shared())),
    ])
}

/// The path from the file system's root: the loader of Windows refuses a relative one with folders.
fn lua_shared() -> String {
    let place = env::current_dir().unwrap_or_default().join(crate::root::LUA_SHARED);
    place.to_string_lossy().into_owned()
}

/// The usual CRC-32 (IEEE, reflected), bit by bit: short inputs, no table.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn crc_of_the_check_string() {
        assert_eq!(super::crc32(b"123456789"), 0xCBF4_3926);
    }
}
