-- The best killers of the day on all servers together. A player types !top to see them.
--
-- Copy to:  garrysmod/lua/autorun/server/top_killer.lua, on every server
-- Sends:    top:kill {killer, day}
-- Each day has its own leaderboard, such as top:2026-11-26, which Redis removes after two days. It counts names, as the
-- chat shows them; use {steamid64} as member to tell players of the same name apart.

if not util.IsBinaryModuleInstalled("realtime") then
	return print("[realtime] top_killer.lua: garrysmod/lua/bin has no realtime module for this server")
end
require("realtime")

-- In UTC, so that servers in other time zones agree.
local function today() return os.date("!%Y-%m-%d") end

hook.Add("PlayerDeath", "top_killer", function(victim, _, attacker)
	if not IsValid(attacker) or not attacker:IsPlayer() or attacker == victim then return end
	realtime.Emit("top:kill", { killer = attacker:Nick(), steamid64 = attacker:SteamID64(), day = today() })
end)

realtime.AddHook("top:kill", "top_killer", { type = "leaderboard", board = "top:{day}", member = "{killer}", ttl = 172800 })

hook.Add("PlayerSay", "top_killer", function(ply, text)
	if text:lower() ~= "!top" then return end
	realtime.GetLeaderboard("top:" .. today(), 10, function(_, err, ranked)
		if not IsValid(ply) then return end
		if err or #ranked == 0 then return ply:ChatPrint(err and "The leaderboard cannot be read now." or "No kills today.") end
		for _, row in ipairs(ranked) do ply:ChatPrint(row.rank .. ". " .. row.name .. ": " .. row.score) end
	end)
end)
