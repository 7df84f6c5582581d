-- Two servers report kills to each other. scripts/demo runs this in two stand-in servers.
-- The table `host` belongs to the stand-in server; a real server has none.
require("realtime")

local me, other = GetConVar("hostport"):GetString(), host.arg.other
local seconds = 6
local heard, latency = 0, {}

realtime.On("player:kill", "demo", function(kill)
	if kill.from == me then return end
	heard = heard + 1
	latency[heard] = (host.now() - kill.at) * 1000
	print(string.format("[%s] %s killed %s with %s: heard %.1f ms after the kill on the other server",
		kill.server, kill.killer, kill.victim, kill.weapon, latency[heard]))
end)

local names = { "John", "Alice", "Bob", "Zoé" }
local weapons = { "crowbar", "weapon_crossbow", "weapon_357" }
timer.Create("kills", 1, seconds, function()
	realtime.Emit("player:kill", {
		from = me,
		server = other == "lyon" and "paris" or "lyon",
		killer = names[math.random(#names)],
		victim = names[math.random(#names)],
		weapon = weapons[math.random(#weapons)],
		at = host.now(),
	})
end)

timer.Simple(seconds + 2, function()
	table.sort(latency)
	local frames = host.frames()
	if heard == 0 then host.fail("heard nothing: " .. table.concat({ realtime.Status() }, ", ")) end
	print(string.format("heard %d events of %s; median %.1f ms, most of it the wait for the next frame of 15 ms; "
		.. "frame work p99 %.0f us", heard, other, latency[math.ceil(heard / 2)] or 0, frames.p99_us))
	host.quit(heard > 0 and 0 or 1)
end)
