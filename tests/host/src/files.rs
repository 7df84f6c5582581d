//! The file operations behind the `file` library: reads under `garrysmod/`, writes under `garrysmod/data/` only.
//! Main thread. Refuses paths that leave their folder.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::natives::{bytes, text};
use crate::root::inside;
use crate::value::Value;

/// `file(operation, search path, path, data)`.
pub(crate) fn call(args: &[Value]) -> Result<Vec<Value>, String> {
    let (operation, search, relative) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    let base = match search.to_ascii_uppercase().as_str() {
        "DATA" => "garrysmod/data",
        "LUA" | "LSV" => "garrysmod/lua",
        "GAME" | "MOD" | "GARRYSMOD" => "garrysmod",
        _ => return Err(format!("unknown search path `{search}`")),
    };
    let path = inside(base, &relative).ok_or_else(|| format!("path `{relative}` leaves its folder"))?;
    if operation == "find" {
        return Ok(find(&path));
    }
    let written = |result: std::io::Result<()>| match result {
        Ok(()) => Ok(Value::Bool(true)),
        Err(err) => Err(format!("cannot {operation} `{relative}`: {err}")),
    };
    let value = match operation.as_str() {
        "read" => fs::read(&path).map_or(Value::Nil, Value::String),
        "exists" => Value::Bool(path.exists()),
        "is_dir" => Value::Bool(path.is_dir()),
        "size" => fs::metadata(&path).map_or(Value::Number(-1.0), |meta| Value::Number(meta.len() as f64)),
        "time" => Value::Number(seconds(&path)),
        _ if base != "garrysmod/data" => return Err("only DATA can be written".to_owned()),
        "write" => written(fs::write(&path, bytes(args, 3)?))?,
        "append" => {
            let data = bytes(args, 3)?;
            written(
                fs::OpenOptions::new().create(true).append(true).open(&path).and_then(|mut file| file.write_all(data)),
            )?
        }
        "delete" => written(if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) })?,
        "mkdir" => written(fs::create_dir_all(&path))?,
        "rename" => {
            let target = text(args, 3)?;
            let target = inside(base, &target).ok_or_else(|| format!("path `{target}` leaves its folder"))?;
            written(fs::rename(&path, target))?
        }
        _ => return Err(format!("unknown operation `{operation}`")),
    };
    Ok(vec![value])
}

/// Names matching the last part of `pattern`: files, then folders, each list sorted and joined by NUL.
fn find(pattern: &Path) -> Vec<Value> {
    let wanted = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (mut files, mut dirs) = (Vec::new(), Vec::new());
    for entry in pattern.parent().and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if matches(wanted.as_bytes(), name.as_bytes()) {
            if entry.path().is_dir() { dirs.push(name) } else { files.push(name) }
        }
    }
    files.sort_unstable();
    dirs.sort_unstable();
    vec![Value::text(files.join("\0")), Value::text(dirs.join("\0"))]
}

/// `*` matches any run of characters; every other character matches itself.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', rest @ ..] => (0..=name.len()).any(|skip| matches(rest, &name[skip..])),
        [first, rest @ ..] => name.first() == Some(first) && matches(rest, &name[1..]),
    }
}

fn seconds(path: &Path) -> f64 {
    let modified = fs::metadata(path).and_then(|meta| meta.modified()).ok();
    modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0.0, |since| since.as_secs() as f64)
}
