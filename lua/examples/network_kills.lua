-- Several servers in step: players read the kills of the other servers, and one leaderboard counts the kills of all.
--
-- Copy to:  garrysmod/lua/autorun/server/network_kills.lua, on every server
-- Use:      `network_top` in the console prints the leaderboard
-- Sends:    network:kill {server, killer, victim}

if not util.IsBinaryModuleInstalled("realtime") then
	return print("[realtime] network_kills.lua: garrysmod/lua/bin has no realtime module for this server")
end
require("realtime")

hook.Add("PlayerDeath", "network_kills", function(victim, _, attacker)
	if not IsValid(attacker) or not attacker:IsPlayer() or attacker == victim then return end
	realtime.Emit("network:kill", { server = GetHostName(), killer = attacker:Nick(), victim = victim:Nick() })
end)

realtime.On("network:kill", "network_kills", function(kill, _, meta)
	if meta.own or not istable(kill) then return end
	PrintMessage(HUD_PRINTTALK, string.format("[%s] %s killed %s", tostring(kill.server), tostring(kill.killer), tostring(kill.victim)))
end)

-- The server of the kill counts it, so it counts once however many servers run this file.
realtime.AddHook("network:kill", "network_kills", { type = "leaderboard", board = "network:kills", member = "{killer}" })

concommand.Add("network_top", function(ply)
	if IsValid(ply) then return end
	realtime.GetLeaderboard("network:kills", 10, function(_, err, ranked)
		if err then return print(err) end
		for _, row in ipairs(ranked) do print(row.rank, row.name, row.score) end
	end)
end)
