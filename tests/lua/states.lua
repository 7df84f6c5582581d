-- A game that begins the next Lua state before it ends the last one, or never says that it ended: nothing of the old
-- state is called, released or added any more.
local map, changes = host.map_changes(), 3
require("realtime")

local mine = realtime
local heard, wrong = 0, 0
-- In the order of the numbers that the registry gives: each state has another order, so an old number is another function.
local fillers = {}
for n = 1, 20 + map * 7 do
	fillers[n] = assert(realtime.On("filler" .. n, "x", function() wrong = wrong + 1 end))
end
realtime.On("s", "x", function(data) if data.map == map then heard = heard + 1 end end)
realtime.AddHook("s", "cond", { type = "conditional", condition = function() return false end, actions = { { type = "counter", key = "k" } } })
realtime.AddAggregator("s", "sum", { interval = 1, aggregate = function() end, actions = { { type = "counter", key = "k" } } })
local listeners = #fillers + 1

-- Runs while the state closes: for the module it is over by then.
local ffi = host.require("ffi")
at_the_end = ffi.gc(ffi.new("int[1]"), function()
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
	-- Answers that come when the next state is there.
	for n = 1, 50 do realtime.Get("k" .. n, function() wrong = wrong + 1 end) end
	wrong = 0
	local stats = realtime.Stats()
	local fine = heard >= 50 and wrong == 0 and stats.listeners == listeners and stats.panics == 0
	fine = fine and (map == 0 or host.load("refused" .. map - 1) == true)
	if not fine then print("FAIL map " .. map, heard, wrong, stats.listeners, listeners, map > 0 and host.load("refused" .. map - 1)) end
	if fine and map < changes then return host.changelevel("gm_map" .. map) end
	timer.Create("balance", 0, 0, function()
		local stats, balanced = realtime.Stats(), true
		for _, name in ipairs({ "inbox", "replies", "notices" }) do
			local queue, dropped = stats[name], 0
			for _, count in pairs(queue.dropped) do dropped = dropped + count end
			balanced = balanced and queue["in"] == queue.delivered + dropped + queue.waiting
		end
		fine = fine and balanced
		print(fine and "1 passed, 0 failed" or "0 passed, 1 failed")
		host.quit(fine and 0 or 1)
	end)
end)
