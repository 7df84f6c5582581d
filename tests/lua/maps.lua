-- Emits while the map changes `changes` times: listeners work after each change; threads, files and memory do not grow.
require("realtime")
local changes = tonumber(host.arg.changes)
local map = host.map_changes()
local ticks, heard = 0, 0
realtime.On("maps", "count", function(data)
	-- Events that were emitted before the change arrive after it.
	if data.map == map then heard = heard + 1 end
	assert(data.map <= map)
end)
realtime.On("maps:*", "pattern", function() end)
timer.Create("traffic", 0, 0, function()
	ticks = ticks + 1
	for _ = 1, 20 do assert(realtime.Emit("maps", { map = map, text = string.rep("x", 200) })) end
	if heard < 50 or ticks < 10 then return end
	timer.Remove("traffic")
	local now = host.resources()
	if map == 3 then
		host.store("threads", now.threads)
		host.store("fds", now.fds)
		host.store("rss_kb", now.rss_kb)
	end
	if map < changes then return host.changelevel("gm_map" .. map) end
	local grown = now.rss_kb - host.load("rss_kb")
	print(string.format("after %d map changes: threads %d (were %d), fds %s (were %s), rss %+d kB",
		map, now.threads, host.load("threads"), tostring(now.fds), tostring(host.load("fds")), grown))
	local stats = realtime.Stats()
	local flat = now.threads == host.load("threads") and now.fds == host.load("fds") and grown < 4096
	local fine = flat and stats.panics == 0 and stats.outbox.dropped.unknown == 0 and stats.listeners == 2
	print(fine and "1 passed, 0 failed" or "0 passed, 1 failed")
	host.quit(fine and 0 or 1)
end)
