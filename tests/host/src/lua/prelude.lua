-- The first Lua file of the host: the table that the others share, printing, and the display of errors.
-- Runs once for each map, before any script. Owns H; hides `native` from scripts.

local native = native
_G.native = nil

local registry = debug.getregistry()
local H = { native = native, cur_time = 0, frame_time = 0, settings = native.settings() }
registry.host = H

-- Functions that sandbox.lua hides from scripts, kept for the host itself and for host.*.
H.loadstring, H.type, H.io, H.package, H.require, H.ffi = loadstring, type, io, package, require, require("ffi")

SERVER, CLIENT = true, false
VERSION, VERSIONSTR, BRANCH = 250101, "2025.01.01", H.settings.branch
NOTIFY_GENERIC, HUD_PRINTNOTIFY, HUD_PRINTCONSOLE, HUD_PRINTTALK, HUD_PRINTCENTER = 0, 1, 2, 3, 4

function CurTime() return H.cur_time end
UnPredictedCurTime = CurTime
function RealTime() return native.mono() end
-- From the start of the process, over all maps.
local process_start = native.load(" process start")
if not process_start then
    process_start = native.mono()
    native.store(" process start", process_start)
end
function SysTime() return native.mono() - process_start end
function FrameTime() return H.frame_time end
function RealFrameTime() return H.settings.interval end

-- Printing -----------------------------------------------------------------------------------------------------

local function joined(separator, ...)
    local parts = {}
    for i = 1, select("#", ...) do
        parts[i] = tostring((select(i, ...)))
    end
    return table.concat(parts, separator)
end

function print(...) native.print(joined("\t", ...) .. "\n") end
function Msg(...) native.print(joined("", ...)) end
function MsgN(...) native.print(joined("", ...) .. "\n") end

-- Colours are left out, as in a log file.
function MsgC(...)
    local parts = {}
    for i = 1, select("#", ...) do
        local value = select(i, ...)
        if not (IsColor and IsColor(value)) then
            parts[#parts + 1] = tostring(value)
        end
    end
    native.print(table.concat(parts))
end

function MsgAll(...) Msg(...) end
function PrintMessage(kind, message) MsgN(message) end

-- Errors -------------------------------------------------------------------------------------------------------

-- The stack from `level` on, without the host's own frames at its end.
local function stack(level)
    local lines = {}
    while true do
        local info = debug.getinfo(level, "Snl")
        if not info then break end
        local host = info.what == "C" or info.source:sub(1, 7) == "=[host]"
        lines[#lines + 1] = { host = host, text = string.format("%s - %s:%d", info.name or "unknown", info.short_src, info.currentline) }
        level = level + 1
    end
    while #lines > 0 and lines[#lines].host do
        lines[#lines] = nil
    end
    for i, line in ipairs(lines) do
        lines[i] = string.rep(" ", i) .. " " .. i .. ". " .. line.text
    end
    return lines
end

local function show(message, lines, uncaught)
    native.report_error(message, uncaught)
    lines[#lines + 1] = ""
    native.print("\n[ERROR] " .. message .. "\n" .. table.concat(lines, "\n") .. "\n")
end

-- For xpcall: the text of an error and its stack.
function H.handler(err)
    local first = debug.getinfo(2, "Sf")
    return { message = tostring(err), lines = stack(first and first.func == error and 4 or 3) }
end

-- An uncaught error is printed and counted, and the run has failed.
function H.show(report)
    -- An error inside the handler, or out of memory: LuaJIT gives a plain string.
    if H.type(report) ~= "table" then report = { message = tostring(report), lines = {} } end
    show(report.message, report.lines, true)
end

local function finish(ok, ...)
    if not ok then H.show((...)) return false end
    return true, ...
end

-- Calls a function as the engine does: an error is shown and ends here. Returns whether it succeeded, then the results.
function H.protect(fn, ...)
    return finish(xpcall(fn, H.handler, ...))
end

function ErrorNoHaltWithStack(...) show(joined("", ...), stack(3), false) end

function ErrorNoHalt(...)
    local message = joined("", ...)
    native.report_error(message, false)
    native.print(message)
end

function Error(...) error(joined("", ...), 2) end
