-- Reports a player who kills too fast to the admins of all servers, and to an event log for later analysis.
--
-- Copy to:  garrysmod/lua/autorun/server/anticheat.lua
-- Set:      KILLS and SECONDS here: so many kills within so many seconds are suspicious
-- Sends:    anticheat:suspicious {player, steamid64, reason, kills_per_sec, server, time}

local KILLS, SECONDS = 5, 3
-- The same player is reported at most this often.
local REPORT_EVERY_S = 60

if not util.IsBinaryModuleInstalled("realtime") then
	return print("[realtime] anticheat.lua: garrysmod/lua/bin has no realtime module for this server")
end
require("realtime")

-- For each player: the times of the last KILLS kills, and of the last report.
local seen = setmetatable({}, { __mode = "k" })

hook.Add("PlayerDeath", "anticheat", function(victim, _, attacker)
	if not IsValid(attacker) or not attacker:IsPlayer() or attacker == victim or attacker:IsBot() then return end
	local now, kills = SysTime(), seen[attacker] or { reported = -math.huge }
	seen[attacker] = kills
	table.insert(kills, now)
	if #kills > KILLS then table.remove(kills, 1) end
	local took = now - kills[1]
	if #kills < KILLS or took > SECONDS or now - kills.reported < REPORT_EVERY_S then return end
	kills.reported = now
	realtime.Emit("anticheat:suspicious", {
		player = attacker:Nick(), steamid64 = attacker:SteamID64(), reason = "too many kills too fast",
		kills_per_sec = math.Round(KILLS / math.max(took, 0.1), 1), server = GetHostName(), time = os.time(),
	})
end)

realtime.On("anticheat:suspicious", "anticheat", function(report)
	if not istable(report) then return end
	local text = string.format("[%s] %s (%s): %s, %s a second", tostring(report.server), tostring(report.player),
		tostring(report.steamid64), tostring(report.reason), tostring(report.kills_per_sec))
	for _, ply in ipairs(player.GetAll()) do
		if ply:IsAdmin() then ply:ChatPrint(text) end
	end
end)

realtime.AddHook("anticheat:suspicious", "anticheat", { type = "file", path = "logs/anticheat.log" })
