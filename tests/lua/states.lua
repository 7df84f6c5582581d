-- The game opens the next Lua state before it closes the last one, or never reports the close: from then on no function of
-- the old state is called or released, and the old state can add nothing. With `unload=closed` each state has the address of
-- the last one.
local checks = include("checks.lua")
local map, changes = host.map_changes(), 3
require("realtime")

local mine = realtime
local heard, wrong = 0, 0
-- The registry numbers references in order. Each state has another count of listeners, so the same number means another
-- function in each state.
local fillers = {}
for n = 1, 20 + map * 7 do
	fillers[n] = assert(realtime.On("filler" .. n, "x", function() wrong = wrong + 1 end))
end
realtime.On("s", "x", function(data) if data.map == map then heard = heard + 1 end end)
realtime.AddHook("s", "cond", { type = "conditional", condition = function() return false end, actions = { { type = "counter", key = "k" } } })
realtime.AddAggregator("s", "sum", { interval = 1, aggregate = function() end, actions = { { type = "counter", key = "k" } } })
local listeners = #fillers + 1

-- This finaliser runs while the state closes. For the module the state has ended by then, so it refuses every call; but not
-- if no other state has begun.
local can_refuse = host.arg.unload ~= "closed"
local ffi = host.require("ffi")
at_the_end = can_refuse and ffi.gc(ffi.new("int[1]"), function()
	local answers = { { pcall(mine.On, "s", "old", function() end) }, { pcall(mine.Emit, "filler1", { 1 }) }, { pcall(mine.Get, "k", function() end) },
		{ pcall(mine.AddHook, "s", "old", { type = "counter", key = "k" }) }, { pcall(mine.Set, "k", 1) } }
	local off = { pcall(mine.Off, "s") }
	local refused = off[1] and off[2] == 0
	for _, answer in ipairs(answers) do refused = refused and answer[1] and not answer[2] and tostring(answer[3]):find("^closed") ~= nil end
	host.store("refused" .. map, refused)
end)

local started, emitted = host.mono(), 0
timer.Create("drive", 0, 0, function()
	for _ = 1, 5 do emitted = emitted + (realtime.Emit("s", { map = map }) and 1 or 0) end
	if heard < 50 and host.mono() - started < 20 then return end
	timer.Remove("drive")
	-- These answers arrive when the next state is attached.
	for n = 1, 50 do realtime.Get("k" .. n, function() wrong = wrong + 1 end) end
	wrong = 0
	local stats = realtime.Stats()
	local fine = heard >= 50 and wrong == 0 and stats.listeners == listeners and stats.panics == 0
	fine = fine and (map == 0 or not can_refuse or host.load("refused" .. map - 1) == true)
	if not fine then print("FAIL map " .. map, heard, wrong, stats.listeners, listeners, map > 0 and host.load("refused" .. map - 1)) end
	if fine and map < changes then return host.changelevel("gm_map" .. map) end
	timer.Create("balance", 0, 0, function()
		fine = fine and #checks.unbalanced(realtime.Stats(), { "inbox", "replies", "notices" }) == 0
		print(fine and "1 passed, 0 failed" or "0 passed, 1 failed")
		host.quit(fine and 0 or 1)
	end)
end)
