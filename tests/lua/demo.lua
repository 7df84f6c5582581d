-- One of the servers of scripts/demo: reports made-up kills, and prints those of the other server. The table `host` belongs to
-- the stand-in server; a real server has none, the rest works there as it stands.
require("realtime")

local me, other = host.arg.me, host.arg.other
local seconds, heard, latency, gaps = tonumber(host.arg.seconds), 0, {}, 0
local names = { "Alice", "Bob", "Chloé", "John", "Zoé" }
local weapons = { "weapon_crossbow", "weapon_357", "weapon_crowbar" }
-- Each server makes up other kills, at other moments.
math.randomseed(string.byte(me) * 7919)

local function say(format, ...)
	print(string.format("%-18s " .. format, me, ...))
end

realtime.AddHook("player:kill", "discord", {
	type = "discord", webhook_url = host.arg.discord,
	format = "**{killer}** killed **{victim}** on {server}", where = { weapon = "weapon_crossbow" },
})
realtime.AddHook("player:kill", "board", { type = "leaderboard", board = "demo:kills", member = "{killer}" })
realtime.AddHook("player:kill", "log", { type = "file", path = "kills.log" })

realtime.On("player:kill", "demo", function(kill, channel, meta)
	if meta.own then return end
	heard = heard + 1
	latency[heard] = (host.now() - kill.at) * 1000
	print(string.format("%-18s %s killed %s, %s, %s", kill.server .. " -> " .. me, kill.killer, kill.victim, kill.weapon,
		latency[heard] < 1000 and string.format("heard after %.1f ms", latency[heard])
			or string.format("waited %.1f s for Redis", latency[heard] / 1000)))
end)

hook.Add("RealtimeDisconnected", "demo", function() say("Redis is away; events wait here") end)
hook.Add("RealtimeConnected", "demo", function() say("connected") end)
hook.Add("RealtimeGap", "demo", function(channel, server, missed) gaps = gaps + missed end)

local emitted, ends = 0, host.mono() + seconds
local next_kill = host.mono() + 1
hook.Add("Think", "demo kills", function()
	if host.mono() < next_kill or host.mono() > ends then return end
	next_kill = host.mono() + 0.7 + math.random() * 1.2
	-- The victim is another one of the names than the killer.
	local killer, further = math.random(#names), math.random(#names - 1)
	assert(realtime.Emit("player:kill", {
		killer = names[killer], victim = names[(killer + further - 1) % #names + 1], weapon = weapons[math.random(#weapons)],
		server = me, at = host.now(),
	}))
	assert(realtime.Incr("demo:emitted"))
	emitted = emitted + 1
end)

local function median()
	table.sort(latency)
	return latency[math.ceil(#latency / 2)] or 0
end

-- The last lines. Waits until nothing is on its way any more; the other server may still be emitting.
local function finish()
	realtime.GetLeaderboard("demo:kills", 3, function(_, err, ranked)
		local best = {}
		for _, row in ipairs(ranked or {}) do best[#best + 1] = row.name .. " " .. row.score end
		say("leaderboard: %s", err or table.concat(best, ", "))
	end)
	realtime.ReadEventLog("kills.log", { limit = 2, newest_first = true }, function(events, err)
		for _, event in ipairs(events or {}) do
			say("log, read back: #%d %s killed %s on %s", event.seq, event.data.killer, event.data.victim, event.data.server)
		end
		if err then say("log: %s", err) end
	end)
end

-- Every kill has raised both: the counter by Lua, the leaderboard by its hook.
local function check()
	realtime.GetLeaderboard("demo:kills", 100, function(map, err)
		local counted = 0
		for _, score in pairs(map or {}) do counted = counted + score end
		realtime.Get("demo:emitted", function(total)
			local frames, stats = host.frames(), realtime.Stats()
			say("%d kills here, %d heard from %s, median %.1f ms (a tick takes 15 ms)", emitted, heard, other, median())
			say("%s kills were emitted by both, and the leaderboard counts %d", total or "?", counted)
			say("%d events passed while this server was still connecting again; it reported %d", stats.missed, gaps)
			say("work of a tick: p99 %.0f us", frames.p99_us)
			local fine = not err and heard > 0 and tonumber(total) == counted and stats.missed == gaps and stats.panics == 0
			if not fine then host.fail("something was lost") end
			host.quit(fine and 0 or 1)
		end)
	end)
end

timer.Create("demo end", 0.1, 0, function()
	if host.mono() < ends + 3 then return end
	timer.Remove("demo end")
	finish()
	timer.Simple(1, check)
end)
