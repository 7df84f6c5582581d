-- What is easier said in Lua: reporting, telling userdata apart, and hanging the pump on the game.
-- Run once by gmod13_open in each Lua state. Returns the functions that the native side calls, all under pcall.
local context, pumped, status_report, begin_selftest, reload = ...
-- The game's own, whatever a script puts in its place later.
local print, getinfo = print, debug.getinfo

-- Called on the stack of the error, so that the stack that ErrorNoHaltWithStack prints is the script's own.
local function on_error(message)
	ErrorNoHaltWithStack("[realtime] " .. context() .. ": " .. tostring(message) .. "\n")
	return true
end

-- For what on_error could not report: an error inside it, or no memory.
local function report(message)
	ErrorNoHaltWithStack("[realtime] " .. context() .. ": " .. tostring(message) .. "\n")
end

-- The player whose console asked for a self-test; nil for the server's.
local asker

local function tell(player, line)
	if IsValid(player) then
		player:PrintMessage(2, "[realtime] " .. line .. "\n") -- 2: to the player's console
	else
		print("[realtime] " .. line)
	end
end

-- A line of the text log, or one that was asked for.
local function say(line, for_asker)
	tell(for_asker and asker or nil, line)
end

-- Console commands are for the server's console and superadmins.
local function add_command(name, help, run)
	concommand.Add(name, function(player)
		if IsValid(player) and not player:IsSuperAdmin() then
			tell(player, name .. " is for superadmins")
			return
		end
		run(player)
	end, nil, help)
end

local function tell_lines(player, lines)
	for line in string.gmatch(lines, "[^\n]+") do tell(player, line) end
end

local function add_commands()
	if not concommand then return end
	add_command("realtime_status", "How the realtime module is doing", function(player)
		local report, reason = status_report()
		tell_lines(player, report or reason)
	end)
	add_command("realtime_reload", "Reads the realtime module's settings again", function(player)
		local lines, reason = reload()
		tell_lines(player, lines or reason)
	end)
	add_command("realtime_selftest", "Tries all that the realtime module needs, step by step", function(player)
		local begun, reason = begin_selftest()
		if not begun then return tell(player, reason) end
		asker = IsValid(player) and player or nil
	end)
end

-- kind, then up to three values; any other kind is an error that names it.
local function describe(value)
	local kind = type(value)
	if kind == "Vector" then return "vector", value.x, value.y, value.z end
	if kind == "Angle" then return "angle", value.p, value.y, value.r end
	if isentity(value) then
		if not IsValid(value) then return "null" end
		if value:IsPlayer() then return "player", value:SteamID64(), value:Nick(), value:UserID() end
		return "entity", value:GetClass(), value:EntIndex()
	end
	return kind
end

-- Whether a callback can see a third argument. Builds of LuaJIT that do not tell get it always.
local function takes_meta(callback)
	local info = debug.getinfo(callback, "u")
	return not info or not info.nparams or info.isvararg or info.nparams > 2
end

-- Main chunks of files and functions of specs, each with a number of its own. Equal numbers mean the same one; no
-- number reaches another server.
local chunks, functions = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" })
local numbers = 0
local function number_of(known, value)
	local number = known[value]
	if not number then
		numbers = numbers + 1
		number, known[value] = numbers, numbers
	end
	return number
end

-- The name of a chunk: the path of a file. The source of other code may be its whole text, its short one is not.
local function file_of(info)
	local source = info.source
	if source and #source <= 512 and string.byte(source) == 64 then return string.sub(source, 2) end
	return info.short_src
end

-- Where a spec comes from: the file that is being loaded, which is the innermost on the stack, and the number of this
-- load; else the file of the function, and 0. Then the function's number and line, 0 without one; and the files that
-- include the first, innermost first, each with a line end.
local function origin(found)
	local made = found and getinfo(found, "S")
	local number, line = found and number_of(functions, found) or 0, made and made.linedefined or 0
	local file, load, includers
	for level = 3, 100 do
		local info = getinfo(level, "Sf")
		if not info then break end
		if info.what == "main" and file then
			includers = (includers or "") .. file_of(info) .. "\n"
		elseif info.what == "main" then
			file, load = file_of(info), number_of(chunks, info.func)
		end
	end
	if not file then file, load = made and file_of(made) or "", 0 end
	return file, load, number, line, includers or ""
end

-- The limits of what Emit writes (ENCODE_NODES_MAX, ENCODE_DEPTH_MAX).
local values_max, levels_max = 15000, 32

-- A spec without its Lua functions: in their places stands a mark that names the file. Returns the copy, the last
-- function found (the native side accepts one only), and its origin; or nil and what is wrong: a table in itself, too
-- many values.
local function strip(spec)
	local found, wrong
	local values = 0
	local mark = {}
	local function copy(value, depth)
		values = values + 1
		if values > values_max then wrong = "has more than " .. values_max .. " values" end
		if type(value) == "function" then
			found = value
			return mark
		end
		if type(value) ~= "table" then return value end
		if depth == levels_max then wrong = "is nested deeper than " .. levels_max .. " levels (a cycle?)" end
		local out = {}
		for key, inner in pairs(value) do
			if wrong then break end
			out[key] = copy(inner, depth + 1)
		end
		return out
	end
	local copied = copy(spec, 0)
	if wrong then return nil, wrong end
	local file, load, number, line, includers = origin(found)
	mark["\0function"] = file
	return copied, found, file, load, number, line, includers
end

-- Looked up at each call: `hook` is the script environment's, and may come or be replaced later.
local function notify(name, ...)
	hook.Run(name, ...)
end

local function start(pump)
	add_commands()
	local function hang()
		timer.Create("realtime.pump", 0, 0, pump)
	end
	hang()
	-- An addon that removes all timers must not end the events: a second without the pump, and it hangs again.
	local next_look = 0
	hook.Add("Think", "realtime.pump", function()
		local now = SysTime()
		if now < next_look then return end
		next_look = now + 1
		if pumped() == 0 then hang() end
	end)
end

return on_error, report, say, describe, takes_meta, strip, notify, start
