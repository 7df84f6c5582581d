-- A script that gets hold of the module's internal functions and of the registry, calls them with any arguments at any
-- time, and changes a table or the module's own stack while the module works. None of this may end the server, and
-- afterwards everything works.
local pump
local create = timer.Create
function timer.Create(name, delay, repetitions, f)
	if name == "realtime.pump" then pump = f end
	return create(name, delay, repetitions, f)
end
-- A function of the game that the module calls while it opens, and that opens it again.
local convar, opens = GetConVar, {}
function GetConVar(name)
	opens[#opens + 1] = tostring(select(2, pcall(require, "realtime")))
	return convar(name)
end
require("realtime")
GetConVar = convar
assert(#opens == 1 and opens[1]:find("is being opened", 1, true), #opens .. " " .. opens[1])
assert(type(pump) == "function")

-- Collects every C function that can be reached through upvalues of the module's functions.
local functions, owners = {}, {}
local function collect(f)
	if functions[f] then return end
	functions[f] = true
	local n = 1
	while true do
		local name, value = debug.getupvalue(f, n)
		if not name then break end
		if type(value) == "function" and debug.getinfo(value, "S").what == "C" and debug.getinfo(f, "S").what == "C" then
			owners[#owners + 1] = { f, n }
			collect(value)
		end
		n = n + 1
	end
end
collect(pump)
for _, f in pairs(realtime) do if type(f) == "function" then collect(f) end end
local reached = 0
for _ in pairs(functions) do reached = reached + 1 end
assert(reached > 20, reached)

local arguments = { {}, { nil, nil }, { realtime.Null }, { realtime.Null, {} }, { 5, 5 }, { "x", "x", "x" }, { {}, {} }, { host.entity({}), {} }, { print, print } }
local calls = 0
local function call_all()
	for f in pairs(functions) do
		for _, list in ipairs(arguments) do
			pcall(f, unpack(list, 1, 3))
			coroutine.wrap(pcall)(f, unpack(list, 1, 3))
			calls = calls + 1
		end
	end
	realtime.Off("x", "x") realtime.Off("x") realtime.RemoveHook("x") realtime.RemoveAggregator("x")
end
call_all()

-- The module calls a Lua function that calls the module again, and so on: after some levels the call is refused, before the
-- process runs out of stack.
local levels, deepest = 0, nil
local function again(call)
	levels = levels + 1
	local ok, reason = call()
	levels = levels - 1
	if not ok and not deepest then deepest = levels .. " " .. reason end
end
local function nesting(name, expected, call, around)
	deepest = nil
	around(function() again(call) end, call)
	assert(deepest and deepest:find(expected), name .. ": " .. tostring(deepest))
end
local getinfo, each_pair = debug.getinfo, pairs
nesting("a name", "^3 encode: data%[1%] cannot be described", function() return realtime.Emit("nested", { host.player({}) }) end,
	function(inside, call)
		local players = FindMetaTable("Player")
		local nick = players.Nick
		players.Nick = function() inside() return "Jo" end
		assert(call())
		players.Nick = nick
	end)
nesting("pairs", "^3 encode: the spec cannot be read", function() return realtime.AddHook("nested", "x", { type = "counter", key = "k" }) end,
	function(inside, call)
		pairs = function(t) inside() return each_pair(t) end
		assert(call())
		pairs = each_pair
	end)
-- If the module cannot find out how many arguments a callback takes, it passes all of them.
local asked_arguments = 0
debug.getinfo = function(...)
	asked_arguments = asked_arguments + 1
	assert(realtime.On("nested", "x", function() end) == "x")
	return getinfo(...)
end
assert(realtime.On("nested", "x", function() end) == "x" and asked_arguments == 4)
debug.getinfo = getinfo
realtime.RemoveHook("x") realtime.Off("nested")

-- A script that the module calls changes the module's own slots of the stack, which are three or four levels up.
local function with_nick(nick, call)
	local players = FindMetaTable("Player")
	local before = players.Nick
	players.Nick = nick
	local ok, reason = call()
	players.Nick = before
	return ok, reason
end
local two = function() return { host.player({}), host.player({}) } end
for name, call in pairs({
	Emit = function() return realtime.Emit("x", two()) end,
	Set = function() return realtime.Set("k", two()) end,
}) do
	local ok, reason = with_nick(function()
		for n = 3, 8 do debug.setlocal(3, n, 5) end
		return "Jo"
	end, call)
	assert(ok == false and reason:find("^encode: data was changed while it was read"), name .. ": " .. tostring(reason))
end
local function drop(level)
	for n = 1, 2 do
		local _, value = debug.getlocal(level + 1, n)
		if type(value) == "string" then debug.setlocal(level + 1, n, nil) end
	end
	collectgarbage() collectgarbage()
end
local longs = 0
local function long()
	longs = longs + 1
	return string.rep("c", 900) .. longs
end
for name, call in pairs({
	Emit = function() return realtime.Emit(long(), two()) end,
	Set = function() return realtime.Set(long(), two()) end,
	Keep = function() return realtime.Keep(long(), two()) end,
	ReadEventLog = function() return realtime.ReadEventLog(long(), two(), function() end) end,
}) do
	local ok, reason = with_nick(function() drop(3) return "Jo" end, call)
	assert(not ok and reason:find("^encode: argument 1 was changed"), name .. ": " .. tostring(reason))
end
debug.getinfo = function(...) drop(3) return getinfo(...) end
ok, reason = realtime.On(long(), long(), function() end)
debug.getinfo = getinfo
assert(not ok and reason:find("^encode: argument 1 was changed"), reason)
for name, call in pairs({
	AddHook = function() return realtime.AddHook(long(), long(), { type = "counter", key = "k" }) end,
	AddAggregator = function()
		local actions = { { type = "counter", key = "k" } }
		return realtime.AddAggregator(long(), { interval = 1, aggregate = function() end, actions = actions })
	end,
}) do
	pairs = function(t)
		local info = getinfo(4, "S")
		if info and info.what == "C" then drop(4) end
		return each_pair(t)
	end
	local ok, reason = call()
	pairs = each_pair
	assert(not ok and reason:find("^encode: argument 1 was changed"), name .. ": " .. tostring(reason))
end

-- The table that is encoded changes while the module calls `Nick` of a player in it.
local asked, nicks = 0, {}
FindMetaTable("Player").Nick = function(self) return nicks[self] and nicks[self]() or "Jo" end
local function changing(how)
	local t = {}
	for n = 1, 50 do t["key" .. n] = n end
	for n = 1, 3 do
		local ply = host.player({ name = "x", steamid64 = "76561198000000001", userid = n })
		t["ply" .. n] = ply
		nicks[ply] = function()
			asked = asked + 1
			how(t)
		end
	end
	return t
end
for name, how in pairs({
	clears = function(t) for key in pairs(t) do t[key] = nil end collectgarbage() end,
	grows = function(t) for n = 1, 300 do t["more" .. n .. asked] = {} end end,
	shrinks = function(t) t.key1 = nil t.key2 = nil collectgarbage() end,
	nests = function(t) t.t = t end,
	recurses = function(t) realtime.Emit("nested", t) end,
	emits = function(t) assert(realtime.Emit("nested", { 1, host.player({}) })) end,
	raises = function(t) error("from Nick") end,
	yields = function(t) coroutine.yield() end,
	pumps = function(t) pump() end,
}) do
	for _, encode in ipairs({ function(t) return realtime.Emit("changing", t) end, function(t) return realtime.Set("k", t) end }) do
		local t = changing(how)
		local ok, reason = encode(t)
		if name == "raises" or name == "yields" then
			assert(not ok and reason:find("^encode: data%.ply%d is a "), reason)
		else
			assert(ok, reason)
		end
	end
end
assert(asked > 20, asked)
ok, reason = realtime.Emit("x", { a = { b = { host.io.stdout } } })
assert(not ok and reason == "encode: data.a.b[1] is a userdata" or reason == "encode: data.a.b[1] is a File", reason)

local heard, errors_seen = {}, host.errors()
local function hears(name, f) realtime.On("e", name, function(data) heard[name] = (heard[name] or 0) + 1 if f then f(data) end end) end
hears("calls", function() call_all() end)
hears("pumps", function() for _ = 1, 5 do pump() end end)
hears("yields", function() coroutine.yield(1) end)
hears("pumps in a coroutine", function() coroutine.wrap(pump)() end)
hears("last")

-- One upvalue at a time is replaced by something else for one tick. Some of it calls the module again, without end.
local _, perform = debug.getupvalue(realtime.Status, 1)
local junk = { false, 5, "x", {}, function() end, error, coroutine.yield, print, realtime.Status, realtime.Stats,
	function() realtime.Status() end, function() perform() realtime.Status() end }
local step, restore = 0
local names = { "calls", "pumps", "yields", "pumps in a coroutine", "last" }
local function all_heard(count)
	for _, name in ipairs(names) do if (heard[name] or 0) < count then return false end end
	return true
end
-- The registry entry of a listener is replaced: neither the listener nor the replacement is called.
local registry = debug.getregistry()
local function in_registry(f) for n, value in pairs(registry) do if value == f then return n end end end
local victim_calls = 0
local function victim() victim_calls = victim_calls + 1 end

-- Scripts that run while the module makes values: a debug hook inside a constructor, and a `__gc` at any step of the
-- collector. They put numbers into the slots of `perform`. An event is then made again, or is given up as an error.
local spoiled, summed = 0, 0
local function spoil(thread, level)
	if (debug.getinfo(thread, level, "f") or {}).func ~= perform or math.random(6) > 1 then return end
	for n = 1, 12 do
		local _, value = debug.getlocal(thread, level, n)
		if type(value) == "table" and math.random(2) == 1 then
			debug.setlocal(thread, level, n, 5)
			spoiled = spoiled + 1
		end
	end
end
local function upvalue_of(f, wanted)
	for n = 1, 60 do
		local name, value = debug.getupvalue(f, n)
		if name == wanted then return value end
	end
end
local main = assert(upvalue_of(upvalue_of(select(2, debug.getupvalue(realtime.AddHook, 2)), "origin"), "main"))
local ffi = host.require("ffi")
local collects = false
local function sow()
	ffi.gc(ffi.new("int[1]"), function()
		if not collects then return end
		sow()
		spoil(main, 0)
	end)
end
local function spoiling(data) spoiled = spoiled + (data == 5 and 1 or 0) end
local function emit_spoiled()
	for _ = 1, 3 do
		assert(realtime.Emit("spoiled", {
			text = "x", list = { { a = 1 }, { a = 2 }, { a = "3" } }, deep = { { {}, "y" }, { b = {} }, 1, 2 },
		}))
		assert(realtime.Emit("spoiled", { a = 1 }))
	end
end

local started = host.mono()
realtime.Emit("e", { list = { 1, 2, { 3 } } })
local phase = "flow"
create("drive", 0, 0, function()
	if host.mono() - started > 60 then
		print("FAIL " .. phase, step, spoiled, summed)
		print("0 passed, 1 failed")
		return host.quit(1)
	end
	if phase == "flow" then
		if not all_heard(1) then return end
		phase = "hook"
		realtime.On("spoiled", "spoiled", function(data, channel, meta) spoiling(data) end)
		realtime.AddAggregator("spoiled", "spoiled", { interval = 1, aggregate = function(list) summed = summed + 1 end,
			actions = { { type = "counter", key = "k" } } })
		debug.sethook(function()
			local info = getinfo(2, "S")
			if info and info.short_src == "realtime" then spoil(main, 4) end
		end, "", 1)
	elseif phase == "hook" then
		emit_spoiled()
		if spoiled < 50 or summed == 0 then return end
		debug.sethook()
		phase, spoiled, step, collects = "collector", 0, host.mono(), true
		sow()
		collectgarbage("setpause", 0) collectgarbage("setstepmul", 1000000)
	elseif phase == "collector" then
		emit_spoiled()
		-- Windows end each second.
		if spoiled < 300 or host.mono() < step + 3 then return end
		collectgarbage("setpause", 200) collectgarbage("setstepmul", 200)
		collects, phase, step = false, "tamper", 0
		realtime.Off("spoiled") realtime.RemoveAggregator("spoiled")
	elseif phase == "tamper" then
		if restore then restore() restore = nil end
		step = step + 1
		local owner = owners[math.floor((step - 1) / #junk) + 1]
		if not owner then
			phase, heard = "victim", {}
			realtime.On("v", "victim", victim)
			local place = assert(in_registry(victim))
			registry[place] = "junk"
			assert(realtime.Emit("v", { 1 }))
			assert(realtime.Emit("e", { list = { 1, 2, { 3 } } }))
			return
		end
		local f, n = owner[1], owner[2]
		local _, before = debug.getupvalue(f, n)
		debug.setupvalue(f, n, junk[(step - 1) % #junk + 1])
		restore = function() debug.setupvalue(f, n, before) end
		pcall(realtime.Emit, "e", { list = { 1 } })
		pcall(realtime.Get, "k", function() end)
		pcall(realtime.Stats) pcall(realtime.Status) pcall(realtime.On, "z", "z", print) pcall(realtime.Off, "z")
		pcall(realtime.Emit, "e", { host.player({}) })
	else
		if not all_heard(1) then return end
		local stats = realtime.Stats()
		local fine = stats.panics == 0 and victim_calls == 0 and calls > 100 and host.errors() > errors_seen
		if not fine then print("FAIL", stats.panics, victim_calls, calls) end
		print(fine and "1 passed, 0 failed" or "0 passed, 1 failed")
		host.quit(fine and 0 or 1)
	end
end)
