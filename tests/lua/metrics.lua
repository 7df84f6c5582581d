-- The metrics file shows the game's players, goes on over a map change and while the server sleeps, and leaves a file of
-- the owner alone.
require("realtime")
local map = host.map_changes()
local path = "stats/map" .. map .. ".prom"
local failed
hook.Add("RealtimeError", "x", function(operation, target, reason)
	if operation == "file" and target == "notes.prom" then failed = reason end
end)

for n = 1, 2 + map do
	host.player { name = "Al\n\"" .. n, steamid64 = "7656119800000000" .. n, userid = n }
end
if map == 1 then
	host.hibernate(true)
	-- The game itself writes no file with this ending.
	local notes = host.io.open("garrysmod/data/notes.prom", "wb")
	notes:write("mine\n")
	notes:close()
	assert(realtime.Configure { metrics_file = "notes.prom" })
else
	assert(realtime.Configure { metrics_file = path })
	-- Another ending, and the module's own folder.
	for _, wrong in ipairs { "stats/a.txt", "realtime/a.prom", "../a.prom" } do
		local done, reason = realtime.Configure { metrics_file = wrong }
		assert(not done and reason:find("metrics_file", 1, true), reason)
	end
end

local function value(text, name)
	return tonumber(text:match("\n" .. name .. "{server=\"a%-b%-%-\"} (%d+)\n"))
end

local deadline = host.mono() + 60
timer.Create("check", 0, 0, function()
	if map == 1 and failed and realtime.Stats().metrics_unwritten > 0 then
		assert(failed:find("this module did not write it", 1, true), failed)
		assert(file.Read("notes.prom", "DATA") == "mine\n")
		failed = nil
		assert(realtime.Configure { metrics_file = path })
	end
	local text = file.Read(path, "DATA") or ""
	local shown = value(text, "gmod_players") == 2 + map and value(text, "gmod_players_max") == game.MaxPlayers()
	if not shown and host.mono() < deadline then return end
	timer.Remove("check")
	if shown and map == 0 then return host.changelevel("gm_next") end
	local fine = shown and host.hibernating() and not file.Exists("stats/map0.prom", "DATA")
		and (value(text, "realtime_pump_seconds_count") or 0) > 0 and value(text, "realtime_redis_up") == 1
	print(fine and "1 passed, 0 failed" or "0 passed, 1 failed", text, util.TableToJSON(realtime.Stats()))
	host.quit(fine and 0 or 1)
end)
