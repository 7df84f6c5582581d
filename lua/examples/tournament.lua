-- A tournament on one or more servers: every kill counts in one leaderboard, and all players see it while it changes.
--
-- Copy to:  garrysmod/lua/autorun/server/tournament.lua, on every server of the tournament
-- Use:      `tournament start` (an empty leaderboard) and `tournament stop`, in the console of any server or as superadmin
-- Sends:    tournament:state {running}, tournament:kill {killer, victim, weapon, server}

local BOARD = "tournament:frags"
-- The leaderboard is shown at most this often.
local SHOW_EVERY_S = 5

if not util.IsBinaryModuleInstalled("realtime") then
	return print("[realtime] tournament.lua: garrysmod/lua/bin has no realtime module for this server")
end
require("realtime")

local running = false
realtime.On("tournament:state", "tournament", function(state) running = istable(state) and state.running == true end)
-- For a server that starts while the tournament runs.
realtime.Get("tournament:running", function(value) running = running or value == "1" end)

concommand.Add("tournament", function(ply, _, words)
	if IsValid(ply) and not ply:IsSuperAdmin() then return end
	if words[1] == "start" then
		realtime.Del(BOARD)
		realtime.Set("tournament:running", "1")
		realtime.Emit("tournament:state", { running = true })
	elseif words[1] == "stop" then
		realtime.Del("tournament:running")
		realtime.Emit("tournament:state", { running = false })
	else
		print("tournament start | tournament stop")
	end
end)

hook.Add("PlayerDeath", "tournament", function(victim, _, attacker)
	if not running or not IsValid(attacker) or not attacker:IsPlayer() or attacker == victim then return end
	local weapon = attacker:GetActiveWeapon()
	realtime.Emit("tournament:kill", {
		killer = attacker:Nick(), victim = victim:Nick(), weapon = IsValid(weapon) and weapon:GetClass() or nil, server = GetHostName(),
	})
end)

realtime.AddHook("tournament:kill", "tournament", { type = "leaderboard", board = BOARD, member = "{killer}" })

local function show()
	realtime.GetLeaderboard(BOARD, 5, function(_, _, ranked)
		local places = {}
		for _, row in ipairs(ranked or {}) do places[row.rank] = row.rank .. ". " .. row.name .. " " .. row.score end
		if #places > 0 then PrintMessage(HUD_PRINTTALK, "Tournament: " .. table.concat(places, "  ")) end
	end)
end

realtime.On("tournament:kill", "tournament", function()
	if not timer.Exists("tournament") then timer.Create("tournament", SHOW_EVERY_S, 1, show) end
end)
