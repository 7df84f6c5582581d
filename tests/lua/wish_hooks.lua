-- Examples 1, 2, 4, 5 and 6 of the founding wish list, word for word but for the hosts and the aggregator's interval, which
-- is a second instead of a minute. Each must work as written; the test checks what web servers and files received.
require("realtime")
local discord, web = host.arg.discord, host.arg.web

-- Example 1: Discord
realtime.AddHook("player:death", {
	type = "discord",
	webhook_url = discord .. "/api/webhooks/1/first",
	format = "**{killer}** tué **{victim}** avec {weapon}"
})

-- Example 2: HTTP
realtime.AddHook("player:death", {
	type = "http",
	method = "POST",
	url = web .. "/api/kill",
	headers = {["Authorization"] = "Bearer TOKEN"},
	format = "json"  -- The module writes the JSON
})

-- Example 4: a shared cache
realtime.AddHook("player:kill", {
	type = "counter",
	key = "kills:{killer}:daily",
	action = "incr",
	ttl = 86400  -- Expires tomorrow
})

-- Example 5: conditional alerts
realtime.AddHook("player:death", {
	type = "conditional",
	condition = function(data)
		return data.weapon == "weapon_crossbow" and data.victim_hp < 20
	end,
	actions = {
		{
			type = "discord",
			webhook = discord .. "/api/webhooks/2/second",
			message = "AWESOME SHOT: {killer} killed {victim}"
		},
		{
			type = "counter",
			key = "crossbow_kills:daily",
			action = "incr"
		}
	}
})

-- Example 6: aggregation
realtime.AddAggregator("player:death", {
	interval = 1,
	aggregate = function(events)
		-- events = all kills of this interval
		local data = {
			total_kills = #events,
			unique_killers = {},
			top_weapon = {},
			timestamp = os.time()
		}

		return data
	end,
	actions = {
		{type = "file", path = "logs/hourly_stats.log"}
	}
})

local emitted = false
local deadline = host.mono() + 60
timer.Create("check", 0, 0, function()
	if not emitted and realtime.Status() == "connected" then
		emitted = true
		for n = 1, 5 do
			local death = { killer = "John", victim = "Alice", weapon = "weapon_crossbow", victim_hp = n * 6 }
			assert(realtime.Emit("player:death", death))
			assert(realtime.Emit("player:kill", { killer = n < 4 and "John" or "Alice" }))
		end
	end
	if not emitted then return end
	local stats = realtime.Stats()
	-- Five deaths for each of the first two hooks, and three crossbow shots.
	local done = stats.webhooks.delivered == 13 and stats.aggregates.delivered == 5 and stats.files.delivered >= 1
	if done then
		-- Read the leaderboard
		local top10 = realtime.GetLeaderboard("kills:*:daily", 10)
		done = top10 and top10.John == 3 and top10.Alice == 2 and realtime.Get("crossbow_kills:daily") == "3"
	end
	if not done and host.mono() < deadline then return end
	print(done and "5 passed, 0 failed" or "0 passed, 1 failed")
	host.quit(done and 0 or 1)
end)
