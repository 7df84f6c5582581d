//! The functions of the table `realtime` that read and write values in Redis. Each checks its arguments, makes a
//! request, and queues it for the thread `rt-publisher`. Runs on the game thread; each function is an `entry!`. Writers
//! never wait. A reader without a callback waits for its answer for a bounded time, and releases the engine's lock
//! meanwhile.

use crate::config::limits::{COMMAND_ARGUMENTS_MAX, VALUE_BYTES_MAX};
use crate::engine::requests::{Request, Requests};
use crate::engine::{self, Refusal};
use crate::json::bytes::{ByteSink, Bytes};
use crate::json::text;
use crate::lua::arguments::{NOT_KEPT, bad, callback, number, push_answer, refused, string, string_again};
use crate::lua::entry::EntryOutcome;
use crate::lua::process::process;
use crate::lua::stack::{
    HELPER, LUA_TBOOLEAN, LUA_TFUNCTION, LUA_TNIL, LUA_TNONE, LUA_TNUMBER, LUA_TSTRING, LUA_TTABLE, Lua,
};
use crate::lua::{encode, shield};

/// Appends the bytes that Redis stores for the value at `at`: a string as it is, a boolean or number as text, a table as
/// JSON. The error is the reason for Lua. Encoding may run script code (to describe userdata), so the engine must not be
/// borrowed. `[-0, +0]`, or after an error `[-0, +?]`; never raises.
fn value(lua: Lua, at: i32, out: &mut Bytes) -> Result<(), String> {
    match lua.type_of(at) {
        LUA_TSTRING => {
            // Checked before the string is copied: a huge string must cost the tick nothing.
            engine::fits("value", lua.bytes(at), VALUE_BYTES_MAX).map_err(|refusal| refusal.to_string())?;
            out.push_bytes(lua.bytes(at));
        }
        LUA_TBOOLEAN => out.push_bytes(if lua.boolean(at) { b"true" } else { b"false" }),
        LUA_TNUMBER if !lua.number(at).is_finite() => return Err("encode: the value is not a finite number".to_owned()),
        LUA_TNUMBER => text::push_decimal(out, lua.number(at)),
        _ => {
            let non_finite = encode::push_json(lua, at, HELPER, out).map_err(|err| err.to_string())?;
            if let Ok(process) = process(lua) {
                process.stats.non_finite.add(non_finite);
            }
        }
    }
    Ok(())
}

// ---- arguments ------------------------------------------------------------------------------------------------

/// One argument in the list of a function.
#[derive(Clone, Copy)]
enum Argument {
    /// A string: [`Given::key`].
    Key,
    /// A value to store: [`Given::value`].
    Stored,
    /// A number: [`Given::number`].
    Number,
    /// As `Number`, but it may be absent.
    OptionalNumber,
    /// A function, or nothing: [`Given::callback`].
    Callback,
}

/// The arguments that a script gave.
struct Given<'a> {
    key: &'a [u8],
    /// The bytes for Redis, if `encoded` has no error.
    value: Bytes,
    encoded: Result<(), String>,
    /// 1 if it is absent.
    number: f64,
    /// The stack index of the callback.
    callback: Option<i32>,
}

/// Reads the arguments of `function`, in order. Its first error is the result.
fn given<'a>(lua: Lua, function: &'static str, list: &[Argument]) -> Result<Given<'a>, EntryOutcome> {
    let mut given = Given { key: &[], value: Bytes::default(), encoded: Ok(()), number: 1.0, callback: None };
    let mut stored = None;
    for (at, argument) in (1..).zip(list) {
        match argument {
            Argument::Key => given.key = string(lua, at, function)?,
            Argument::Stored if encode::can_start(lua.type_of(at)) => stored = Some(at),
            Argument::Stored => return Err(bad(lua, at, function, "string, number, boolean or table")),
            Argument::OptionalNumber if matches!(lua.type_of(at), LUA_TNONE | LUA_TNIL) => {}
            Argument::Number | Argument::OptionalNumber => given.number = number(lua, at, function)?,
            Argument::Callback => given.callback = callback(lua, at, function)?,
        }
    }
    // After the checks, because encoding may run script code. That can change the key, too, which is argument 1.
    if let Some(at) = stored {
        given.key = &[];
        let key = value(lua, at, &mut given.value).and_then(|()| string_again(lua, 1));
        given.encoded = key.map(|key| given.key = key);
    }
    Ok(given)
}

// ---- the common bodies of writers and readers -----------------------------------------------------------------

/// A request for Redis, or the refusal of its arguments.
type Made = Result<Request, Refusal>;

/// Makes a request from the arguments of a function.
type Make = fn(&Requests<'_>, &Given<'_>) -> Made;

/// Makes a request and queues it for the thread `rt-publisher`. The outcome is `true`, or `falsy, reason`. `callback` is
/// the index of the function that gets the answer; it is kept only after the request was made, so that a refusal leaves
/// nothing in the registry. `prepared` has the error of the preparations: they were made before, because they may run
/// script code and the engine is borrowed here. `[-0, +0]`, never raises.
fn submit(
    lua: Lua,
    falsy: Option<bool>,
    callback: Option<i32>,
    prepared: Result<(), String>,
    make: &dyn Fn(&Requests<'_>) -> Made,
) -> EntryOutcome {
    let process = match process(lua) {
        Ok(process) => process,
        Err(reason) => return refused(falsy, reason),
    };
    let made = prepared.and_then(|()| make(&process.engine().requests()).map_err(|refusal| refusal.to_string()));
    let request = match made {
        Ok(request) => request,
        Err(reason) => {
            let too_large = reason.starts_with("too_large");
            let stats = &process.stats;
            (if too_large { &stats.refused_too_large } else { &stats.refused_encode }).add(1);
            return refused(falsy, reason);
        }
    };
    let kept = match callback.map(|at| shield::keep(lua, at)) {
        Some(None) => return refused(falsy, NOT_KEPT),
        Some(kept) => kept,
        None => None,
    };
    let queued = process.engine().submit(request, kept);
    match queued {
        Ok(()) => EntryOutcome::True,
        Err(refusal) => {
            kept.into_iter().for_each(|callback| lua.release(callback));
            refused(falsy, refusal.to_string())
        }
    }
}

/// The body of a function that writes: it returns at once. Without a callback the answer is dropped. `[-0, +0]`.
fn write(lua: Lua, function: &'static str, list: &[Argument], make: Make) -> EntryOutcome {
    match given(lua, function, list) {
        Ok(mut given) => {
            let encoded = std::mem::replace(&mut given.encoded, Ok(()));
            submit(lua, Some(false), given.callback, encoded, &|requests| make(requests, &given))
        }
        Err(bad_argument) => bad_argument,
    }
}

/// The body of a function that reads. With a callback it returns at once. Without one it returns the answer, and the
/// game thread waits for it, up to `sync_timeout_ms`. `[-0, +0]`, or the values of the answer; never raises.
fn read(lua: Lua, function: &'static str, list: &[Argument], make: Make) -> EntryOutcome {
    let given = match given(lua, function, list) {
        Ok(given) => given,
        Err(bad_argument) => return bad_argument,
    };
    if given.callback.is_some() {
        return submit(lua, None, given.callback, Ok(()), &|requests| make(requests, &given));
    }
    let process = match process(lua) {
        Ok(process) => process,
        Err(reason) => return refused(None, reason),
    };
    let reading = {
        let mut engine = process.engine();
        let made = make(&engine.requests(), &given);
        made.and_then(|request| engine.begin_read(request))
    };
    let (outcome, deadline) = match reading {
        // The engine is not borrowed while this thread waits.
        Ok(mut reading) => {
            let (outcome, deadline) = (reading.wait(), reading.deadline());
            (process.engine().end_read(reading, outcome), Some(deadline))
        }
        Err(refusal) => (Err(refusal.to_string()), None),
    };
    match outcome {
        Ok(answer) => push_answer(lua, &answer, deadline),
        Err(reason) => refused(None, reason),
    }
}

// ---- writers --------------------------------------------------------------------------------------------------

// A callback of a writer is called with the answer of Redis, or with nil and a reason. Upvalue 2 is the prelude's
// `describe`, for those that encode a value.

entry! {
    /// `realtime.Set(key, value [, cb]) -> true | false, reason`. Stores a value.
    set, run_set
}

fn run_set(lua: Lua) -> EntryOutcome {
    let list = [Argument::Key, Argument::Stored, Argument::Callback];
    write(lua, "Set", &list, |requests, given| requests.set(given.key, &given.value))
}

entry! {
    /// `realtime.SetEx(key, value, seconds [, cb]) -> true | false, reason`. Stores a value that expires.
    set_ex, run_set_ex
}

fn run_set_ex(lua: Lua) -> EntryOutcome {
    let list = [Argument::Key, Argument::Stored, Argument::Number, Argument::Callback];
    write(lua, "SetEx", &list, |requests, given| requests.set_ex(given.key, &given.value, given.number))
}

entry! {
    /// `realtime.Incr(key [, by] [, cb]) -> true | false, reason`. Adds `by` (1 if absent) to the number of a key.
    incr, run_incr
}

fn run_incr(lua: Lua) -> EntryOutcome {
    let list: &[Argument] = match lua.type_of(2) {
        LUA_TFUNCTION => &[Argument::Key, Argument::Callback],
        _ => &[Argument::Key, Argument::OptionalNumber, Argument::Callback],
    };
    write(lua, "Incr", list, |requests, given| requests.incr(given.key, given.number))
}

entry! {
    /// `realtime.Del(key... [, cb]) -> true | false, reason`. Deletes keys. A function as the last argument is the
    /// callback.
    del, run_del
}

fn run_del(lua: Lua) -> EntryOutcome {
    let last = lua.top();
    let callback = (last > 1 && lua.type_of(last) == LUA_TFUNCTION).then_some(last);
    let count = if callback.is_some() { last - 1 } else { last.max(1) };
    let mut keys = Vec::new();
    for at in 1..=count {
        match string(lua, at, "Del") {
            Ok(key) => keys.push(key),
            Err(bad_argument) => return bad_argument,
        }
    }
    submit(lua, Some(false), callback, Ok(()), &|requests| requests.del(&keys))
}

entry! {
    /// `realtime.Expire(key, seconds [, cb]) -> true | false, reason`. Makes a key expire.
    expire, run_expire
}

fn run_expire(lua: Lua) -> EntryOutcome {
    let list = [Argument::Key, Argument::Number, Argument::Callback];
    write(lua, "Expire", &list, |requests, given| requests.expire(given.key, given.number))
}

entry! {
    /// `realtime.Command({word, ...} [, cb]) -> true | false, reason`. Sends a Redis command of the script's own.
    command, run_command
}

fn run_command(lua: Lua) -> EntryOutcome {
    if lua.type_of(1) != LUA_TTABLE {
        return bad(lua, 1, "Command", "table");
    }
    let callback = match callback(lua, 2, "Command") {
        Ok(callback) => callback,
        Err(bad_argument) => return bad_argument,
    };
    let mut words = Vec::new();
    let read = command_words(lua, &mut words);
    submit(lua, Some(false), callback, read, &|requests| requests.command(&words))
}

/// Adds the words of the command in the table at index 1. The error is the reason for Lua. Number and total size are checked
/// before the words are copied, so a huge table costs the tick nothing. `[-0, +0]`, or after an error `[-0, +?]`; never
/// raises.
fn command_words(lua: Lua, words: &mut Vec<Vec<u8>>) -> Result<(), String> {
    let mut bytes = 0;
    let count = lua.raw_len(1);
    if usize::try_from(count).is_ok_and(|count| count > COMMAND_ARGUMENTS_MAX) {
        return Err(format!("encode: the command has {count} words, {COMMAND_ARGUMENTS_MAX} are allowed"));
    }
    for index in 1..=count {
        lua.raw_get_index(1, index);
        let at = lua.top();
        let kind = lua.type_of(at);
        if !matches!(kind, LUA_TSTRING | LUA_TNUMBER | LUA_TBOOLEAN) {
            lua.pop(1);
            return Err(format!("encode: word {index} of the command is a {}", Lua::type_name(kind)));
        }
        bytes += if kind == LUA_TSTRING { lua.bytes(at).len() } else { 0 };
        if bytes > VALUE_BYTES_MAX {
            lua.pop(1);
            return Err(format!("too_large: the command has more than {VALUE_BYTES_MAX} bytes"));
        }
        let mut word = Bytes::default();
        let read = value(lua, at, &mut word);
        lua.pop(1);
        read?;
        words.push(word.into_vec());
    }
    Ok(())
}

// ---- readers --------------------------------------------------------------------------------------------------

entry! {
    /// `realtime.Get(key [, cb]) -> string | nil [, reason]`; with a callback `true | nil, reason`. Nil without a
    /// reason: the key does not exist.
    get, run_get
}

fn run_get(lua: Lua) -> EntryOutcome {
    read(lua, "Get", &[Argument::Key, Argument::Callback], |requests, given| requests.get(given.key))
}

entry! {
    /// `realtime.GetTable(key [, cb])`: as `Get`, but the value is decoded from JSON.
    get_table, run_get_table
}

fn run_get_table(lua: Lua) -> EntryOutcome {
    read(lua, "GetTable", &[Argument::Key, Argument::Callback], |requests, given| requests.get_table(given.key))
}

entry! {
    /// `realtime.GetLeaderboard(board, n [, cb]) -> map, ranked | nil, reason`: the first `n` rows, once by name and
    /// once in order.
    get_leaderboard, run_get_leaderboard
}

fn run_get_leaderboard(lua: Lua) -> EntryOutcome {
    let list = [Argument::Key, Argument::Number, Argument::Callback];
    read(lua, "GetLeaderboard", &list, |requests, given| requests.leaderboard(given.key, given.number))
}

entry! {
    /// `realtime.Servers([cb]) -> array of servers | nil, reason`: the servers that are up, by their names.
    servers, run_servers
}

fn run_servers(lua: Lua) -> EntryOutcome {
    read(lua, "Servers", &[Argument::Callback], |requests, _| requests.servers())
}

entry! {
    /// `realtime.FindPlayer(steamid64 [, cb]) -> {server, name} | nil [, reason]`. Nil without a reason: the player is on no
    /// server that shows its players.
    find_player, run_find_player
}

fn run_find_player(lua: Lua) -> EntryOutcome {
    read(lua, "FindPlayer", &[Argument::Key, Argument::Callback], |requests, given| requests.find_player(given.key))
}

entry! {
    /// `realtime.History(channel, n [, cb]) -> array | nil, reason`: the last `n` events that Redis keeps of a channel,
    /// newest last.
    history, run_history
}

fn run_history(lua: Lua) -> EntryOutcome {
    let list = [Argument::Key, Argument::Number, Argument::Callback];
    read(lua, "History", &list, |requests, given| requests.history(given.key, given.number))
}
