-- The table `host`: functions of the stand-in server for scripts. The game has none of them.

local H = debug.getregistry().host
local native = H.native

-- Wraps a native so that its failure is an error of the caller.
local function strict(name)
    local fn = native[name]
    return function(...)
        local value, message = fn(...)
        if value == nil and message then error(message, 2) end
        return value
    end
end

host = {
    now = native.now, mono = native.mono, frame_start = native.frame_start,
    hibernate = strict("hibernate"), hibernating = native.hibernating, block = strict("block"),
    store = strict("store"), load = strict("load"), map_changes = native.map_changes,
    frames = native.frames, frames_reset = native.frames_reset, errors = native.errors,
    env = strict("env"), pid = native.pid, exit_now = native.exit_now, changelevel = strict("changelevel"),
    another_state = strict("another_state"),
    player = function(spec) return H.player(spec or {}) end,
    entity = function(spec) return H.entity(spec or {}) end,
    remove = function(entity) H.remove(entity) end,
    game_event = function(name, data) H.game_event(name, data) end,
    -- For tests, not in the game: files outside data/, C modules of stock Lua.
    io = H.io, package = H.package, require = H.require, loadlib = H.package.loadlib, cpath = H.package.cpath,
    -- The path of the library with Lua itself.
    lua_shared = H.settings.lua_shared,
    arg = {},
}

local index = 1
while true do
    local key, value = native.arg(index)
    if key == nil then break end
    host.arg[key], index = value, index + 1
end

function host.quit(code) native.quit(tonumber(code) or 0) end
-- At once, not in the next frame.
function host.command(line) H.command(tostring(line)) end

function host.resources()
    local out = native.resources()
    out.lua_kb = collectgarbage("count")
    return out
end

function host.fail(message)
    native.fail()
    MsgN("FAIL: ", tostring(message))
end

-- Runs every function of the table, in the order of the names. Returns the number of failures, and fails the run if there
-- are any.
function host.run_tests(tests)
    local passed, failed = 0, 0
    for name, test in SortedPairs(tests) do
        local ok, report = xpcall(test, H.handler)
        if ok then
            passed = passed + 1
            MsgN("ok ", name)
        else
            failed = failed + 1
            native.fail()
            MsgN("FAIL ", name, ": ", istable(report) and report.message or tostring(report))
        end
    end
    MsgN(passed, " passed, ", failed, " failed")
    return failed
end
