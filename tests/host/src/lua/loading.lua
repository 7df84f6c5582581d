-- Loading code: scripts, include, require, CompileString, with the game's C comments understood everywhere.
-- Also the functions that the server calls: map start, frame, map end.

local H = debug.getregistry().host
local native, registry = H.native, debug.getregistry()

-- Chunk name -> its directory on disk, so that a script from the command line can include files beside it.
local directories = {}

local function compile(source, chunk)
    return H.loadstring(native.translate(source), chunk)
end

function registry.host_script(shown, source, path)
    directories[shown] = path:match("^(.*/)") or ""
    local fn, message = compile(source, "@" .. shown)
    if not fn then H.show({ message = message, lines = {} }) return end
    H.protect(fn)
end

-- Runs a Lua file that is beside the calling one, or else under garrysmod/lua.
function H.include(name, caller)
    local dir = caller:match("^(.*/)") or ""
    local inside = dir:gsub("^lua/", "")
    for _, shown in ipairs({ inside .. name, name }) do
        local source = file.Read(shown, "LUA")
        if source then return assert(compile(source, "@lua/" .. shown))() end
    end
    if directories[caller] then
        local handle = H.io.open(directories[caller] .. name, "rb")
        if handle then
            local source = handle:read("*a")
            handle:close()
            local shown = dir .. name
            directories[shown] = (directories[caller] .. name):match("^(.*/)")
            return assert(compile(source, "@" .. shown))()
        end
    end
    error("Couldn't include file '" .. name .. "' - File not found or is empty", 3)
end

function include(name)
    return H.include(name, debug.getinfo(2, "S").source:gsub("^@", ""))
end
function AddCSLuaFile() end

function CompileString(source, chunk, handle_error)
    local fn, message = compile(source, "@" .. (chunk or "CompileString"))
    if fn then return fn end
    if handle_error == false then return message end
    ErrorNoHaltWithStack(message)
end
function RunString(source, chunk, handle_error)
    local fn, message = compile(source, "@" .. (chunk or "RunString"))
    if not fn then
        if handle_error == false then return message end
        error(message, 0)
    end
    fn()
end
RunStringEx = RunString
function CompileFile(name)
    local source = file.Read(name, "LUA")
    return source and compile(source, "@lua/" .. name)
end

-- A Lua module of lua/includes/modules, or a binary one, whose gmod13_open runs as a call of the caller.
local required = {}
function require(name)
    if not isstring(name) then error("bad argument #1 to 'require' (string expected, got " .. type(name) .. ")", 2) end
    local shown = "includes/modules/" .. name .. ".lua"
    local source = file.Read(shown, "LUA")
    if source then
        if required[name] then return end
        required[name] = true
        assert(compile(source, "@lua/" .. shown))()
        return
    end
    local open, message = native.load_module(name)
    if not open then error(message, 2) end
    open()
end

-- Called by the server ---------------------------------------------------------------------------------------------

function registry.host_start()
    if file.Exists("cfg/server.cfg", "GAME") then H.protect(H.command, "exec server.cfg") end
    H.run_hook("Initialize")
    H.run_hook("InitPostEntity")
end

function registry.host_frame(hibernating, cur_time)
    H.frame_time = cur_time - H.cur_time
    H.cur_time = cur_time
    H.run_commands()
    H.run_timers(hibernating)
    if hibernating then return end
    H.ticks = (H.ticks or 0) + 1
    H.run_hook("Tick")
    H.run_hook("Think")
end

function registry.host_command(line) H.protect(H.command, line) end

function registry.host_shutdown() H.run_hook("ShutDown") end

function registry.host_eval(source)
    local fn, message = compile(source, "=eval")
    if not fn then return false, message end
    local function joined(ok, ...)
        local texts = {}
        for i = 1, select("#", ...) do texts[i] = tostring((select(i, ...))) end
        return ok, table.concat(texts, "\t")
    end
    return joined(pcall(fn))
end
