-- A first look at the module on a machine that has nothing but the stand-in server and the library: no Redis, no network.
-- Run it with an empty root; the embedded server serves. Prints `N passed, 0 failed`.
require("realtime")

-- Lua starts anew at each map, so the stage is kept by the server.
local MAPS = 20
if host.map_changes() < MAPS and host.load("tested") then
	timer.Simple(0.02, function() host.changelevel("gm_map" .. host.map_changes()) end)
	return
end

local deadline = host.mono() + 60
local heard, answers, ranked, log = 0, {}, nil, nil
realtime.On("smoke:*", "smoke", function(event, channel, meta)
	assert(event.text == "é" and channel == "smoke:event" and meta.own)
	heard = heard + 1
end)
realtime.AddHook("smoke:event", "count", { type = "leaderboard", board = "smoke:board", member = "{text}" })
realtime.AddHook("smoke:event", "log", { type = "file", path = "smoke.log", format = "binary" })

local begun, asks_board, asks_log = false, false, false
timer.Create("smoke", 0, 0, function()
	local late = host.mono() > deadline
	if realtime.Status() == "embedded" and not begun then
		begun = true
		assert(realtime.Emit("smoke:event", { text = "é" }))
		realtime.Incr("smoke:number", 2, function(value) answers.number = value end)
		realtime.Get("smoke:kept", function(value) answers.kept = value or "none" end)
		realtime.Set("smoke:kept", "from the first map")
		for _ = 1, 1000 do
			local ok = pcall(realtime.Emit, 5)
			assert(not ok)
		end
	end
	-- Hooks act a moment after the event is heard, so both are asked again until they have.
	local score = ranked and ranked[1] and ranked[1].score or 0
	if heard > 0 and score < (host.load("tested") and 2 or 1) and not asks_board then
		asks_board = true
		realtime.GetLeaderboard("smoke:board", 1, function(_, _, rows) ranked, asks_board = rows, false end)
	end
	if heard > 0 and not (log and log[1]) and not asks_log then
		asks_log = true
		realtime.ReadEventLog("smoke.log", {}, function(events) log, asks_log = events, false end)
	end
	local done = heard == 1 and answers.number and answers.kept and not asks_board and score > 0 and log and log[1]
	if not done and not late then return end
	timer.Remove("smoke")
	local stats, is_first = realtime.Stats(), not host.load("tested")
	local fine = done and ranked[1].name == "é" and ranked[1].score == (is_first and 1 or 2) and log[1].data.text == "é"
		and answers.number == (is_first and 2 or 4) and answers.kept == (is_first and "none" or "from the first map")
		and stats.panics == 0 and host.errors() == 0
	print(jit.os, jit.arch, realtime.Version, realtime.Status())
	if fine and is_first then
		host.store("tested", true)
		return host.changelevel("gm_next")
	end
	print(fine and "1 passed, 0 failed" or "0 passed, 1 failed", heard, util.TableToJSON(answers), util.TableToJSON(ranked or {}), #(log or {}))
	host.quit(fine and 0 or 1)
end)
