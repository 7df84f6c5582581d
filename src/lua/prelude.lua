-- The Lua half of the module: error reports, console commands, kinds of userdata, and the timer of the pump.
-- gmod13_open runs it once in each Lua state (open.rs). It returns the functions that Rust calls, all under pcall.
-- `main` is the main thread of the state; nil if a coroutine opened the module.
local context, pumped, status_report, begin_selftest, reload, utc_offset, main = ...
-- The game's own functions: a script may replace the globals later.
local print, getinfo, pcall, running, SysTime = print, debug.getinfo, pcall, coroutine.running, SysTime
local min = math.min

-- The message handler of pcall. It runs on the stack of the error, so ErrorNoHaltWithStack prints the script's own stack.
-- Returns true for "reported".
local function on_error(message)
	ErrorNoHaltWithStack("[realtime] " .. context() .. ": " .. tostring(message) .. "\n")
	return true
end

-- Reports an error that on_error could not report: one inside on_error, or one for lack of memory.
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

-- Prints a line of the text log, or (for_asker) one of a self-test.
local function say(line, for_asker)
	tell(for_asker and asker or nil, line)
end

-- Adds a console command, for the server's console and superadmins only.
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

-- The versions of the game and of Lua, as a line of the self-test: whoever reports a first run on a new server sends them.
local function game_line()
	local lua = jit and string.format("%s, %s %s", jit.version, jit.os, jit.arch) or _VERSION
	return string.format("game      ok     version %s, branch %s, map %s, %s", tostring(VERSIONSTR), tostring(BRANCH),
		game.GetMap(), lua)
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
		tell(player, game_line())
	end)
end

-- The kind of a userdata, then up to three values for the JSON encoder (encode.rs). The encoder refuses any other kind,
-- and names it in the error. SteamID64, Nick and their like may be functions of scripts, so they can do anything.
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

-- Whether a callback can see a third argument. Some builds of LuaJIT do not tell; there it always gets one.
local function takes_meta(callback)
	local info = debug.getinfo(callback, "u")
	return not info or not info.nparams or info.isvararg or info.nparams > 2
end

-- Numbers for main chunks of files and for functions of specs. Equal numbers mean the same chunk or function. They are
-- valid in this state only and never reach another server.
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

-- The name of a chunk: its path, for code from a file. For other code `source` may be the whole text, so its short form is
-- used.
local function file_of(info)
	local source = info.source
	if source and #source <= 512 and string.byte(source) == 64 then return string.sub(source, 2) end
	return info.short_src
end

-- The name that a file has on every server: addons/NAME/lua/x.lua, and lua/x.lua of the Workshop, are x.lua.
local function common_name(file)
	local path = string.gsub(string.gsub(file, "\\", "/"), "^addons/[^/]+/", "")
	return (string.gsub(path, "^lua/", ""))
end

-- Whether a chunk of this name is a file that can be loaded again: `Origin::is_file_load`.
local function is_file(name)
	return string.sub(name, -4) == ".lua" or string.find(name, "/", 1, true) ~= nil
end

-- Levels of a stack that are searched: a deeper one is a mistake of the script.
local stack_max = 1000

-- The origin of a spec, as five values:
-- file: the file that is being loaded, the innermost on the stack; if none is, the code from a string that is being run;
-- if none is, the file of the function;
-- load: the number of this load, or 0 if no file is being loaded;
-- function and line: the function's number and first line, 0 without a function;
-- includers: the files that include `file`, innermost first, each followed by a line end.
-- Then the place of the call, as file:line, and the number of the outermost includer's load, 0 without one.
local function origin(found)
	local made = found and getinfo(found, "S")
	local number, line = found and number_of(functions, found) or 0, made and made.linedefined or 0
	local file, load, includers, place, outermost
	local function look(info)
		if not place and info.what ~= "C" then place = file_of(info) .. ":" .. info.currentline end
		if info.what ~= "main" then return end
		local name, chunk = file_of(info), number_of(chunks, info.func)
		-- Code from a string (RunString) belongs to the file that runs it.
		if not file or not is_file(file) and is_file(name) then
			file, load, includers, outermost = name, chunk, nil, nil
		else
			includers, outermost = (includers or "") .. name .. "\n", chunk
		end
	end
	for level = 3, stack_max do
		local info = getinfo(level, "Slf")
		if not info then break end
		look(info)
	end
	-- The file that runs a coroutine while it is loaded is on the stack of the main thread.
	local thread = running()
	if main and thread and thread ~= main then
		for level = 0, stack_max do
			local known, info = pcall(getinfo, main, level, "Slf")
			if not known or not info then break end
			look(info)
		end
	end
	if not file then file, load = made and file_of(made) or "", 0 end
	return file, load, number, line, includers or "", place or "", outermost or 0
end

-- The limits of Emit's encoder (ENCODE_NODES_MAX, ENCODE_DEPTH_MAX); then, in seconds, the most time that counts for one
-- table, as the thread may be off its processor, and the time for all of them.
local values_max, levels_max, counted_max, time_max = 15000, 32, 0.005, 0.03

-- Copies a spec, with a mark that names the file in the place of each Lua function. Returns the copy, the last function
-- (Rust accepts a single one), and the seven values of `origin`. If the spec has too many values or levels, it returns nil
-- in the place of the copy and a reason in that of the function. The limit of levels also ends a table that contains
-- itself. Lua searches the whole room of a table, even if it is empty: so time is limited, too.
local function strip(spec)
	local found, wrong
	local values, spent, looked = 0, 0, SysTime()
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
		local now = SysTime()
		spent, looked = spent + min(now - looked, counted_max), now
		if spent >= time_max and not wrong then wrong = "takes too long to read" end
		return out
	end
	local copied = copy(spec, 0)
	local file, load, number, line, includers, place, outermost = origin(found)
	mark["\0function"] = common_name(file)
	if wrong then copied, found = nil, wrong end
	return copied, found, file, load, number, line, includers, place, outermost
end

-- Runs a game hook. `hook` is looked up at each call, because scripts define it, perhaps later, and may replace it.
local function notify(name, ...)
	hook.Run(name, ...)
end

-- The values of the game for status messages and other servers: hostname, map, gamemode, players, max_players, and, if it
-- is wanted, the list of players: a line "steamid64 name" for each. Nil for a value whose function is missing or raises an
-- error.
local function game_values(wants_list)
	local function ask(get)
		local told, value = pcall(get)
		if told then return value end
	end
	local players = ask(function() return player.GetCount() end) or ask(function() return #player.GetAll() end)
	local list = wants_list and ask(function()
		local lines = {}
		for _, ply in ipairs(player.GetAll()) do
			-- A player who has just connected may have no name yet, and must not cost the others.
			local line = ask(function() return ply:SteamID64() .. " " .. string.gsub(ply:Nick(), "%c", " ") end)
			if #lines < 128 and line then lines[#lines + 1] = line end
		end
		return table.concat(lines, "\n")
	end)
	return ask(function() return GetHostName() end), ask(function() return game.GetMap() end),
		ask(function() return engine.ActiveGamemode() end), players, ask(function() return game.MaxPlayers() end), list
end

local function start(pump)
	add_commands()
	local function create_timer()
		timer.Create("realtime.pump", 0, 0, pump)
	end
	create_timer()
	-- An addon may remove all timers. So a Think hook checks every second whether the pump ran, and creates the
	-- timer again if it did not. Every minute it also tells how far the clock is from UTC: daylight saving time changes it.
	local next_look, looks = 0, 0
	hook.Add("Think", "realtime.pump", function()
		local now = SysTime()
		if now < next_look then return end
		next_look = now + 1
		looks = looks + 1
		local known, offset
		if looks % 60 == 2 then known, offset = pcall(utc_offset) end
		if pumped(known and offset or nil) == 0 then create_timer() end
	end)
end

return on_error, report, say, describe, takes_meta, strip, notify, game_values, start
