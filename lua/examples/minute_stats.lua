-- The kills of each minute in one line of an event log: how many, by how many players, and with which weapon most.
--
-- Copy to:  garrysmod/lua/autorun/server/minute_stats.lua, beside realtime_game_hooks.lua
-- Set:      `realtime_hooks 1` in the console
-- Reads:    player:death of all servers. Writes garrysmod/data/logs/minute_stats.log, one JSON object on each line, on the
--           one server that sums up for all.

local WINDOW_S = 60

if not util.IsBinaryModuleInstalled("realtime") then
	return print("[realtime] minute_stats.lua: garrysmod/lua/bin has no realtime module for this server")
end
require("realtime")

-- The key with the highest count.
local function most(counts)
	local best
	for key, count in pairs(counts) do
		if not best or count > counts[best] then best = key end
	end
	return best
end

realtime.AddAggregator("player:death", "minute_stats", {
	interval = WINDOW_S,
	aggregate = function(deaths)
		local killers, weapons, kills = {}, {}, 0
		for _, death in ipairs(deaths) do
			if death.cause == "player" then
				kills = kills + 1
				killers[death.killer] = (killers[death.killer] or 0) + 1
				local weapon = death.weapon or "none"
				weapons[weapon] = (weapons[weapon] or 0) + 1
			end
		end
		return {
			deaths = #deaths, total_kills = kills, unique_killers = table.Count(killers), top_killer = most(killers),
			top_weapon = most(weapons), timestamp = os.time(),
		}
	end,
	actions = { { type = "file", path = "logs/minute_stats.log" } },
})
